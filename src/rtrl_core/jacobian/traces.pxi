# Floor 2: one step of what is kept for the weights of one unit j: J [R, k, weights of j], R its reach.
#
# Rows of J are contiguous over the weights of j, so every term is a scaled row added to a row.

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
