# Floor 2: inner products of the terms of a block (terms.pxi), a few units at a time.
#
#     <P_s D_s, P_t D_t> = sum_j (sum_a D_s[a,j] D_t[a,j]) sum_i P_s[i,j] P_t[i,j]        for k = 1
#     <P_0 A_i, P_t D_t> = sum_{a,j} D_t[a,j] sum_i (P_0 A_i)[i,(a,j)] P_t[i,j]
#
# so that columns of P meet each other once and not once for every map, unscaled.  With several components, or where
# combinations of terms are wanted, every term is formed, a map at a time.
#
# Time k r n^2 count^2 flops, less where columns serve all maps.  Units are split between threads.

cdef inline double gram_room(double kn, double maps, double rank, double block) noexcept nogil:
    """Doubles that terms_gram needs; counted in double, so that too much is refused and not wrapped around."""
    cdef double vectors = maps * rank + block
    return (min(<double>GRAM_ROOM, kn * vectors * GRAM_COLUMNS)
            + GRAM_COLUMNS * (vectors * vectors + 5 * vectors + block * maps + 1))


cdef inline void terms_gram(const Terms *terms, long unit, long end, const double *R, double *room, double *K) noexcept nogil:
    """K [count, count] above its diagonal = what units [unit, end) give to the inner products of the terms, or of their
    combinations with R^-1."""
    cdef long width, a
    memset(K, 0, terms.count * terms.count * sizeof(double))
    while unit < end:
        width = min(GRAM_COLUMNS, end - unit)
        if width < GRAM_COLUMNS:  # the columns that miss are 0
            memset(room, 0, <long>gram_room(terms.stage.k * terms.stage.n, terms.stage.r, terms.products,
                                            terms.count - terms.products) * sizeof(double))
        if R is NULL and terms.stage.k == 1:
            gram_of_columns(terms, unit, width, room, K)
        for a in range(0 if R is NULL and terms.stage.k == 1 else terms.stage.r):
            gram_of_map(terms, a, unit, width, R, room, K)
        unit += width


cdef inline void gram_of_columns(const Terms *terms, long unit, long width, double *room, double *K) noexcept nogil:
    """All maps of some units, for k = 1."""
    cdef const Stage *stage = terms.stage
    cdef long n = stage.n, ldp = suffix_row(n), slot = n * ldp, rank = terms.products, across = stage.r * rank, first, last = 0, a, t
    cdef long vectors = across + terms.dense, rows = gram_rows(vectors, n), step = vectors * GRAM_COLUMNS, row
    cdef double *sums = room + rows * step
    cdef double *single = sums + vectors * step        # [vectors, GRAM_COLUMNS]: products with columns of the identity
    cdef const real *P = terms_P(terms, terms.start) + unit
    memset(sums, 0, (vectors + 1) * step * sizeof(double))
    while last < n:
        first, last = last, min(last + rows, n)
        for a in range(stage.r):
            load_terms(terms, a, unit, width, first, last, room + a * rank * GRAM_COLUMNS, step)
        for t in range(terms.dense):
            gram_load(last - first, width, P + t * terms.depth * slot + first * ldp, ldp, room + (across + t) * GRAM_COLUMNS, step)
        for a in range(stage.r):
            gram_triangle(rank, last - first, room + a * rank * GRAM_COLUMNS, step, sums + a * rank * (step + GRAM_COLUMNS), step)
        gram_rectangle(across, terms.dense, last - first, room, room + across * GRAM_COLUMNS, step, sums + across * GRAM_COLUMNS, step)
        gram_triangle(terms.dense, last - first, room + across * GRAM_COLUMNS, step, sums + across * (step + GRAM_COLUMNS), step)
        for row in range(max(first, unit), min(last, unit + width)):
            for t in range(vectors):
                single[t * GRAM_COLUMNS + row - unit] = room[((row - first) * vectors + t) * GRAM_COLUMNS + row - unit]
    gram_add_up(terms, unit, width, sums, single, single + step, K)


