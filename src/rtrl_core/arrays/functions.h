/* Floor 1: exp, tanh and the logistic sigmoid, one element or a whole array; softmax of an array.
 *
 * Branch-free, so that every loop over them becomes vector code (libm, one number at a time, costs
 * more than the matrix product at n = 32).  At most 2 ulp in float32 and 4 ulp in float64 over the
 * whole range; NaN stays NaN, infinities and gradual underflow are right.
 *
 * Range reduction: x = k ln2 + r with integer k and |r| <= ln2 / 2, so e^x = 2^k (1 + q) with
 * q = e^r - 1.  On that interval Taylor's series of q needs 7 (float32) or 13 (float64) terms until
 * the next one, r^8 / 8! < 6e-9 or r^14 / 14! < 5e-18, drops below a tenth of a rounding error.
 */
#ifndef RTRL_FUNCTIONS_H
#define RTRL_FUNCTIONS_H

#include "simd.h"

#if RTRL_WIDTH == 64
typedef uint64_t RealBits;
#define MANTISSA 52
#define EXP_MOST 710   /* e^710 = inf */
#define EXP_LEAST -746 /* e^-746 = 0 */
#define TANH_ONE 44    /* tanh(44 / 2) rounds to 1 */
/* ln2 = LN2_HIGH + LN2_LOW; k LN2_HIGH is exact for |k| < 2^11. */
#define LN2_HIGH 0x1.62e42fefa38p-1
#define LN2_LOW 0x1.ef35793c7673p-45
#else
typedef uint32_t RealBits;
#define MANTISSA 23
#define EXP_MOST 89
#define EXP_LEAST -104
#define TANH_ONE 20
#define LN2_HIGH 0x1.62ep-1f /* exact for |k| < 2^10 */
#define LN2_LOW 0x1.0bfbe8p-15f
#endif
#define ONE_OVER_LN2 ((real)1.4426950408889634)
/* Of its own width: not every compiler sees that a way through double and back changes nothing. */
#define real_abs BY_WIDTH(fabsf, fabs)
#define real_copysign BY_WIDTH(copysignf, copysign)
/* 1.5 * 2^MANTISSA: adding it rounds to an integer, which then sits in the low bits of the sum. */
#define ROUNDER ((real)((RealBits)3 << (MANTISSA - 1)))

