# Floor 2: one step of what is kept for the weights of one unit j: J [R, k, weights of j], R its reach.
#
# Rows of J are contiguous over the weights of j, so every term is a scaled row added to a row.

cdef inline void own_jacobian(const Stage *stage, const Record *record, long lane, long j, bint recurrent,
                              real *T) noexcept nogil:
    """T[c, d] = E[c,d,j], with the way through j's own recurrent weights added if it is `recurrent`."""
    cdef long k = stage.k, n = stage.n, a, c
    cdef const real *D = record.D + lane * k * stage.rows
    cdef const real *E = record.E + lane * k * k * n
    for c in range(k * k):
        T[c] = E[c * n + j]
    if recurrent:
        for c in range(k):
            for a in range(stage.r):
                T[c * k] += D[c * stage.rows + a * n + j] * stage.W[(a * n + j) * stage.ldw + j]


cdef inline double trace_unit(const Stage *stage, const Fan *fan, const real *D, long j, const real *T, const real *h_hat,
                              real *J, real *room) noexcept nogil:
    """J <- T J + D h_hat in place for R = {j}, one pass where k is 1 or 2; returns the squares.  D NULL: no gain."""
    cdef long k = stage.k, r = stage.r, a, c, d, first, count, width = fan.start[(j + 1) * r] - fan.start[j * r]
    cdef const real *x = NULL
    cdef real slopes[2]
    cdef real *row
    cdef real *old = room + stage.m
    cdef double squares = 0
    for a in range(r):
        first = fan.start[j * r + a] - fan.start[j * r]
        count = fan.start[j * r + a + 1] - fan.start[j * r + a]
        if D is not NULL:
            x = fan_gather(stage, fan, j, a, h_hat, room)
        if k == 1 and D is not NULL:
            squares += axpby_norm2(count, D[a * stage.n + j], x, T[0], J + first)
            continue
        if k == 2 and D is not NULL:
            slopes[0], slopes[1] = D[a * stage.n + j], D[stage.rows + a * stage.n + j]
            squares += mix_norm2(count, slopes, x, T, J + first, J + width + first)
            continue
        for d in range(k if k > 1 else 0):
            memcpy(old + d * count, J + d * width + first, count * sizeof(real))
        for c in range(k):
            row = J + c * width + first
            scale(count, T[c * k + c], row)
            for d in range(k):
                if d != c:
                    axpy(count, T[c * k + d], old + d * count, row)
            if D is not NULL:
                axpy(count, D[c * stage.rows + a * stage.n + j], x, row)
            squares += norm2(count, row)
    return squares


cdef inline double trace_reach(const Stage *stage, const Fan *fan, const Reach *reach, const Links *links, const real *E,
                               const real *H, long edges, const real *D, long j, const real *h_hat, real *J,
                               real *room) noexcept nogil:
    """J <- H J + D h_hat within R_j, through `room`; returns the squares.  D NULL: no gain."""
    cdef long k = stage.k, n = stage.n, r = stage.r, place, unit, a, c, d, e, first
    cdef long width = fan.start[(j + 1) * r] - fan.start[j * r], units = reach.first[j + 1] - reach.first[j]
    cdef real *gathered = room + units * k * width
    cdef real *row
    cdef double squares
    memset(room, 0, units * k * width * sizeof(real))
    for place in range(units):
        unit = reach.unit[reach.first[j] + place]
        for c in range(k):
            row = room + (place * k + c) * width
            for d in range(k):
                axpy(width, E[(c * k + d) * n + unit], J + (place * k + d) * width, row)
            for e in range(links.first[reach.first[j] + place], links.first[reach.first[j] + place + 1]):
                axpy(width, H[c * edges + links.edge[e]], J + links.place[e] * k * width, row)
            if unit == j and D is not NULL:
                for a in range(r):
                    first = fan.start[j * r + a] - fan.start[j * r]
                    axpy(fan.start[j * r + a + 1] - fan.start[j * r + a], D[c * stage.rows + a * n + j],
                         fan_gather(stage, fan, j, a, h_hat, gathered), row + first)
    squares = norm2(units * k * width, room)
    memcpy(J, room, units * k * width * sizeof(real))
    return squares
