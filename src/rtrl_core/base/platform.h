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
#else
#define RTRL_OPENMP 0
#define RTRL_SIMD
#endif

/* Has this CPU level a matrix unit that tiles.h can use? */
#if defined(__GNUC__) && defined(__AMX_BF16__) && defined(__AVX512BF16__) && RTRL_WIDTH == 32
#include <immintrin.h>
#define RTRL_TILES 1
#else
#define RTRL_TILES 0
#endif

/* What the control register of floating point asks for beside what it held: that denormal numbers count as 0. */
#if defined(__GNUC__) && defined(__SSE2__)
#define RTRL_FLUSH 0x8040u
RTRL_INLINE uint64_t float_control(void) { return __builtin_ia32_stmxcsr(); }
RTRL_INLINE void set_float_control(uint64_t mode) { __builtin_ia32_ldmxcsr((unsigned)mode); }
#elif defined(__GNUC__) && defined(__aarch64__)
#define RTRL_FLUSH (1u << 24)
RTRL_INLINE uint64_t float_control(void) {
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    return mode;
}
RTRL_INLINE void set_float_control(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode) : "memory"); }
#else
#define RTRL_FLUSH 0
RTRL_INLINE uint64_t float_control(void) { return 0; }
RTRL_INLINE void set_float_control(uint64_t mode) { (void)mode; }
#endif

/* Around the work of a thread for a session.  Denormal numbers slow products down tenfold, and a decaying influence is
 * full of them: they count as 0 meanwhile.  The matrix unit is told the shape of its registers.  What the thread had before
 * is put back, so nothing outside notices. */
RTRL_INLINE uint64_t work_begins(void) {
    const uint64_t mode = float_control();
#if RTRL_TILES
    struct { uint8_t palette, start, zeros[14]; uint16_t bytes[16]; uint8_t rows[16]; } shape = {1, 0, {0}, {0}, {0}};
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = 16;
    __asm__ volatile("" : : "r"(&shape) : "memory");
    _tile_loadconfig(&shape);
#endif
    set_float_control(mode | RTRL_FLUSH);
    return mode;
}

RTRL_INLINE void work_ends(uint64_t mode) {
#if RTRL_TILES
    _tile_release();
#endif
    set_float_control(mode);
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
