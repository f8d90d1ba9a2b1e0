# Floor 2: products of Jacobians from the right, P <- P H, and P D as panels.
#
#     P [kn, kn] row-major;  P H costs 2 k^2 n^2 n flops, P D is a scaling of columns
#
# Rows of P, or panels of P D, are split between threads.

cdef inline void begin_suffix(const Stage *stage, const Record *record, long lane, const real *H, real *P,
                              long first, long last) noexcept nogil:
    """Rows [first, last) of P = H, for the last stage of all."""
    cdef long n = stage.n, kn = stage.k * n, row, d
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    for row in range(first, last):
        memcpy(P + row * kn, H + row * n, n * sizeof(real))
        memset(P + row * kn + n, 0, (kn - n) * sizeof(real))
        for d in range(1, stage.k):
            P[row * kn + d * n + row % n] = E[(row // n * stage.k + d) * n + row % n]


cdef inline void extend_suffix(const Stage *stage, const Record *record, long lane, const real *H, const real *P, real *out,
                               long first, long last) noexcept nogil:
    """Rows [first, last) of out = P H."""
    cdef long n = stage.n, kn = stage.k * n, row, c, d, i
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    mixes(last - first, kn, n, P + first * kn, kn, H, n, out + first * kn, kn)
    for row in range(first, last):
        for d in range(1, stage.k):
            for i in range(n):
                out[row * kn + d * n + i] = P[row * kn + i] * E[d * n + i]
            for c in range(1, stage.k):
                for i in range(n):
                    out[row * kn + d * n + i] += P[row * kn + c * n + i] * E[(c * stage.k + d) * n + i]


cdef inline void suffix_piece(const Stage *stage, const real *D, const real *P, long p, long first, long last,
                              real *out) noexcept nogil:
    """Rows [first, last) of panel p of P D, into out [rows, PANEL]; D is that of one lane, P = NULL the identity."""
    cdef long n = stage.n, kn = stage.k * n, column = p * PANEL, end = min((p + 1) * PANEL, stage.rows), run, row, c, i, j
    cdef real *target
    if P is NULL or end - column < PANEL:
        memset(out, 0, (last - first) * PANEL * sizeof(real))
    while column < end:
        i = column % n
        run = min(n - i, end - column)
        target = out + column % PANEL
        for c in range(stage.k):
            if P is not NULL:
                columns_times(last - first, run, P + first * kn + c * n + i, kn, D + c * stage.rows + column, c > 0, target)
                continue
            row = c * n + i
            for j in range(max(0, first - row), min(run, last - row)):
                target[(row + j - first) * PANEL + j] = D[c * stage.rows + column + j]
        column += run
