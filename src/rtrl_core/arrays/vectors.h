/* Floor 1: one pass over one or two vectors.
 *
 *   dot          x . y                       maximum       max_i x_i, for a stable softmax
 *   norm2_in     norm2 in a metric           norm2_in_sloped     see contracts/metric.pxi
 *   squares_times  sum of x_i^2 weights_i
 *   norm2        x . x                       axpy          y <- alpha x + y
 *   axpby_norm2  y <- alpha x + beta y, returns y . y      scale   x <- alpha x
 *   scaled_norm2 |factor mask x|^2 of a gradient           all_finite          total_of     sum of x_i
 *
 * All take contiguous [n] and are bound by memory, which is why axpby_norm2 exists: the scales of
 * UORO need the norm of the very vector that was just written.
 * Sums are double: float32 squares leave the range at 1e-19 and 1e19, and long sums lose digits.
 * Element i always goes to partial sum i % PARTS, and the parts meet in a fixed tree, so that the
 * result does not depend on the vector width of the CPU level.
 */
#ifndef RTRL_VECTORS_H
#define RTRL_VECTORS_H

#include "simd.h"

#define LINE (PANEL / 2) /* numbers of a cache line */

/* Enough chains to hide the latency of an addition, few enough to stay in 16 SSE registers. */
#define PARTS 16

/* Runs `body` for i in [0, n), with part = the partial result of element i. */
#define RTRL_IN_PARTS(n, body)                                                                \
    long first = 0;                                                                           \
    for (; first + PARTS <= (n); first += PARTS)                                              \
        RTRL_SIMD for (long part = 0; part < PARTS; part++) {                                 \
            const long i = first + part;                                                      \
            body                                                                              \
        }                                                                                     \
    for (long part = 0; first + part < (n); part++) {                                         \
        const long i = first + part;                                                          \
        body                                                                                  \
    }

/* The tree, in registers: a loop over its levels would go through memory at each. */
#define RTRL_TREE(parts)                                                                      \
    EACH(part, PARTS / 2) parts[part] += parts[part + PARTS / 2];                             \
    EACH(part, PARTS / 4) parts[part] += parts[part + PARTS / 4];                             \
    EACH(part, PARTS / 8) parts[part] += parts[part + PARTS / 8];                             \
    parts[0] += parts[1];

RTRL_INLINE double parts_total(double *parts) {
    RTRL_TREE(parts)
    return parts[0];
}

RTRL_INLINE double dot(long n, const real *RTRL_RESTRICT x, const real *RTRL_RESTRICT y) {
    double parts[PARTS] = {0};
    RTRL_IN_PARTS(n, parts[part] = RTRL_FMA((double)x[i], (double)y[i], parts[part]);)
    return parts_total(parts);
}

RTRL_INLINE double total_of(long n, const double *x) {
    double parts[PARTS] = {0};
    RTRL_IN_PARTS(n, parts[part] += x[i];)
    return parts_total(parts);
}

RTRL_INLINE double norm2(long n, const real *x) { return dot(n, x, x); }

RTRL_INLINE double axpby_norm2(long n, real alpha, const real *RTRL_RESTRICT x, real beta, real *RTRL_RESTRICT y) {
    double parts[PARTS] = {0};
    RTRL_IN_PARTS(n, {
        y[i] = RTRL_FMA(alpha, x[i], beta * y[i]);
        parts[part] = RTRL_FMA((double)y[i], (double)y[i], parts[part]);
    })
    return parts_total(parts);
}

/* Whether all x_i are finite: 0 x_i is 0 then, and NaN otherwise. */
RTRL_INLINE int all_finite(long n, const real *x) {
    real parts[PARTS] = {0};
    RTRL_IN_PARTS(n, parts[part] += x[i] * 0;)
    RTRL_TREE(parts)
    return parts[0] == 0;
}

/* |factor mask x|^2 for n a multiple of 64; mask [n] of 0 and 1, or NULL.
 * Summed in real over 64 short chains, which is twice as fast, and in double where that leaves the range. */
RTRL_INLINE double scaled_norm2(long n, real factor, const real *x, const real *mask) {
    real parts[64] = {0};
    double total = 0;
#define CHAINS(value)                                                                         \
    for (long first = 0; first < n; first += 64)                                              \
        RTRL_SIMD for (long part = 0; part < 64; part++) {                                    \
            const long i = first + part;                                                      \
            parts[part] = RTRL_FMA(value, value, parts[part]);                                \
        }
    if (mask) {
        CHAINS(mask[i] * x[i])
    } else {
        CHAINS(x[i])
    }
#undef CHAINS
    EACH(part, 32) parts[part] += parts[part + 32];
    EACH(part, 16) parts[part] += parts[part + 16];
    RTRL_TREE(parts)
    total = parts[0];
    if (!(total > 1e-25 && total < 1e25)) {
        total = 0;
        for (long i = 0; i < n; i++) {
            const double value = mask ? mask[i] * x[i] : x[i];
            total += value * value;
        }
    }
    return (double)factor * factor * total;
}

/* sum_i x_i^2 weights_i */
RTRL_INLINE double squares_times(long n, const real *RTRL_RESTRICT x, const double *RTRL_RESTRICT weights) {
    double parts[PARTS] = {0};
    RTRL_IN_PARTS(n, parts[part] = RTRL_FMA((double)x[i] * weights[i], (double)x[i], parts[part]);)
    return parts_total(parts);
}

/* x . x in a diagonal metric, and in one that ties every entry to the last. */
RTRL_INLINE double norm2_in(long n, const real *RTRL_RESTRICT x, const real *RTRL_RESTRICT inverse) {
    double parts[PARTS] = {0};
    RTRL_IN_PARTS(n, parts[part] = RTRL_FMA((double)x[i] * inverse[i], (double)x[i], parts[part]);)
    return parts_total(parts);
}

RTRL_INLINE double norm2_in_sloped(long n, const real *RTRL_RESTRICT x, const real *RTRL_RESTRICT inverse,
                                   const real *RTRL_RESTRICT slope) {
    const double last = x[n - 1];
    double parts[PARTS] = {0};
    RTRL_IN_PARTS(n, {
        const double rest = RTRL_FMA(-(double)slope[i], last, (double)x[i]);
        parts[part] = RTRL_FMA(rest * inverse[i], rest, parts[part]);
    })
    return parts_total(parts);
}

RTRL_INLINE void axpy(long n, real alpha, const real *RTRL_RESTRICT x, real *RTRL_RESTRICT y) {
    RTRL_SIMD for (long i = 0; i < n; i++) y[i] = RTRL_FMA(alpha, x[i], y[i]);
}

RTRL_INLINE void scale(long n, real alpha, real *x) {
    RTRL_SIMD for (long i = 0; i < n; i++) x[i] *= alpha;
}

/* -inf for n = 0. */
RTRL_INLINE real maximum(long n, const real *x) {
    real parts[PARTS], top = -(real)INFINITY;
    EACH(part, PARTS) parts[part] = top;
    RTRL_IN_PARTS(n, parts[part] = larger(x[i], parts[part]);)
    EACH(part, PARTS) top = larger(parts[part], top);
    return top;
}

/* Ask for x [count], which will be read soon. */
RTRL_INLINE void fetch(long count, const real *x) {
    for (long i = 0; i < count; i += LINE) RTRL_PREFETCH(x + i);
}

#endif
