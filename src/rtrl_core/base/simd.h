/* Floor 0: the vectors of this CPU level. */
#ifndef RTRL_SIMD_H
#define RTRL_SIMD_H

#include "platform.h"

/* One rounding where the CPU has it, and never at the compiler's choice: it contracts a vector loop
 * and its remainder differently. */
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define RTRL_FMA(a, b, c) _Generic((c), float: fmaf, default: fma)(a, b, c)
#else
#define RTRL_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* Vec is the widest vector of the CPU level (compilers split wider types into code that is twenty
 * times slower); other compilers get vectors of one element and the same text.  REGISTERS is what a
 * tile may use of the register file: TILE_ROWS rows leave room for two vectors of each.
 * vec_fma is explicit for the reason of RTRL_FMA; a loop of fma over elements costs 7 % on AVX-512. */
#if RTRL_WIDTH == 64
#define BY_WIDTH(single, twice) twice
#else
#define BY_WIDTH(single, twice) single
#endif
#if defined(__AVX512F__) && defined(__FMA__)
#include <immintrin.h>
#define VEC_BYTES 64
#define REGISTERS 28
#define TILE_ROWS 12
#define vec_fma BY_WIDTH(_mm512_fmadd_ps, _mm512_fmadd_pd)
#define wide_fma _mm512_fmadd_pd
#elif defined(__FMA__)
#include <immintrin.h>
#define VEC_BYTES 32
#define REGISTERS 14
#define TILE_ROWS 6
#define vec_fma BY_WIDTH(_mm256_fmadd_ps, _mm256_fmadd_pd)
#define wide_fma _mm256_fmadd_pd
#elif defined(__aarch64__)
#include <arm_neon.h>
#define VEC_BYTES 16
#define REGISTERS 28
#define TILE_ROWS 6
#define vec_fma(a, b, c) BY_WIDTH(vfmaq_f32, vfmaq_f64)(c, a, b)
#define wide_fma(a, b, c) vfmaq_f64(c, a, b)
#else
#define VEC_BYTES 16
#define REGISTERS 14
#define TILE_ROWS 4
#define vec_fma RTRL_FMA
#define wide_fma RTRL_FMA
#endif
#if defined(__GNUC__)
#define VEC_LENGTH (VEC_BYTES * 8 / RTRL_WIDTH)
#define RTRL_FLATTEN static inline __attribute__((always_inline, unused))
#if defined(__clang__) /* knows gcc's pragma, and does not obey it */
#define RTRL_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RTRL_UNROLL _Pragma("GCC unroll 32")
#endif
typedef real Vec __attribute__((vector_size(VEC_BYTES)));
typedef real VecAnywhere __attribute__((vector_size(VEC_BYTES), aligned(sizeof(real)), may_alias));
#else
#define VEC_LENGTH 1
#define RTRL_FLATTEN RTRL_INLINE
#define RTRL_UNROLL
typedef real Vec, VecAnywhere;
#endif
#define VEC ((long)VEC_LENGTH)
/* A loop of a constant count, written out: what it indexes lies in registers. */
#define EACH(index, count) RTRL_UNROLL for (long index = 0; index < count; index++)

/* The same in double, whatever `real` is. */
#if defined(__GNUC__)
#define WIDE (VEC_BYTES / 8L)
typedef double Wide __attribute__((vector_size(VEC_BYTES)));
typedef double WideAnywhere __attribute__((vector_size(VEC_BYTES), aligned(sizeof(double)), may_alias));
#else
#define WIDE 1L
typedef double Wide, WideAnywhere;
#endif

/* The running maximum of independent loops: compilers take no maximum as a reduction while NaN counts. */
RTRL_INLINE real larger(real x, real most) { return x > most ? x : most; }

/* 1 / x for x > 0 whose reciprocal is a normal number, to 1 ulp (2 without fma).  In float32 from the bits of x (error at most
 * 0.051) and three steps of Newton's method, which double the digits: products, while the unit that divides is busy with
 * the square roots of the same pass. */
RTRL_INLINE real reciprocal(real x) {
#if RTRL_WIDTH == 64
    return 1 / x;
#else
    uint32_t bits;
    real y;
    memcpy(&bits, &x, sizeof bits);
    bits = 0x7ef311c7u - bits;
    memcpy(&y, &bits, sizeof y);
    y = RTRL_FMA(y, RTRL_FMA(-x, y, 1.0f), y);
    y = RTRL_FMA(y, RTRL_FMA(-x, y, 1.0f), y);
    return RTRL_FMA(y, RTRL_FMA(-x, y, 1.0f), y);
#endif
}

/* Asks the memory for `count` numbers that will be read a little later, into the first cache if they are wanted `at_once`;
 * reads nothing itself. */
RTRL_INLINE void soon_needed(const real *p, long count, int at_once) {
#if defined(__GNUC__)
    const long line = RTRL_ALIGN / (long)sizeof(real);
    for (long i = 0; i < count && at_once; i += line) __builtin_prefetch(p + i, 0, 3);
    for (long i = 0; i < count && !at_once; i += line) __builtin_prefetch(p + i, 0, 2);
#else
    (void)p, (void)count, (void)at_once;
#endif
}

RTRL_FLATTEN Wide wide_load(const double *p) { return *(const WideAnywhere *)p; }
RTRL_FLATTEN void wide_store(double *p, Wide v) { *(WideAnywhere *)p = v; }
RTRL_FLATTEN Vec vec_of(real value) { return value - (Vec){0}; }
RTRL_FLATTEN Vec vec_load(const real *p) { return *(const VecAnywhere *)p; }
RTRL_FLATTEN void vec_store(real *p, Vec v) { *(VecAnywhere *)p = v; }

/* The first `count` numbers from `p` on and zeros after them, and only so many of v to memory: the ragged end of a row.  All
 * for VEC and more, which costs nothing where `count` is constant. */
#if VEC_BYTES == 64
#define VEC_MASK(count) (count >= VEC ? (1u << VEC) - 1 : count <= 0 ? 0 : (1u << count) - 1)
RTRL_FLATTEN Vec vec_some(const real *p, long count) {
    return (Vec)BY_WIDTH(_mm512_maskz_loadu_ps((__mmask16)VEC_MASK(count), p), _mm512_maskz_loadu_pd((__mmask8)VEC_MASK(count), p));
}
RTRL_FLATTEN void vec_store_some(real *p, Vec v, long count) {
    BY_WIDTH(_mm512_mask_storeu_ps(p, (__mmask16)VEC_MASK(count), v), _mm512_mask_storeu_pd(p, (__mmask8)VEC_MASK(count), v));
}
#else
RTRL_FLATTEN Vec vec_some(const real *p, long count) {
    if (count >= VEC) return vec_load(p);
#if defined(__AVX2__)
    const __m256i index = BY_WIDTH(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_setr_epi64x(0, 1, 2, 3));
    return (Vec)BY_WIDTH(_mm256_maskload_ps(p, _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), index)),
                         _mm256_maskload_pd(p, _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), index)));
#else
    Vec v = {0};
    EACH(i, VEC - 1) if (i < count) ((real *)&v)[i] = p[i];
    return v;
#endif
}
RTRL_FLATTEN void vec_store_some(real *p, Vec v, long count) { /* not by a mask: that takes AMD's CPUs long */
    if (count >= VEC) vec_store(p, v);
    else EACH(i, VEC - 1) if (i < count) p[i] = ((real *)&v)[i];
}
#endif

#endif
