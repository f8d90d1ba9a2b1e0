# Floor 2: the terms of one block of steps for one lane and stage, a piece at a time.
#
#     P_0 A_i    i < rank, [kn, rn], in place of A_i          P_t D_t    one a step, of P_t [kn, kn] and D_t
#
# P_t D_t has r times as many numbers as P_t and is never written out: whoever reads the terms gets a piece of each of them,
# GRAM_PIECE numbers of one panel, in the first cache.  Panels are split between threads.

cdef struct Terms:
    const Stage *stage
    int l                            # index of the stage
    int depth
    long start                       # the first step that counts
    long block
    long products                    # P_0 A_i that count: rank, or 0 after a reset in the block
    long count                       # of all terms
    real *A                          # [rank, panels, kn, PANEL]
    long size                        # of one A
    const real *P                    # [depth * block, square]: products [kn, kn] of 1, 2, ... Jacobians from the end
    const real *D                    # [block - 1, ...]: of this lane, a step every `step` numbers ...
    const real *D_last               # ... and that of the last one
    long step


cdef inline long terms_square(const Stage *stage) noexcept nogil:
    """From one P to the next: no multiple of 4 KiB, which would put the same rows of all of them in one place of a cache."""
    return stage.k * stage.n * stage.k * stage.n + PANEL


cdef inline long terms_panel(const Stage *stage, long i) noexcept nogil:
    """Panels in an order that meets the same columns of P for all maps one after the other, where maps are whole panels."""
    cdef long each = stage.n // PANEL
    return i % stage.r * each + i // stage.r if stage.n % PANEL == 0 else i


cdef inline const real *terms_P0(const Terms *terms) noexcept nogil:
    return terms.P + (terms.depth * terms.block - 1) * terms_square(terms.stage)


cdef inline void terms_piece(const Terms *terms, long p, long first, long last, real *X) noexcept nogil:
    """Rows [first, last) of panel p of every term, into X [count, GRAM_PIECE]."""
    cdef long kn = terms.stage.k * terms.stage.n, i, t, after
    for i in range(terms.products):
        memcpy(X + i * GRAM_PIECE, terms.A + i * terms.size + (p * kn + first) * PANEL, (last - first) * PANEL * sizeof(real))
    X += terms.products * GRAM_PIECE
    for t in range(terms.start, terms.block):
        after = terms.depth * (terms.block - t) - terms.l - 1
        suffix_piece(terms.stage, terms.D + t * terms.step if t < terms.block - 1 else terms.D_last,
                     terms.P + (after - 1) * terms_square(terms.stage) if after > 0 else NULL,
                     p, first, last, X + (t - terms.start) * GRAM_PIECE)


cdef inline void terms_multiply(const Terms *terms, long p, long following, real *room) noexcept nogil:
    """Panel p of every A_i <- P_0 A_i; room [kn, PANEL].  Panel `following` will be next."""
    cdef long n = terms.stage.n, kn = terms.stage.k * n, i, d, row
    cdef const real *P = terms_P0(terms)
    cdef real *panel = terms.A + p * kn * PANEL
    cdef real *next
    for i in range(terms.products):
        memcpy(room, panel, kn * PANEL * sizeof(real))
        next = panel + terms.size if i < terms.products - 1 else terms.A + following * kn * PANEL
        if terms.depth * terms.block > 1:
            panel_product_ahead(kn, kn, P, kn, room, panel, next)
            panel = next
            continue
        panel_product_ahead(kn, n, P, kn, room, panel, next)  # one Jacobian: only the columns of h are dense
        for row in range(kn):
            for d in range(1, terms.stage.k):
                axpy(PANEL, P[row * kn + d * n + row % n], room + (d * n + row % n) * PANEL, panel + row * PANEL)
        panel = next


cdef inline void terms_gram(const Terms *terms, long p, const double *R, real *X, double *room, double *K) noexcept nogil:
    """K [count, count + 3] = what panel p gives to the inner products of the terms, or of their combinations with R^-1."""
    cdef long kn = terms.stage.k * terms.stage.n, rows = GRAM_PIECE // PANEL, first = 0, last
    memset(K, 0, terms.count * (terms.count + 3) * sizeof(double))
    while first < kn:
        last = min(first + rows, kn)
        terms_piece(terms, p, first, last, X)
        gram(terms.count, (last - first) * PANEL, X, R, room, K)
        first = last


cdef inline void terms_mix(const Terms *terms, long p, long rank, const real *mix, real *X) noexcept nogil:
    """Panel p of A_k <- sum over terms of mix[k, i] term_i, for k < rank; 0 if mix is, whatever the terms are."""
    cdef long kn = terms.stage.k * terms.stage.n, rows = GRAM_PIECE // PANEL, first = 0, last, i
    if norm2(rank * terms.count, mix) == 0:
        for i in range(rank):
            memset(terms.A + i * terms.size + p * kn * PANEL, 0, kn * PANEL * sizeof(real))
        return
    while first < kn:
        last = min(first + rows, kn)
        for i in range(terms.products):
            fetch(GRAM_PIECE, terms.A + i * terms.size + (p * kn + last) * PANEL + GRAM_PIECE)
        terms_piece(terms, p, first, last, X)
        mixes(rank, terms.count, (last - first) * PANEL, mix, terms.count, X, GRAM_PIECE,
              terms.A + (p * kn + first) * PANEL, terms.size)
        first = last
