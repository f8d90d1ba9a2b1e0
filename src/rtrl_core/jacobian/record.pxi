# Floor 2: a stage, and the record of one time step: (W, D, E, h_hat).
#
#     z = W h_hat      [r*n]     h_hat = [h ; x ; 1]  [m]      s' = phi(z, s)  [k*n]
#     D[c,a,j] = d s'[c,j] / d z[a,j]      E[c,d,j] = d s'[c,j] / d s[d,j]
#
# h_hat is kept in its parts, because x is either dense or an id that stands for a one-hot vector:
# an id costs one gathered column, never a product with zeros.  Lanes are the leading axis of every
# array; rows of W are map-major (row a*n + j).

cdef struct Stage:
    int n                # units
    int k                # state components of a unit
    int r                # maps (pre-activations) of a unit
    int inputs           # columns of x; 0 for the later stages of a chain
    long rows            # r * n
    long m               # columns of W: n + inputs + 1
    long ldw             # row stride of W
    long ldg             # row stride of its gradient: that of W, unless this W is a copy
    long offset          # where W begins in the flat array of all parameters
    const real *W        # [rows, ldw]
    const real *turned   # W^T as in turned.h while the session keeps it, otherwise NULL
    const real *mask     # [rows, ldw] 0 where W has no weight, or NULL where it has all
    int deaf             # bit a: map a has no recurrent weights, and H nothing of it


cdef struct Record:
    real *h              # [lanes, n] hidden units that entered the stage
    real *x              # [lanes, inputs] dense input, or NULL
    int32_t *ids         # [lanes] one-hot input, -1 where the input is dense
    real *D              # [lanes, k, rows]
    real *E              # [lanes, k, k, n]


cdef inline bint hears(const Stage *stage, long a) noexcept nogil:
    """Has map a recurrent weights?"""
    return not stage.deaf >> a & 1


cdef int deaf_maps(const Stage *stage) noexcept nogil:
    """`deaf` of a stage, from its mask."""
    cdef int deaf = 0
    cdef long row, q
    for row in range(stage.rows if stage.mask is not NULL else 0):
        deaf |= 1 << row // stage.n
    for row in range(stage.rows if stage.mask is not NULL else 0):
        for q in range(stage.n):
            if stage.mask[row * stage.ldw + q] != 0:
                deaf &= ~(1 << row // stage.n)
    return deaf


cdef Record record_layout(Arena arena, str name, str kind, Stage *stage, long lanes, double steps):
    """Buffers of the records of some steps; dense inputs are allocated when the first of them arrives."""
    cdef Record record
    cdef double count = lanes * steps
    record.h = arena.reals(name + "h", kind, count * stage.n)
    record.x = NULL
    record.ids = arena.ids(name + "ids", kind, count if stage.inputs else 0, stage.inputs - 1, -1, lanes)
    record.D = arena.reals(name + "D", kind, count * stage.k * stage.rows)
    record.E = arena.reals(name + "E", kind, count * stage.k * stage.k * stage.n)
    return record


cdef inline Record record_from(const Stage *stage, const Record *base, long lane) noexcept nogil:
    """The record that begins at a later lane of a longer one: a step of a tape."""
    cdef Record record
    record.h = base.h + lane * stage.n
    record.x = NULL if base.x is NULL else base.x + lane * stage.inputs
    record.ids = base.ids + lane
    record.D = base.D + lane * stage.k * stage.rows
    record.E = base.E + lane * stage.k * stage.k * stage.n
    return record


cdef inline bint is_dense(const Stage *stage, const Record *record, long lane) noexcept nogil:
    return record.x is not NULL and record.ids[lane] < 0


cdef inline void record_copy(const Stage *stage, const Record *source, Record *target, long first, long last) noexcept nogil:
    """Copy the lanes [first, last) of a record."""
    cdef long lanes = last - first, d = stage.k * stage.rows, e = stage.k * stage.k * stage.n
    memcpy(target.h + first * stage.n, source.h + first * stage.n, lanes * stage.n * sizeof(real))
    memcpy(target.D + first * d, source.D + first * d, lanes * d * sizeof(real))
    memcpy(target.E + first * e, source.E + first * e, lanes * e * sizeof(real))
    if stage.inputs:
        memcpy(target.ids + first, source.ids + first, lanes * sizeof(int32_t))
        if source.x is not NULL and target.x is not NULL:
            memcpy(target.x + first * stage.inputs, source.x + first * stage.inputs, lanes * stage.inputs * sizeof(real))


cdef inline void extend(const Stage *stage, const Record *record, long lane, real *out) noexcept nogil:
    """out[m] = h_hat of one lane, for estimators that mix it into a dense vector."""
    cdef long n = stage.n
    memcpy(out, record.h + lane * n, n * sizeof(real))
    if is_dense(stage, record, lane):
        memcpy(out + n, record.x + lane * stage.inputs, stage.inputs * sizeof(real))
    elif stage.inputs:
        memset(out + n, 0, stage.inputs * sizeof(real))
        out[n + record.ids[lane]] = 1
    out[stage.m - 1] = 1
