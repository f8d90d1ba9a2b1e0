# Floor 2: products with the Jacobians of one stage, from its record alone.
#
#     H = E + D W_h     [kn, kn]        F[(c,i),(a,j),q] = D[c,a,i] [i=j] h_hat[q]
#
# feed         z = W h_hat                      2 rnm flops a lane
# push         H v                              2 rn^2
# pull         y = D' delta, delta H            2 rn^2
# pull_maps    D' delta                         2 krn       row_norms    |D[c,:,i]|
# credit_outer gradient += y (x) h_hat          2 rnm  (delta F)
#
# Functions take a range of lanes, units, rows or columns, so that one body serves a thread that has
# whole lanes and a team that shares one lane.  No result depends on how a range was split.


cdef inline Share share_sums(Team team, long lanes) noexcept nogil:
    """Who computes sums for many lanes: blocks of lanes are summed together (dots.h), so there all threads share the units."""
    cdef Share share = share_lanes(team, lanes)
    if lanes >= LANES_BLOCK_FROM:
        share.first, share.last, share.team = 0, lanes, team
    return share


cdef inline void feed(const Stage *stage, const Record *record, long lane, long lanes, long first, long last, real *z) noexcept nogil:
    """z[b, rows] = W h_hat_b for `lanes` lanes from `lane` on and units [first, last) of every map."""
    cdef long n = stage.n, a, row, start
    if stage.turned is not NULL:
        for a in range(1 if last - first == n else stage.r):
            feed_turned(stage, record, lane, lanes, a * n + first, stage.rows if last - first == n else a * n + last, z)
        return
    for a in range(stage.r):
        start = row = a * n + first
        while row < a * n + last:
            feed_columns(stage, record, lane, lanes, row, <int>min(UNIT_GROUP, a * n + last - row), z + row)
            row += UNIT_GROUP
        if stage.inputs and is_dense(stage, record, lane):
            dots(last - first, stage.inputs, lanes, stage.W + start * stage.ldw + n, stage.ldw,
                 record.x + lane * stage.inputs, stage.inputs, z + start, stage.rows)
        dots(last - first, n, lanes, stage.W + start * stage.ldw, stage.ldw, record.h + lane * n, n, z + start, stage.rows)


cdef inline void feed_turned(const Stage *stage, const Record *record, long lane, long lanes, long first, long last, real *z) noexcept nogil:
    """The same for rows [first, last), by W^T."""
    cdef long n = stage.n
    turned_pick(first, last, stage.m, lanes, stage.turned, n, record.ids + lane if stage.inputs else NULL, z, stage.rows)
    if stage.inputs and is_dense(stage, record, lane):
        feed_part(stage, lanes, first, last, n, stage.inputs, record.x + lane * stage.inputs, z)
    feed_part(stage, lanes, first, last, 0, n, record.h + lane * n, z)


cdef inline void feed_part(const Stage *stage, long lanes, long first, long last, long begin, long inner, const real *x, real *z) noexcept nogil:
    """z[b, first:last] += columns [begin, begin + inner) of W times x_b, summed as `dots` does it."""
    cdef long rows = stage.rows, b = 0
    while b + LANES_BLOCK_FROM <= lanes:
        turned_dots(first, last, stage.m, begin, inner, min(LANE_BLOCK, lanes - b), stage.turned, x + b * inner, inner, z + b * rows, rows)
        b += LANE_BLOCK
    if b < lanes:
        few_dots(last - first, inner, lanes - b, stage.W + first * stage.ldw + begin, stage.ldw, x + b * inner, inner,
                 z + b * rows + first, rows)


cdef inline void feed_columns(const Stage *stage, const Record *record, long lane, long lanes, long row, int count, real *z) noexcept nogil:
    """z[b, :count] = W [one-hot ids_b ; 1] for `count` <= UNIT_GROUP rows from `row` on."""
    cdef real bias[UNIT_GROUP]
    cdef long ldw = stage.ldw, b
    cdef const real *W = stage.W + row * ldw
    cdef const real *column
    cdef int i
    if lanes == 1 and stage.inputs and not is_dense(stage, record, lane):
        column = W + stage.n + record.ids[lane]
        for i in range(count):
            z[i] = W[i * ldw + stage.m - 1] + column[i * ldw]
        return
    for i in range(count):
        bias[i] = W[i * ldw + stage.m - 1]
    for b in range(lanes):
        if stage.inputs and not is_dense(stage, record, lane + b):
            column = W + stage.n + record.ids[lane + b]
            for i in range(count):
                z[b * stage.rows + i] = bias[i] + column[i * ldw]
        else:
            for i in range(count):
                z[b * stage.rows + i] = bias[i]


