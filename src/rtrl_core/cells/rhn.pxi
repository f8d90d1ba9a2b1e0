# Recurrent highway network with coupled gates (Zilly et al. 2017, arXiv:1607.03474), `depth` stages a step.
#
#     k = 1, r = 2        a = tanh(z0)   t = sig(z1)   s' = s + t (a - s)

cdef class RHN(Cell):
    options = {"hidden": REQUIRED, "depth": 1}

    def __init__(self, hidden, depth=1):
        self.n, self.k, self.r, self.depth = hidden, 1, 2, depth

    cdef void forward(self, int stage, const real *z, real *s, real *D, real *E, long first, long last) noexcept nogil:
        cdef real one = 1                    # keeps the arithmetic in real
        cdef long n = self.n, j
        cdef real a, t
        for j in range(first, last):
            a = tanh1(z[j])
            t = sigmoid1(z[n + j])
            D[j] = t * (one - a * a)
            D[n + j] = (a - s[j]) * t * (one - t)
            E[j] = one - t
            s[j] += t * (a - s[j])
