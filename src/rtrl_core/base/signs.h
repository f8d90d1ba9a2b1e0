/* Floor 0: counter-based random signs.
 *
 * A sign is a pure function of (seed, step, lane, stage, index), so results do not depend on the
 * thread count or the order of lanes, a checkpoint needs only the step number, and every run can
 * be replayed.  The hash is the finaliser of splitmix64 (Steele, Lea, Flood 2014,
 * doi:10.1145/2660193.2660195), applied once per coordinate; 64 signs come from one word.
 */
#ifndef RTRL_SIGNS_H
#define RTRL_SIGNS_H

#include "platform.h"

#define RTRL_GOLDEN UINT64_C(0x9E3779B97F4A7C15)

RTRL_INLINE uint64_t signs_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

RTRL_INLINE uint64_t signs_key(uint64_t seed, uint64_t step, uint64_t lane, uint64_t stage) {
    uint64_t key = signs_mix(seed + RTRL_GOLDEN);
    key = signs_mix(key + step + RTRL_GOLDEN);
    key = signs_mix(key + lane + RTRL_GOLDEN);
    return signs_mix(key + stage + RTRL_GOLDEN);
}

RTRL_INLINE uint64_t signs_word(uint64_t key, uint64_t block) {
    return signs_mix(key + (block + 1) * RTRL_GOLDEN);
}

/* out[i] = +1 or -1 for i < count */
RTRL_INLINE void signs_fill(uint64_t key, long count, real *out) {
    for (long i = 0; i < count; i += 64) {
        uint64_t word = signs_word(key, (uint64_t)(i / 64));
        long last = count - i < 64 ? count - i : 64;
        for (long j = 0; j < last; j++) out[i + j] = (real)(((word >> j) & 1) ? 1 : -1);
    }
}

#endif
