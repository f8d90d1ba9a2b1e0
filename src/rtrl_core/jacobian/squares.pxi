# Floor 2: products with the squares of a stage's Jacobian, for lengths that go from step to step without signs.
#
#     (H o H) P        out[c,i] = sum_j H[(c,i),j]^2 P[0,j] + sum_{d >= 1} E[c,d,i]^2 P[d,i]        (r + 2) k n^2
#
# H is formed a row at a time, because only its squares are wanted.  P is double: squares leave float32 early.

cdef inline void push_squares(const Stage *stage, const Record *record, long lane, const double *P, real *row,
                              double *out, long first, long last) noexcept nogil:
    """out[kn] = (H o H) P for units [first, last); row [n] is room to work in."""
    cdef long n = stage.n, a, c, d, i
    cdef const real *D = record.D + lane * stage.k * stage.rows
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    cdef double direct
    for c in range(stage.k):
        for i in range(first, last):
            memset(row, 0, n * sizeof(real))
            for a in range(stage.r):
                axpy(n, D[c * stage.rows + a * n + i], stage.W + (a * n + i) * stage.ldw, row)
            row[i] += E[c * stage.k * n + i]
            out[c * n + i] = squares_times(n, row, P)
            for d in range(1, stage.k):
                direct = E[(c * stage.k + d) * n + i]
                out[c * n + i] += direct * direct * P[d * n + i]
