/* Floor 1: the passes of the optimizers over weights, gradient and what they keep of earlier gradients.
 *
 *   adam_pass     p <- b1 p + (1 - b1) g    q <- b2 q + (1 - b2) g^2    w <- w - rate p / (correction sqrt(q) + eps)
 *   rmsprop_pass  q <- alpha q + (1 - alpha) g^2                        w <- w - rate g / (sqrt(q) + eps)
 *
 * where g stands for clip g + decay w.  All of length `count`.
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

#endif