/* 2^k for an integer k within the normal exponents: k moves into the exponent of 1. */
RTRL_INLINE real power_of_two(real k) {
    const real one = 1, shifted = k + ROUNDER;
    RealBits bits, bits_of_one;
    memcpy(&bits, &shifted, sizeof bits);
    memcpy(&bits_of_one, &one, sizeof bits_of_one);
    bits = (bits << MANTISSA) + bits_of_one;
    real power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* The k nearest to x / ln2, the remainder r, and e^(x - k ln2) - 1 - r, which also carries the digits
 * that rounding cut from r. */
RTRL_INLINE real exp_reduced(real x, real *k, real *r_out) {
    *k = RTRL_FMA(x, ONE_OVER_LN2, ROUNDER) - ROUNDER;
    const real exact = RTRL_FMA(-*k, LN2_HIGH, x), r = RTRL_FMA(-*k, LN2_LOW, exact);
    const real cut = RTRL_FMA(-*k, LN2_LOW, exact - r);
    *r_out = r;
#if RTRL_WIDTH == 64
    real q = (real)(1 / 6227020800.);
    q = RTRL_FMA(q, r, (real)(1 / 479001600.));
    q = RTRL_FMA(q, r, (real)(1 / 39916800.));
    q = RTRL_FMA(q, r, (real)(1 / 3628800.));
    q = RTRL_FMA(q, r, (real)(1 / 362880.));
    q = RTRL_FMA(q, r, (real)(1 / 40320.));
    q = RTRL_FMA(q, r, (real)(1 / 5040.));
#else
    real q = (real)(1 / 5040.);
#endif
    q = RTRL_FMA(q, r, (real)(1 / 720.));
    q = RTRL_FMA(q, r, (real)(1 / 120.));
    q = RTRL_FMA(q, r, (real)(1 / 24.));
    q = RTRL_FMA(q, r, (real)(1 / 6.));
    q = RTRL_FMA(q, r, (real)(1 / 2.));
    return RTRL_FMA(q * r, r, cut);
}

/* 2^k is applied in two halves: k reaches past both ends of the exponents (inf, subnormals). */
RTRL_INLINE real exp1(real x) {
    real k, r;
    x = x > EXP_MOST ? EXP_MOST : x;
    x = x < EXP_LEAST ? EXP_LEAST : x;
    const real rest = exp_reduced(x, &k, &r), high = 1 + r, low = r - (high - 1);
    const real half = RTRL_FMA(k, (real)0.5, ROUNDER) - ROUNDER;
    return (high + (low + rest)) * power_of_two(half) * power_of_two(k - half);
}

/* tanh |x| = y / (y + 2) with y = e^(2|x|) - 1 = 2^k (1 + r + rest) - 1.  For any s this is
 * s + (y - 2s - s y) / (y + 2), and an s close to the result leaves the roundings of the fraction little
 * weight: s = |x| for k = 0, where y - 2s is `rest`, and 1/4 for k = 1, |x| between .17 and .52. */
RTRL_INLINE real tanh1(real x) {
    const real size = real_abs(x), twice = 2 * size > TANH_ONE ? TANH_ONE : 2 * size;
    real k, r;
    const real rest = exp_reduced(twice, &k, &r), power = power_of_two(k);
    /* Products with a power of two are exact; `low` returns what the first sum rounded off. */
    const real high = RTRL_FMA(power, r, power - 1), low = RTRL_FMA(power, r, (power - 1) - high);
    const real y = high + RTRL_FMA(power, rest, low);
    const real base = k == 0 ? size : k == 1 ? (real)0.25 : 0;
    const real over = RTRL_FMA(-base, y, k == 0 ? rest : y - 2 * base);
    return real_copysign(base + over / (y + 2), x);
}

/* With tail = e^-|x| and u = tail / (1 + tail): 1 - u on the right, tail - tail u on the left, where
 * all digits of the tail count.  One rounding less than 1 / (1 + e^-x). */
RTRL_INLINE real sigmoid1(real x) {
    const real tail = exp1(-real_abs(x)), side = x < 0 ? tail : 1;
    return RTRL_FMA(-side, tail / (1 + tail), side);
}

RTRL_INLINE void exps(long n, const real *x, real *y) {
    RTRL_SIMD for (long i = 0; i < n; i++) y[i] = exp1(x[i]);
}

/* z becomes its softmax; returns log sum exp(z).  A ragged end goes through a block of its own, filled up with what
 * adds nothing: the last few numbers one by one would take longer than all others. */
RTRL_INLINE double softmax(long n, real *z) {
    enum { BLOCK = 16 };
    const long whole = n - n % BLOCK, count = n - whole;
    real end[BLOCK], tops[BLOCK], *last = z + whole;
    double sums[BLOCK] = {0};
    RTRL_SIMD for (long i = 0; i < BLOCK; i++) tops[i] = end[i] = i < count ? last[i] : -(real)INFINITY;
    for (long first = 0; first < whole; first += BLOCK)
        RTRL_SIMD for (long i = 0; i < BLOCK; i++) tops[i] = larger(z[first + i], tops[i]);
    EACH(i, 8) tops[i] = larger(tops[i + 8], tops[i]);
    EACH(i, 4) tops[i] = larger(tops[i + 4], tops[i]);
    EACH(i, 2) tops[i] = larger(tops[i + 2], tops[i]);
    const real top = larger(tops[1], tops[0]);
    for (long first = 0; first < whole; first += BLOCK)
        RTRL_SIMD for (long i = 0; i < BLOCK; i++) sums[i] += z[first + i] = exp1(z[first + i] - top);
    RTRL_SIMD for (long i = 0; i < BLOCK; i++) sums[i] += end[i] = exp1(end[i] - top);
    EACH(i, 8) sums[i] += sums[i + 8];
    EACH(i, 4) sums[i] += sums[i + 4];
    EACH(i, 2) sums[i] += sums[i + 2];
    const double total = sums[0] + sums[1];
    const real factor = 1 / (real)total;
    RTRL_SIMD for (long i = 0; i < whole; i++) z[i] *= factor;
    for (long i = 0; i < count; i++) last[i] = factor * end[i];
    return top + log(total);
}

RTRL_INLINE void tanhs(long n, const real *x, real *y) {
    RTRL_SIMD for (long i = 0; i < n; i++) y[i] = tanh1(x[i]);
}

RTRL_INLINE void sigmoids(long n, const real *x, real *y) {
    RTRL_SIMD for (long i = 0; i < n; i++) y[i] = sigmoid1(x[i]);
}

#endif
