/* Floor 0: float width, alignment, panels and the thread team.
 *
 * Every compiled sibling (a CPU level x a float width) includes this header once; RTRL_DOUBLE
 * selects the width.  Nothing below floor 5 knows how many siblings exist.
 */
#ifndef RTRL_PLATFORM_H
#define RTRL_PLATFORM_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef RTRL_DOUBLE
typedef double real;
#define RTRL_WIDTH 64
#else
typedef float real;
#define RTRL_WIDTH 32
#endif

/* Buffers start on a cache line; a panel row is two cache lines (32 floats or 16 doubles). */
#define RTRL_ALIGN 64
#define PANEL ((long)(128 / sizeof(real)))

#if defined(_MSC_VER)
#define RTRL_RESTRICT __restrict
#define RTRL_INLINE static __forceinline
#else
#define RTRL_RESTRICT restrict
#define RTRL_INLINE static inline __attribute__((unused))
#endif

/* Ask for a cache line that will be read soon; the address need not exist. */
#if defined(__GNUC__)
#define RTRL_PREFETCH(address) __builtin_prefetch((const void *)(address))
#else
#define RTRL_PREFETCH(address) ((void)(address))
#endif

RTRL_INLINE real real_sqrt(real x) {
#ifdef RTRL_DOUBLE
    return sqrt(x);
#else
    return sqrtf(x);
#endif
}

/* A loop whose iterations are independent.  Without OpenMP it is an ordinary loop. */
#ifdef _OPENMP
#include <omp.h>
#define RTRL_OPENMP 1
#define RTRL_SIMD _Pragma("omp simd")
#define RTRL_PRAGMA(text) _Pragma(#text)
#define RTRL_SIMD_MAX(result) RTRL_PRAGMA(omp simd reduction(max : result))
#else
#define RTRL_OPENMP 0
#define RTRL_SIMD
#define RTRL_SIMD_MAX(result)
#endif

/* Has this CPU level a matrix unit that tiles.h can use? */
#if defined(__GNUC__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && RTRL_WIDTH == 32
#include <immintrin.h>
#define RTRL_TILES 1
#else
#define RTRL_TILES 0
#endif

/* Around the work of a thread for a session.  Denormal numbers slow products down tenfold, and a decaying influence is
 * full of them: they count as 0 meanwhile.  The matrix unit is told the shape of its registers.  What the thread had before
 * is put back, so nothing outside notices. */
RTRL_INLINE unsigned work_begins(void) {
    unsigned mode = 0;
#if RTRL_TILES
    struct { uint8_t palette, start, zeros[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {1, 0, {0}, {0}, {0}};
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = 16;
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
#endif
#if defined(__GNUC__) && defined(__SSE2__)
    mode = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(mode | 0x8040);
#endif
    return mode;
}

RTRL_INLINE void work_ends(unsigned mode) {
#if RTRL_TILES
    _tile_release();
#endif
#if defined(__GNUC__) && defined(__SSE2__)
    __builtin_ia32_ldmxcsr(mode);
#else
    (void)mode;
#endif
}

/* The threads that share one piece of work, and where they wait for each other.  A team of one never waits. */
typedef struct {
    int rank, size;
    struct Barrier *barrier;
} Team;

/* The share of `count` pieces that belongs to this member: [first, last).  A step asks dozens of times, and a division takes
 * as long as a short pass: without company there is none. */
RTRL_INLINE long team_first(Team team, long count) { return team.size == 1 ? 0 : count * team.rank / team.size; }
RTRL_INLINE long team_last(Team team, long count) { return team.size == 1 ? count : count * (team.rank + 1) / team.size; }

#include "barrier.h"

#endif
