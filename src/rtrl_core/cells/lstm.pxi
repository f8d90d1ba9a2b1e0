# Long short-term memory in the PyTorch form, state (h, c).
#
#     maps i, f, g, o:  k = 2, r = 4
#     c' = sig(f) c + sig(i) tanh(g)       h' = sig(o) tanh(c')

cdef class LSTM(Cell):
    options = {"hidden": REQUIRED}
    components = ("h", "c")

    def __init__(self, hidden):
        self.n, self.k, self.r, self.depth = hidden, 2, 4, 1

    cdef void forward(self, int stage, const real *z, real *s, real *D, real *E, long first, long last) noexcept nogil:
        cdef real one = 1                    # keeps the arithmetic in real
        cdef long n = self.n, j
        cdef real i, f, g, o, t, q
        cdef real *h = s
        cdef real *cell = s + n
        cdef real *Dh = D
        cdef real *Dc = D + 4 * n
        # Two loops: a compiler that sees fewer arrays at once turns them into vectors.  o waits where its derivative will be.
        for j in range(first, last):
            i = sigmoid1(z[j])
            f = sigmoid1(z[n + j])
            g = tanh1(z[2 * n + j])
            Dh[3 * n + j] = sigmoid1(z[3 * n + j])
            Dc[j] = g * i * (one - i)
            Dc[n + j] = cell[j] * f * (one - f)
            Dc[2 * n + j] = i * (one - g * g)
            E[3 * n + j] = f                     # E[c, c]
            cell[j] = f * cell[j] + i * g
        for j in range(first, last):
            t = tanh1(cell[j])
            o = Dh[3 * n + j]
            q = o * (one - t * t)                # d h' / d c'
            Dh[j] = q * Dc[j]
            Dh[n + j] = q * Dc[n + j]
            Dh[2 * n + j] = q * Dc[2 * n + j]
            Dh[3 * n + j] = t * o * (one - o)
            E[n + j] = q * E[3 * n + j]          # E[h, c]
            h[j] = o * t
        memset(Dc + 3 * n + first, 0, (last - first) * sizeof(real))
        memset(E + first, 0, (last - first) * sizeof(real))      # h' and c' do not read h except through z
        memset(E + 2 * n + first, 0, (last - first) * sizeof(real))
