# Floor 2: the optimal unbiased reduction of a sum of Kronecker products to fewer of them (Benzing, Gauy, Mujika,
# Martinsson, Steger 2019, arXiv:1902.03993).
#
#     T = sum over terms of u_i (x) A_i        u [count, m], A_i as vectors [length]
#     U = Q R1 (rows), A = V R2 (rows; R2 from inner products), C = R1 R2', J C has orthogonal rows of norm d
#     u' = Mix' J Q                            A' = Mix' diag(1/d) J R1 A
#
# Q and J are orthogonal and E[Mix Mix'] = diag(d), so the mean is T whatever rounding did to J and d: precision of the
# small algebra decides about noise, never about bias.  With the true d the noise is the least possible:
#
#     Mix [count, rank] = sqrt(d_i) on the diagonal for the `kept` largest, then sqrt(S / kk) diag(signs) Z
#     kept is the smallest number with d_{kept+1} kk <= S; kk = rank - kept; S = sum of the remaining d
#     Z: orthonormal columns, rows of squared norm d_i kk / S
#     |result - T|^2 = S^2 / kk - sum of the remaining d_i^2
#
# Everything is double.  Cost 4 m count^2 + 12 count^3 per sweep of Jacobi, small beside the products that make A.

cdef inline double reduction_room(double count, double rank, double m) noexcept nogil:
    """Doubles that one reduction needs; counted in double, so that too much is refused and not wrapped around."""
    return count * m + m + 4 * count * count + 4 * count + count * rank + rank


cdef struct Reduction:
    long count                       # terms at most
    long rank
    long m
    double *Q                        # [terms, m]: u, then their orthonormal basis
    double *newest                   # [m]: what singular vectors are oriented along
    double *rows                     # [2, terms]: room
    double *R1                       # [terms, terms]
    double *R2                       # [terms, terms]
    double *C                        # [terms, terms]
    double *J                        # [terms, terms]
    double *d                        # [terms], by row of J C
    double *along                    # [terms]
    double *Mix                      # [terms, rank], rows in the order of falling d
    double *carried                  # [rank]: the row of Z that is being shared out


cdef inline Reduction reduction_at(double *room, long count, long rank, long m) noexcept nogil:
    """Lay a reduction out in its room."""
    cdef Reduction r
    r.count, r.rank, r.m = count, rank, m
    r.Q = room
    r.newest = r.Q + count * m
    r.rows = r.newest + m
    r.R1 = r.rows + 2 * count
    r.R2 = r.R1 + count * count
    r.C = r.R2 + count * count
    r.J = r.C + count * count
    r.d = r.J + count * count
    r.along = r.d + count
    r.Mix = r.along + count
    r.carried = r.Mix + count * rank
    return r


cdef inline double reduction_core(Reduction *r) noexcept nogil:
    """Basis of u, and C = R1 R2'; returns the norm of T."""
    cdef long n = r.count, i, j, p
    cdef double total = 0, entry
    orthonormalise(n, r.m, r.Q, r.R1)
    for i in range(n):
        for j in range(n):
            entry = 0
            for p in range(max(i, j), n):
                entry += r.R1[i * n + p] * r.R2[j * n + p]
            r.C[i * n + j] = entry
            total += entry * entry
    return sqrt(total)


cdef inline void reduction_order(Reduction *r) noexcept nogil:
    """Rows of J in the order of falling d, oriented along `newest`; d of what is rounding beside the largest becomes 0."""
    cdef long n = r.count, i, j, largest
    cdef double swap, drop = 1e-13 if RTRL_WIDTH == 64 else 2e-7
    jacobi(n, r.C, r.J)
    for i in range(n):
        r.d[i] = sqrt(dot8(n, r.C + i * n, r.C + i * n))
        r.along[i] = dot8(r.m, r.Q + i * r.m, r.newest)
    for i in range(n):
        largest = i
        for j in range(i + 1, n):
            if r.d[j] > r.d[largest]:
                largest = j
        r.d[i], r.d[largest] = r.d[largest], r.d[i]
        for j in range(n):
            swap = r.J[i * n + j]
            r.J[i * n + j] = r.J[largest * n + j]
            r.J[largest * n + j] = swap
        if r.d[i] <= drop * r.d[0]:
            r.d[i] = 0
        if dot8(n, r.J + i * n, r.along) < 0:
            for j in range(n):
                r.J[i * n + j] = -r.J[i * n + j]


cdef inline void reduction_mix(Reduction *r, const real *signs) noexcept nogil:
    """Mix, from d and signs [count]."""
    cdef long i, j, kept = 0, used = 0, columns
    cdef double total, share, rest = 0, cosine, sine, size
    cdef double *row
    memset(r.Mix, 0, r.count * r.rank * sizeof(double))
    memset(r.carried, 0, r.rank * sizeof(double))
    total = tail_of(r, 0)
    while kept < r.rank and kept < r.count and r.d[kept] * (r.rank - kept) > total:
        r.Mix[kept * r.rank + kept] = sqrt(r.d[kept])
        kept += 1
        total = tail_of(r, kept)
    if total == 0:
        return
    columns = r.rank - kept
    for i in range(kept, r.count):
        share = r.d[i] * columns / total
        row = r.Mix + i * r.rank + kept
        size = signs[i] * sqrt(total / columns)
        if rest >= share or used == columns:
            # The carried row is large enough: this row takes its share of it.
            sine = min(1.0, share / rest) if rest > 0 else 0
            rest -= sine * rest
            cosine, sine = sqrt(1 - sine), sqrt(sine)
            for j in range(columns):
                row[j] = size * sine * r.carried[j]
                r.carried[j] *= cosine
        else:
            # Together with the next unit row it is: rotate the two until this row has its share.
            sine = min(1.0, (share - rest) / (1 - rest))
            cosine, sine = sqrt(1 - sine), sqrt(sine)
            rest += 1 - share
            for j in range(columns):
                row[j] = size * cosine * r.carried[j]
                r.carried[j] *= -sine
            row[used] += size * sine
            r.carried[used] += cosine
            used += 1


cdef inline double tail_of(const Reduction *r, long first) noexcept nogil:
    cdef double total = 0
    cdef long i
    for i in range(first, r.count):
        total += r.d[i]
    return total


cdef inline void reduction_factors(Reduction *r, double factor, real *u, real *mix) noexcept nogil:
    """u [rank, m], and mix [rank, count] with A'_k = factor sum_i mix[k, i] A_i."""
    cdef long n = r.count, i, j, k
    cdef double weight
    cdef double *left = r.rows       # row k of Mix' J
    cdef double *right = r.rows + n  # row k of Mix' diag(1/d) J
    for k in range(r.rank):
        memset(left, 0, 2 * n * sizeof(double))
        for i in range(n):
            weight = r.Mix[i * r.rank + k]
            if weight != 0:
                axpy8(n, weight, r.J + i * n, left)
                axpy8(n, factor * weight / r.d[i], r.J + i * n, right)
        combine_real(n, r.m, left, r.Q, u + k * r.m)
        for j in range(n):
            weight = 0
            for i in range(j + 1):
                weight += right[i] * r.R1[i * n + j]
            mix[k * n + j] = <real>weight


cdef inline void combine_real(long count, long length, const double *weights, const double *rows, real *out) noexcept nogil:
    """out = weights @ rows, summed in double."""
    cdef long i, p
    cdef double sum
    for p in range(length):
        sum = 0
        for i in range(count):
            sum += weights[i] * rows[i * length + p]
        out[p] = <real>sum