cdef inline void push(const Stage *stage, const Record *record, long lane, long lanes, long each, const real *v, real *z, long ldz,
                      real *out, long first, long last) noexcept nogil:
    """out = H v for units [first, last) of `each` vectors [kn] of every one of `lanes` lanes from `lane` on; z, room for rows
    of each vector, ldz apart.

    The weights are shared, so all vectors meet them in one product.  Threads may share the lanes in any way: a sum of
    `few_dots` does not depend on how many there are.
    """
    cdef long n = stage.n, kn = stage.k * n, count = lanes * each, a, b
    for a in range(stage.r):
        for b in range(count):
            memset(z + b * ldz + a * n + first, 0, (last - first) * sizeof(real))
        if hears(stage, a):
            few_dots(last - first, n, count, stage.W + (a * n + first) * stage.ldw, stage.ldw, v, kn, z + a * n + first, ldz)
    for b in range(count):
        finish_push(stage, record, lane + b // each, v + b * kn, z + b * ldz, out + b * kn, first, last)


cdef inline void finish_push(const Stage *stage, const Record *record, long lane, const real *v, const real *z, real *out,
                             long first, long last) noexcept nogil:
    """out[kn] = E v + D z of one lane, z = W_h v: the pointwise half of a push."""
    cdef long n = stage.n, a, c, d, i
    cdef const real *D = record.D + lane * stage.k * stage.rows
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    for c in range(stage.k):
        for i in range(first, last):
            out[c * n + i] = E[c * stage.k * n + i] * v[i]
        for d in range(1, stage.k):
            for i in range(first, last):
                out[c * n + i] += E[(c * stage.k + d) * n + i] * v[d * n + i]
        for a in range(stage.r):
            for i in range(first, last):
                out[c * n + i] += D[c * stage.rows + a * n + i] * z[a * n + i]


cdef inline void row_norms(const Stage *stage, const Record *record, long lane, double *out) noexcept nogil:
    """out[kn] = |D[c,:,i]| of one lane: the norms of the rows of D as a matrix [kn, rn]."""
    cdef long n = stage.n, a, c, i
    cdef const real *D = record.D + lane * stage.k * stage.rows
    cdef double total
    for c in range(stage.k):
        for i in range(n):
            total = 0
            for a in range(stage.r):
                total += <double>D[c * stage.rows + a * n + i] * D[c * stage.rows + a * n + i]
            out[c * n + i] = sqrt(total)


cdef inline void pull_maps(const Stage *stage, const Record *record, long lane, const real *delta, real *y) noexcept nogil:
    """y[rows] = D' delta of one lane: the derivative by the pre-activations."""
    cdef long n = stage.n, a, c, i
    cdef const real *D = record.D + lane * stage.k * stage.rows
    for a in range(stage.r):
        for i in range(n):
            y[a * n + i] = D[a * n + i] * delta[i]
        for c in range(1, stage.k):
            for i in range(n):
                y[a * n + i] += D[c * stage.rows + a * n + i] * delta[c * n + i]


cdef inline void seed_pull(const Stage *stage, const Record *record, long lane, const real *delta, real *y, real *out) noexcept nogil:
    """y[rows] = D' delta and out[kn] = E' delta of one lane: the pointwise half of a pull."""
    cdef long n = stage.n, c, d, i
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    pull_maps(stage, record, lane, delta, y)
    for d in range(stage.k):
        for i in range(n):
            out[d * n + i] = E[d * n + i] * delta[i]
        for c in range(1, stage.k):
            for i in range(n):
                out[d * n + i] += E[(c * stage.k + d) * n + i] * delta[c * n + i]


cdef inline void finish_pull(const Stage *stage, long lanes, const real *y, real *out, long first, long last) noexcept nogil:
    """out[b, first:last] += (W_h' y_b)[first:last]: the other half, shared weights times many lanes.
    A few rows of W at a time, which are asked for in their order, while tiles go down their columns, and stay in the first
    cache for all lanes."""
    cdef long row = 0, count, i
    while row < stage.rows:
        count = min(32, stage.rows - row if stage.deaf == 0 else stage.n - row % stage.n)
        for i in range(count if hears(stage, row // stage.n) else 0):
            fetch(last - first, stage.W + (row + i) * stage.ldw + first)
        if hears(stage, row // stage.n):
            pulls(count, last - first, lanes, stage.W + row * stage.ldw + first, stage.ldw, y + row, stage.rows, out + first,
                  stage.k * stage.n)
        row += count


cdef inline void credit_outer(const Stage *stage, const Record *record, long lanes, const real *y, real *gradient, long first, long last) noexcept nogil:
    """gradient[first:last] += sum over lanes of y_b (x) h_hat_b, in the order of lanes."""
    credit_steps(stage, record, 1, lanes, y, gradient, NULL, NULL, first, last)


cdef inline void credit_outer_anew(const Stage *stage, const Record *record, const real *y, real *h_hat, real *gradient, long first, long last) noexcept nogil:
    """The same for one lane and into a gradient of any content: whole rows at once, with room for one in h_hat [ldg]."""
    extend(stage, record, 0, h_hat)
    memset(h_hat + stage.m, 0, (stage.ldg - stage.m) * sizeof(real))
    outers_anew(last - first, stage.ldg, 1, y + first, stage.rows, h_hat, stage.ldg, gradient + first * stage.ldg, stage.ldg)


cdef inline void credit_steps(const Stage *stage, const Record *records, long steps, long lanes, const real *y, real *gradient,
                              const real *tiles, real *columns, long first, long last) noexcept nogil:
    """The same for `steps` records, one after the other as on a tape, of which each is dense or has ids; y [steps, lanes, rows].
    `tiles`: those of h of all steps, or NULL.  What belongs to ids and 1 may go into `columns` by `turned_put`, for a later
    `turn_back`; otherwise NULL."""
    cdef long t, row, n = stage.n, rows = stage.rows
    cdef bint dense
    if tiles is not NULL:
        tiled_outers(last - first, n, steps * lanes, y + first, rows, tiles, gradient + first * stage.ldg, stage.ldg)
    else:
        outers(last - first, n, steps * lanes, y + first, rows, records.h, n, gradient + first * stage.ldg, stage.ldg)
    for t in range(steps):
        dense = is_dense(stage, records, t * lanes)
        if dense:
            outers(last - first, stage.inputs, lanes, y + t * lanes * rows + first, rows, records.x + t * lanes * stage.inputs,
                   stage.inputs, gradient + first * stage.ldg + n, stage.ldg)
        elif columns is not NULL:
            turned_put(first, last, stage.m - n, lanes, y + t * lanes * rows, rows,
                       records.ids + t * lanes if stage.inputs else NULL, columns)
            continue
        row = first
        while row < last:
            credit_columns(lanes, y + t * lanes * rows + row, rows, records.ids + t * lanes if stage.inputs and not dense else NULL,
                           <int>min(UNIT_GROUP, last - row), gradient + row * stage.ldg + n, stage.inputs, stage.ldg)
            row += UNIT_GROUP


cdef inline void credit_columns(long lanes, const real *y, long ldy, const int32_t *ids, int count, real *G, long bias, long ldg) noexcept nogil:
    """`count` <= UNIT_GROUP rows of G += sum over lanes of y_b (x) [one-hot ids_b ; 1]; the 1 is column `bias`, and ids
    may be NULL."""
    cdef real total[UNIT_GROUP]
    cdef real *column
    cdef long b
    cdef int i
    if lanes == 1:                   # a sum in memory would wait for its own stores
        for i in range(count):
            G[i * ldg + bias] += y[i]
            if ids is not NULL:
                G[i * ldg + ids[0]] += y[i]
        return
    for i in range(count):
        total[i] = G[i * ldg + bias]
    for b in range(lanes):
        for i in range(count):
            total[i] += y[b * ldy + i]
        if ids is not NULL:
            column = G + ids[b]
            for i in range(count):
                column[i * ldg] += y[b * ldy + i]
    for i in range(count):
        G[i * ldg + bias] = total[i]
