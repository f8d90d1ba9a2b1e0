/* Floor 1: the passes of the optimizers over weights, gradient and what they keep of earlier gradients.
 *
 *   adam_pass     p <- b1 p + (1 - b1) g    q <- b2 q + (1 - b2) g^2    w <- w - rate p / (correction sqrt(q) + eps)
 *   rmsprop_pass  q <- alpha q + (1 - alpha) g^2                        w <- w - rate g / (sqrt(q) + eps)
 *
 * where g stands for clip g + decay w.  All of length `count`.
 *
 *   adam_reach, rmsprop_reach, sgd_reach, square_reach   the largest number that such a pass would write (the last: that a square
 *                                                         of clip g would be), infinite where it is none; nothing is written
 */
#ifndef RTRL_DESCENTS_H
#define RTRL_DESCENTS_H

#include "simd.h"

/* (Asking the memory ahead is slower: 3 % on one thread, 12 % of a step of UORO on two.) */
RTRL_INLINE void adam_pass(long count, real clip, real decay, real b1, real rest1, real b2, real rest2, real rate, real correction,
                           real eps, const real *RTRL_RESTRICT g, real *RTRL_RESTRICT p, real *RTRL_RESTRICT q,
                           real *RTRL_RESTRICT w) {
    RTRL_SIMD for (long i = 0; i < count; i++) {
        const real step = RTRL_FMA(decay, w[i], clip * g[i]);
        p[i] = RTRL_FMA(b1, p[i], rest1 * step);
        q[i] = RTRL_FMA(b2, q[i], rest2 * step * step);
        w[i] = RTRL_FMA(-rate * p[i], reciprocal(RTRL_FMA(real_sqrt(q[i]), correction, eps)), w[i]);
    }
}

RTRL_INLINE void rmsprop_pass(long count, real clip, real decay, real alpha, real rest, real rate, real eps,
                              const real *RTRL_RESTRICT g, real *RTRL_RESTRICT q, real *RTRL_RESTRICT w) {
    RTRL_SIMD for (long i = 0; i < count; i++) {
        const real step = clip * g[i] + decay * w[i];
        q[i] = alpha * q[i] + rest * step * step;
        w[i] -= rate * step * reciprocal(real_sqrt(q[i]) + eps);
    }
}

RTRL_INLINE double farther(double most, double x) {
    x = fabs(x);
    return x <= most ? most : isfinite(x) ? x : INFINITY;
}

RTRL_INLINE double adam_reach(long count, real clip, real decay, real b1, real rest1, real b2, real rest2, real rate, real correction,
                              real eps, const real *g, const real *p, const real *q, const real *w) {
    double most = 0;
    for (long i = 0; i < count; i++) {
        const real step = RTRL_FMA(decay, w[i], clip * g[i]);
        const real mean = RTRL_FMA(b1, p[i], rest1 * step), square = RTRL_FMA(b2, q[i], rest2 * step * step);
        most = farther(farther(most, mean), square);
        most = farther(most, (real)(w[i] - rate * mean / RTRL_FMA(real_sqrt(square), correction, eps)));
    }
    return most;
}

RTRL_INLINE double rmsprop_reach(long count, real clip, real decay, real alpha, real rest, real rate, real eps, const real *g,
                                 const real *q, const real *w) {
    double most = 0;
    for (long i = 0; i < count; i++) {
        const real step = clip * g[i] + decay * w[i], square = alpha * q[i] + rest * step * step;
        most = farther(farther(most, square), (real)(w[i] - rate * step / (real_sqrt(square) + eps)));
    }
    return most;
}

RTRL_INLINE double sgd_reach(long count, real clip, real decay, real momentum, int nesterov, real lr, const real *g, const real *b,
                             const real *w) {
    double most = 0;
    for (long i = 0; i < count; i++) {
        const real step = clip * g[i] + decay * w[i], kept = b ? momentum * b[i] + step : step;
        most = farther(farther(most, kept), (real)(w[i] - lr * (nesterov ? step + momentum * kept : kept)));
    }
    return most;
}

RTRL_INLINE double square_reach(long count, real clip, const real *g) {
    double most = 0;
    for (long i = 0; i < count; i++) {
        const real step = clip * g[i];
        most = farther(most, (real)(step * step));
    }
    return most;
}

#endif
