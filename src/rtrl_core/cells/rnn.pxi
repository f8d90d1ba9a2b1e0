# Elman network, with an optional leak:  s' = (1 - leak) s + leak f(z),  f = tanh, relu or identity.
#
#     k = 1, r = 1        D = leak f'(z)        E = 1 - leak

cdef class RNN(Cell):
    options = {"hidden": REQUIRED, "nonlinearity": "tanh", "leak": 1.0}
    cdef bint relu, identity
    cdef real leak

    def __init__(self, hidden, nonlinearity="tanh", leak=1.0):
        self.n, self.k, self.r, self.depth = hidden, 1, 1, 1
        self.relu = nonlinearity == "relu"
        self.identity = nonlinearity == "identity"
        self.leak = <double>leak

    cdef void forward(self, int stage, const real *z, real *s, real *D, real *E, long first, long last) noexcept nogil:
        cdef real one = 1, leak = self.leak, keep = one - leak, f
        cdef long j
        if self.relu:
            for j in range(first, last):
                f = z[j] if z[j] > 0 or z[j] != z[j] else 0
                D[j] = leak if z[j] > 0 else 0
                E[j] = keep
                s[j] = keep * s[j] + leak * f
        elif self.identity:
            for j in range(first, last):
                D[j] = leak
                E[j] = keep
                s[j] = keep * s[j] + leak * z[j]
        else:
            for j in range(first, last):
                f = tanh1(z[j])
                D[j] = leak * (one - f * f)
                E[j] = keep
                s[j] = keep * s[j] + leak * f
