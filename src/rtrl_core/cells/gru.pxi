# Gated recurrent unit in the PyTorch / cuDNN form (reset after the matrix product).
#
#     maps R, Z, N_in (x and 1 only), N_hid (h and 1 only):  k = 1, r = 4
#     r = sig(R)   u = sig(Z)   c = tanh(N_in + r N_hid)   s' = (1 - u) c + u s
#
# The columns of W that a map does not read stay 0; estimators carry them all the same, and only the
# final gradient is masked.

cdef class GRU(Cell):
    options = {"hidden": REQUIRED}

    def __init__(self, hidden):
        self.n, self.k, self.r, self.depth = hidden, 1, 4, 1

    def holes(self, inputs):
        return [(2, 0, self.n), (3, self.n, self.n + inputs)]

    cdef void forward(self, int stage, const real *z, real *s, real *D, real *E, long first, long last) noexcept nogil:
        cdef real one = 1                    # keeps the arithmetic in real
        cdef long n = self.n, j
        cdef real reset, keep, c, dc
        for j in range(first, last):
            reset = sigmoid1(z[j])
            keep = sigmoid1(z[n + j])
            c = tanh1(z[2 * n + j] + reset * z[3 * n + j])
            dc = (one - keep) * (one - c * c)
            D[j] = dc * z[3 * n + j] * reset * (one - reset)
            D[n + j] = (s[j] - c) * keep * (one - keep)
            D[2 * n + j] = dc
            D[3 * n + j] = dc * reset
            E[j] = keep
            s[j] = c + keep * (s[j] - c)
