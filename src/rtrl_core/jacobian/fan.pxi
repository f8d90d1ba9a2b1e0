# Floor 2: the weights that exist, unit by unit: which columns of W each map of a unit reads.
#
# Masks (sparse weights, the GRU's empty columns) belong to a stage.  What is kept for single weights
# is kept for those that exist only, in the order unit, map, column: the weights of unit j are entries
# start[j r] to start[(j + 1) r] of a list, and those of its map a begin at start[j r + a].

cdef struct Fan:
    long weights         # of the stage
    long most            # of one unit
    int64_t *start       # [n r + 1]
    int32_t *column      # [weights], NULL where every row is full


cdef inline long weights_of(const Stage *stage, long j) noexcept nogil:
    """How many weights unit j has."""
    cdef long a, q, total = 0
    if stage.mask is NULL:
        return stage.r * stage.m
    for a in range(stage.r):
        for q in range(stage.m):
            total += stage.mask[(a * stage.n + j) * stage.ldw + q] != 0
    return total


cdef Fan fan_layout(Arena arena, str name, const Stage *stage):
    cdef Fan fan
    cdef long j, a, q, count, at = 0
    fan.weights = fan.most = 0
    for j in range(stage.n):
        count = weights_of(stage, j)
        fan.weights += count
        fan.most = max(fan.most, count)
    fan.start = arena.integers(name + "start", "workspace", <double>stage.rows + 1)
    fan.column = arena.ids(name + "column", "workspace", 0 if stage.mask is NULL else fan.weights)
    if stage.mask is NULL:
        fan.column = NULL
    if fan.start is not NULL:
        for j in range(stage.n):
            for a in range(stage.r):
                fan.start[j * stage.r + a] = at
                if stage.mask is NULL:
                    at += stage.m
                    continue
                for q in range(stage.m):
                    if stage.mask[(a * stage.n + j) * stage.ldw + q] != 0:
                        fan.column[at] = <int32_t>q
                        at += 1
        fan.start[stage.rows] = at
    return fan


cdef inline const real *fan_gather(const Stage *stage, const Fan *fan, long j, long a, const real *h_hat,
                                   real *room) noexcept nogil:
    """h_hat at the columns that map a of unit j reads: h_hat itself where those are all, otherwise room [m]."""
    cdef long first = fan.start[j * stage.r + a], count = fan.start[j * stage.r + a + 1] - first, e
    if count == stage.m:
        return h_hat
    for e in range(count):
        room[e] = h_hat[fan.column[first + e]]
    return room


cdef inline bint fan_alike(const Fan *fan, long r, long j, long a) noexcept nogil:
    """Does map a of unit j read the same columns as that of unit j - 1?"""
    cdef long first = fan.start[j * r + a], count = fan.start[j * r + a + 1] - first, before = fan.start[(j - 1) * r + a]
    return (fan.start[(j - 1) * r + a + 1] - before == count
            and memcmp(fan.column + before, fan.column + first, count * sizeof(int32_t)) == 0)


cdef inline void fan_scatter(const Stage *stage, const Fan *fan, long j, const real *y, real *gradient) noexcept nogil:
    """gradient += y, one number for each weight of unit j."""
    cdef long a, e, first, count
    cdef real *row
    for a in range(stage.r):
        first = fan.start[j * stage.r + a]
        count = fan.start[j * stage.r + a + 1] - first
        row = gradient + (a * stage.n + j) * stage.ldw
        if count == stage.m:
            axpy(count, 1, y, row)
        else:
            for e in range(count):
                row[fan.column[first + e]] += y[e]
        y += count
