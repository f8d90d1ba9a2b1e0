/* Floor 0: lanes side by side.  A block of LANE_BLOCK lanes is transposed, so that one vector holds the same number of
 * all of them. */
#ifndef RTRL_LANES_H
#define RTRL_LANES_H

#include "simd.h"

/* Eight chains of sums hide the latency of an addition. */
#define LANE_VECS (VEC_LENGTH >= 8 ? 1 : 8 / VEC_LENGTH)
#define LANE_BLOCK (LANE_VECS * VEC)
#define DEPTH 256L /* columns at a time: 16 KiB of transposed lanes */
/* From so many lanes on, a block that is not full pays; short vectors without fma gain nothing by it. */
#if VEC_LENGTH * RTRL_WIDTH >= 256
#define LANES_BLOCK_FROM (LANE_BLOCK * 3 / 4)
#else
#define LANES_BLOCK_FROM 0x7fffffffL
#endif

#if VEC_LENGTH == 16
#define BY_LENGTH(one, two, four, eight, sixteen) sixteen
#elif VEC_LENGTH == 8
#define BY_LENGTH(one, two, four, eight, sixteen) eight
#elif VEC_LENGTH == 4
#define BY_LENGTH(one, two, four, eight, sixteen) four
#elif VEC_LENGTH == 2
#define BY_LENGTH(one, two, four, eight, sixteen) two
#else
#define BY_LENGTH(one, two, four, eight, sixteen) one
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define BLOCKS(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define BLOCKS(a, b, ...) __builtin_shuffle(a, b, (__typeof__(a < b)){__VA_ARGS__})
#endif

/* Element j of the first (second) of two rows that exchange their off-diagonal blocks of w elements. */
#define SWAP1(j, w, second) ((j) & (w) ? VEC_LENGTH + (j) - (w) : (j)) + ((second) ? (w) : 0)
#define SWAP2(j, w, second) SWAP1(j, w, second), SWAP1(j + 1, w, second)
#define SWAP4(j, w, second) SWAP2(j, w, second), SWAP2(j + 2, w, second)
#define SWAP8(j, w, second) SWAP4(j, w, second), SWAP4(j + 4, w, second)
#define SWAP16(j, w, second) SWAP8(j, w, second), SWAP8(j + 8, w, second)
#define SWAPS(w, second) BY_LENGTH(, SWAP2, SWAP4, SWAP8, SWAP16)(0, w, second)

/* Transpose VEC vectors. */
RTRL_FLATTEN void transpose(Vec *v) {
#define EXCHANGE(w)                                                                           \
    EACH(i, VEC) if (!(i & (w))) {                                                            \
        const Vec a = v[i], b = v[i + (w)];                                                   \
        v[i] = BLOCKS(a, b, SWAPS(w, 0));                                                     \
        v[i + (w)] = BLOCKS(a, b, SWAPS(w, 1));                                               \
    }
    BY_LENGTH((void)v, EXCHANGE(1), EXCHANGE(2) EXCHANGE(1), EXCHANGE(4) EXCHANGE(2) EXCHANGE(1),
              EXCHANGE(8) EXCHANGE(4) EXCHANGE(2) EXCHANGE(1));
#undef EXCHANGE
}

/* turned[k, b] = X[b, k] of `lanes` <= LANE_BLOCK lanes; those that miss are 0. */
RTRL_INLINE void turn_lanes(long inner, long lanes, const real *X, long ldx, real *turned) {
    long q = 0;
    for (; q + VEC <= inner; q += VEC) EACH(v, LANE_VECS) {
        Vec x[VEC_LENGTH];
        EACH(b, VEC) x[b] = v * VEC + b < lanes ? vec_load(X + (v * VEC + b) * ldx + q) : (Vec){0};
        transpose(x);
        EACH(j, VEC) vec_store(turned + (q + j) * LANE_BLOCK + v * VEC, x[j]);
    }
    for (; q < inner; q++)
        for (long b = 0; b < LANE_BLOCK; b++) turned[q * LANE_BLOCK + b] = b < lanes ? X[b * ldx + q] : 0;
}

#endif