cdef inline void gram_add_up(const Terms *terms, long unit, long width, const double *sums, const double *single, double *D,
                             double *K) noexcept nogil:
    """K += sums over columns and maps, weighed with D; D is room for it [steps, maps, GRAM_COLUMNS], then [GRAM_COLUMNS]."""
    cdef long n = terms.stage.n, maps = terms.stage.r, rank = terms.products, count = terms.count, steps = count - rank
    cdef long vectors = maps * rank + terms.dense, a, i, j, s, t
    cdef const double *product
    cdef double *weights = D + steps * maps * GRAM_COLUMNS
    for t in range(steps):
        for a in range(maps):
            for j in range(width):
                D[(t * maps + a) * GRAM_COLUMNS + j] = terms_D(terms, terms.start + t)[a * n + unit + j]
    for a in range(maps):
        for i in range(rank):
            product = sums + (a * rank + i) * (vectors + 1) * GRAM_COLUMNS
            for j in range(i, rank):
                K[i * count + j] += gram_total(product + (j - i) * GRAM_COLUMNS)
            product = sums + ((a * rank + i) * vectors + maps * rank) * GRAM_COLUMNS
            for t in range(steps):
                if t == terms.dense:
                    product = single + (a * rank + i - t) * GRAM_COLUMNS
                K[i * count + rank + t] += gram_weighted(product + t * GRAM_COLUMNS, D + (t * maps + a) * GRAM_COLUMNS)
    for s in range(steps):
        for t in range(s, steps):
            gram_weights(maps, D + s * maps * GRAM_COLUMNS, D + t * maps * GRAM_COLUMNS, weights)
            product = sums + ((maps * rank + s) * vectors + maps * rank + t) * GRAM_COLUMNS
            if t == terms.dense:
                product = single + (maps * rank + s) * GRAM_COLUMNS
            K[(rank + s) * count + rank + t] += gram_total(weights) if s == terms.dense else gram_weighted(product, weights)


cdef inline void load_terms(const Terms *terms, long a, long unit, long width, long first, long last, double *room, long step) noexcept nogil:
    """Rows [first, last) of some units of map a of every A_i, to room [rows, rank, GRAM_COLUMNS]."""
    cdef long kn = terms.stage.k * terms.stage.n, column, done = 0, run, i
    while done < width:
        column = a * terms.stage.n + unit + done
        run = min(width - done, PANEL - column % PANEL)
        for i in range(terms.products):
            gram_load(last - first, run, terms.A + i * terms.size + (column // PANEL * kn + first) * PANEL + column % PANEL, PANEL,
                      room + i * GRAM_COLUMNS + done, step)
        done += run


cdef inline void gram_of_map(const Terms *terms, long a, long unit, long width, const double *R, double *room, double *K) noexcept nogil:
    """One map of some units."""
    cdef const Stage *stage = terms.stage
    cdef long n = stage.n, kn = stage.k * n, ldp = suffix_row(kn), count = terms.count, step = count * GRAM_COLUMNS
    cdef long rows = gram_rows(count, kn), first, last = 0, i, j, t, c
    cdef double *sums = room + rows * step
    cdef double *D = sums + count * step
    cdef double *X
    cdef const real *P
    memset(sums, 0, count * step * sizeof(double))
    while last < kn:
        first, last = last, min(last + rows, kn)
        load_terms(terms, a, unit, width, first, last, room, step)
        for t in range(terms.start, terms.block):
            X, P = room + (terms.products + t - terms.start) * GRAM_COLUMNS, terms_P(terms, t) + first * ldp + unit
            for c in range(stage.k):
                for j in range(width):
                    D[j] = terms_D(terms, t)[c * stage.rows + a * n + unit + j]
                if t - terms.start < terms.dense:
                    gram_scale(last - first, width, P + c * n, ldp, D, c > 0, X, step)
                else:
                    gram_diagonal(last - first, width, c * n + unit - first, D, c > 0, X, step)
        if R is not NULL:
            gram_solve(count, last - first, R, room)
        gram_triangle(count, last - first, room, step, sums, step)
    for i in range(count):
        for j in range(i, count):
            K[i * count + j] += gram_total(sums + (i * count + j) * GRAM_COLUMNS)


cdef inline void gram_diagonal(long rows, long width, long row, const double *d, bint accumulate, double *X, long step) noexcept nogil:
    """The same as gram_scale for columns of the identity: entry (row + j, j) is d[j]."""
    cdef long i, j
    for i in range(0 if accumulate else rows):
        memset(X + i * step, 0, width * sizeof(double))
    for j in range(max(0, -row), min(width, rows - row)):
        X[(row + j) * step + j] = d[j]
