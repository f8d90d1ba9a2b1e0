# Floor 2: what a block of time steps does to a matrix that H multiplies, and to a vector.
#
#     A at the end of a block = kappa_0 P_0 A + sum_t kappa_t P_t D_t        P_t = H_last ... H_{t+1}
#
# The P of a lane are kept in slots [kn, suffix_row], one for each stage that ran: slot j is P before the j-th of them,
# slot j + 1 what multiplies its D, and the last is the identity, which is not kept.  P <- P H costs 2 k^2 n^3 flops; the
# sum reads each P once, and kappa_0 P_0 A costs 2 k^2 r n^3.  H lies in panels [n / PANEL][kn][PANEL], on which the
# product has unit stride.  Rows of P and panels of A are split between threads.

cdef inline long suffix_row(long kn) noexcept nogil:
    """Numbers between two rows of P: not a multiple of 4 KiB, which would put all rows in one place of a cache."""
    return (kn + PANEL - 1) // PANEL * PANEL + PANEL // 2


cdef inline void form_panels(const Stage *stage, const Record *record, long lane, real *H, real *coefs, long first, long last) noexcept nogil:
    """The rows of H that belong to units [first, last), its recurrent columns as panels; coefs [r] is room."""
    cdef long n = stage.n, kn = stage.k * n, maps = 0, a, c, i
    cdef const real *D = record.D + lane * stage.k * stage.rows
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    cdef long at[32]
    at[0] = 0
    for a in range(stage.r):
        if hears(stage, a):
            at[maps] = a * n
            maps += 1
    for i in range(first, last):
        for c in range(stage.k):
            for a in range(max(maps, 1)):
                coefs[a] = D[c * stage.rows + at[a] + i]
            row_panels(max(maps, 1), n, coefs, stage.W + i * stage.ldw, stage.ldw, at, 8 * stage.ldw, H + (c * n + i) * PANEL, kn * PANEL)
            panel_entry(H, kn, c * n + i, i)[0] += E[c * stage.k * n + i]


cdef inline void product_of_parts(const Stage *stage, long rows, long cols, const real *P, const real *X, long ldx, real *out, long ldo) noexcept nogil:
    """out[rows, cols] = P X for a panel X [kn, cols], a state component at a time, so that a part of X stays in the first cache."""
    mixes(rows, stage.n, cols, P, suffix_row(stage.k * stage.n), X, ldx, out, ldo)
    add_later_parts(stage, rows, cols, P, X, ldx, out, ldo)


cdef inline void add_later_parts(const Stage *stage, long rows, long cols, const real *P, const real *X, long ldx, real *out, long ldo) noexcept nogil:
    """What state components from 1 on give to it."""
    cdef long n = stage.n, c, ldp = suffix_row(stage.k * n)
    for c in range(1, stage.k):
        pulls(n, cols, rows, X + c * n * ldx, ldx, P + c * n, ldp, out, ldo)


cdef inline long suffix_tiles(long kn) noexcept nogil:
    """Room for the tiles of a P, where the CPU has a use for them (tiles.h)."""
    return tiles_reals(kn, kn)


cdef inline void suffix_product(const Stage *stage, const real *P, const real *tiles, const real *X, real *out,
                                const real *next) noexcept nogil:
    """out = P X for a panel X [kn, PANEL]; tiles, those of P.  The panel `next` comes from memory meanwhile."""
    cdef long kn = stage.k * stage.n
    if suffix_tiles(kn) > 0:
        tiles_product(kn, kn, tiles, X, out, PANEL, False, next)
    else:
        panel_product_ahead(kn, stage.n, P, suffix_row(kn), X, out, next)
        add_later_parts(stage, kn, PANEL, P, X, PANEL, out, PANEL)


cdef inline void step_suffix(const Stage *stage, const Record *record, long lane, const real *H, const real *P, real *tiles,
                             real *out, long first, long last) noexcept nogil:
    """Rows [first, last) of out = P H; P = NULL is the identity.  On return tiles [suffix_tiles], those of P, are those of out.

    Products go on to whole vectors, into columns that a row of out has beside: a few columns one by one take longer than they.
    """
    cdef long n = stage.n, kn = stage.k * n, ldp = suffix_row(kn), p, row, c, d, i, cols
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    cdef const real *panel
    for p in range(panels_of(n)):
        cols, panel = min(PANEL, n - p * PANEL), H + p * kn * PANEL
        if P is not NULL and suffix_tiles(kn) > 0:
            # Two tiles of rows at a time may reach into those of another thread: what these give is thrown away.
            tiles_product(last - first, kn, tiles + first // 16 * tiles_step(kn), panel, out + first * ldp + p * PANEL, ldp, False,
                          panel + kn * PANEL)
        elif P is not NULL:
            product_of_parts(stage, last - first, (cols + VEC - 1) // VEC * VEC, P + first * ldp, panel, PANEL, out + first * ldp + p * PANEL, ldp)
        for row in range(first, last if P is NULL else first):
            memcpy(out + row * ldp + p * PANEL, panel + row * PANEL, cols * sizeof(real))
    for row in range(first, last):
        for d in range(1, stage.k):
            if P is NULL:
                memset(out + row * ldp + d * n, 0, n * sizeof(real))
                out[row * ldp + d * n + row % n] = E[(row // n * stage.k + d) * n + row % n]
                continue
            for i in range(n):
                out[row * ldp + d * n + i] = P[row * ldp + i] * E[d * n + i]
            for c in range(1, stage.k):
                for i in range(n):
                    out[row * ldp + d * n + i] += P[row * ldp + c * n + i] * E[(c * stage.k + d) * n + i]
    if suffix_tiles(kn) > 0:
        tiles_fill(kn, kn, first, last, out + first * ldp, ldp, tiles)


cdef inline long panel_in_order(const Stage *stage, long index) noexcept nogil:
    """The panels of A, those of all maps that belong to the same units after one another: they meet the same columns of P."""
    cdef long panels = panels_of(stage.rows)
    if stage.n % PANEL != 0:
        return index
    return index % stage.r * (panels // stage.r) + index // stage.r


cdef inline void weigh_maps(const Stage *stage, const Record *record, long lane, double kappa, long column, long run, real *out) noexcept nogil:
    """out[c, 0:run] = kappa D[c, column:column + run], rows PANEL apart."""
    cdef const real *D = record.D + lane * stage.k * stage.rows + column
    cdef long c, q
    for c in range(stage.k):
        for q in range(run):
            out[c * PANEL + q] = <real>(kappa * D[c * stage.rows + q])


cdef inline void add_maps(const Stage *stage, const real *D, real alpha, const real *w, real *v) noexcept nogil:
    """v [kn] += alpha D w, D as a matrix [kn, rows]."""
    cdef long n = stage.n, a, c, i
    for c in range(stage.k):
        for a in range(stage.r):
            for i in range(n):
                v[c * n + i] += alpha * D[c * stage.rows + a * n + i] * w[a * n + i]
