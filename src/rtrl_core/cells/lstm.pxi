# Long short-term memory in the PyTorch form, state (h, c).
#
#     maps i, f, g, o:  k = 2, r = 4
#     c' = sig(f) c + sig(i) tanh(g)       h' = sig(o) tanh(c')

cdef class LSTM(Cell):
    options = {"hidden": REQUIRED}

    def __init__(self, hidden):
        self.n, self.k, self.r, self.depth = hidden, 2, 4, 1

    cdef void forward(self, int stage, const real *z, real *s, real *D, real *E, long first, long last) noexcept nogil:
        cdef real one = 1                    # keeps the arithmetic in real
        cdef long n = self.n, j
        cdef real i, f, g, o, c, t, q
        cdef real *h = s
        cdef real *cell = s + n
        cdef real *Dh = D
        cdef real *Dc = D + 4 * n
        for j in range(first, last):
            i = sigmoid1(z[j])
            f = sigmoid1(z[n + j])
            g = tanh1(z[2 * n + j])
            o = sigmoid1(z[3 * n + j])
            c = f * cell[j] + i * g
            t = tanh1(c)
            q = o * (one - t * t)                  # d h' / d c'
            Dc[j] = g * i * (one - i)
            Dc[n + j] = cell[j] * f * (one - f)
            Dc[2 * n + j] = i * (one - g * g)
            Dc[3 * n + j] = 0
            Dh[j] = q * Dc[j]
            Dh[n + j] = q * Dc[n + j]
            Dh[2 * n + j] = q * Dc[2 * n + j]
            Dh[3 * n + j] = t * o * (one - o)
            E[j] = 0                             # h' and c' do not read h except through z
            E[n + j] = q * f                     # E[h, c]
            E[2 * n + j] = 0
            E[3 * n + j] = f                     # E[c, c]
            cell[j] = c
            h[j] = o * t
