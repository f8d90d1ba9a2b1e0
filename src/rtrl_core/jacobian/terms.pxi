# Floor 2: the terms of one block of steps for one lane and stage.
#
#     P_0 A_i    i < rank, [kn, rn], in place of A_i          P_t D_t    one a step, of P_t [kn, kn] and D_t
#
# P_t D_t has r times as many numbers as P_t and is never written out: who needs it scales columns of P_t.  The last P of all
# is the identity and not kept.  The P lie in slots, see blocks.pxi; panels of A are split between threads.

cdef struct Terms:
    const Stage *stage
    int l                            # index of the stage
    int depth
    long start                       # the first step that counts
    long block
    long products                    # P_0 A_i that count: rank, or 0 after a reset in the block
    long dense                       # terms of steps that have a P: all, or all but the last
    long count                       # of all terms
    real *A                          # [rank, panels, kn, PANEL]
    long size                        # of one A
    const real *P                    # [depth * block, kn, suffix_row]: slots
    const real *tiles                # of the first
    const real *D                    # [block - 1, ...]: of this lane, a step every `step` numbers ...
    const real *D_last               # ... and that of the last one
    long step


cdef inline const real *terms_P(const Terms *terms, long t) noexcept nogil:
    """What multiplies the D of step t, or A for t = -1; the next step's is depth slots on."""
    cdef long kn = terms.stage.k * terms.stage.n
    return terms.P + (t * terms.depth + terms.l + 1 if t >= 0 else 0) * kn * suffix_row(kn)


cdef inline const real *terms_D(const Terms *terms, long t) noexcept nogil:
    """D of step t [k, rows]."""
    return terms.D + t * terms.step if t < terms.block - 1 else terms.D_last


cdef inline void terms_multiply(const Terms *terms, long first, long last, real *room) noexcept nogil:
    """Panels [first, last), in the order of panel_in_order, of every A_i <- P_0 A_i; room [kn, PANEL].  What comes next is fetched."""
    cdef const Stage *stage = terms.stage
    cdef long n = stage.n, kn = stage.k * n, ldp = suffix_row(kn), task, d, row
    cdef const real *P = terms_P(terms, -1)
    cdef real *panel
    cdef real *next = multiplied(terms, first * terms.products)
    for task in range(first * terms.products, last * terms.products):
        panel, next = next, multiplied(terms, task + 1)
        memcpy(room, panel, kn * PANEL * sizeof(real))
        if terms.depth * terms.block == 1 and suffix_tiles(kn) == 0:  # one Jacobian: only the columns of h are dense
            panel_product_ahead(kn, n, P, ldp, room, panel, next)
            for row in range(kn):
                for d in range(1, stage.k):
                    axpy(PANEL, P[row * ldp + d * n + row % n], room + (d * n + row % n) * PANEL, panel + row * PANEL)
        else:
            suffix_product(stage, P, terms.tiles, room, panel, next)


cdef inline real *multiplied(const Terms *terms, long task) noexcept nogil:
    """The panel that is multiplied as number `task`, or any address after the last."""
    if terms.products == 0:
        return terms.A
    return (terms.A + task % terms.products * terms.size
            + panel_in_order(terms.stage, task // terms.products) * terms.stage.k * terms.stage.n * PANEL)


cdef inline double mix_room(double k, double rank, double block) noexcept nogil:
    """Numbers that terms_mix needs."""
    return PANEL * rank * (block * k + 1)


cdef inline void terms_mix(const Terms *terms, long p, long rank, const real *mix, real *room) noexcept nogil:
    """Panel p of A_k <- sum over terms of mix[k, i] term_i, for k < rank; 0 if mix is, whatever the terms are."""
    cdef const Stage *stage = terms.stage
    cdef long n = stage.n, kn = stage.k * n, slot = kn * suffix_row(kn), count = terms.count, i, t, c, j, q, run
    cdef long column = p * PANEL, end = min(column + PANEL, stage.rows)
    cdef real *A = terms.A + p * kn * PANEL
    cdef real *slopes = room + rank * PANEL    # [rank, dense, k, PANEL]: mix D
    cdef real *slope
    cdef const real *D
    if norm2(rank * count, mix) == 0:
        for i in range(rank):
            memset(A + i * terms.size, 0, kn * PANEL * sizeof(real))
        return
    while column < end:
        j, q = column % n, column % PANEL
        run = min(n - j, end - column)
        slope = slopes
        for i in range(rank):
            for t in range(terms.dense):
                D = terms_D(terms, terms.start + t) + column
                for c in range(stage.k):
                    scaled_copy(run, mix[i * count + terms.products + t], D + c * stage.rows, slope)
                    slope += PANEL
        mix_terms(kn, run, rank, mix, count, terms.products, A + q, terms.size, terms.dense, stage.k,
                  terms_P(terms, terms.start) + j, terms.depth * slot, n, suffix_row(kn), slopes, room)
        for i in range(rank if terms.dense < count - terms.products else 0):
            for c in range(stage.k):
                for t in range(run):
                    A[i * terms.size + (c * n + j + t) * PANEL + q + t] += (mix[(i + 1) * count - 1]
                                                                            * terms.D_last[c * stage.rows + column + t])
        column += run


cdef inline void scaled_copy(long count, real alpha, const real *x, real *out) noexcept nogil:
    cdef long i
    for i in range(count):
        out[i] = alpha * x[i]
