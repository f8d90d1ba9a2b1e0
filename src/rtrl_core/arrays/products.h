/* Floor 1: the products between weights, lanes and panels.
 *
 *   dots            Z[b, row] += sum_q   W[row, q] X[b, q]      z = W h_hat, for every lane
 *   pulls           X[b, q]   += sum_row Y[b, row] W[row, q]    delta W
 *   outers          G[row, q] += sum_b   Y[b, row] X[b, q]      rank-one gradients, summed over lanes
 *   panel_product   out[i, c] (+)= sum_k H[i, k] in[k, c]       H A, one panel of A
 *   panel_pull      y[c]      += sum_i   delta[i] in[i, c]      delta A, one panel of A
 *
 * Matrices are row-major with any row stride and any alignment; panels are [rows, PANEL] on cache
 * lines.  Cost: 2 rows cols lanes flops (panels: 2 rows inner PANEL), no memory of their own.
 *
 * All but `dots` are one product C += A B in which B and C have contiguous rows: a tile of C stays
 * in registers, A is broadcast, B is read as vectors.  `dots` has both operands contiguous along
 * the sum instead, so its tile holds one vector of partial sums per result.
 *
 * Law: the additions behind one element of a result depend on the length of its sum, never on the
 * tile it fell into, so that every split into calls gives the same bits.
 */
#ifndef RTRL_PRODUCTS_H
#define RTRL_PRODUCTS_H

#include "platform.h"

#if defined(__AVX__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

/* One rounding where the CPU has it, and never at the compiler's choice: it contracts a vector loop
 * and its remainder differently. */
#ifndef RTRL_FMA
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
#define RTRL_FMA(a, b, c) _Generic((c), float: fmaf, default: fma)(a, b, c)
#else
#define RTRL_FMA(a, b, c) ((a) * (b) + (c))
#endif
#endif

/* Vec is the widest vector of the CPU level (compilers split wider types into code that is twenty
 * times slower); other compilers get vectors of one element and the same text.
 * TILE accumulators, the vectors of B and one broadcast have to fit the registers. */
#if !defined(__GNUC__)
#define VEC_BYTES (RTRL_WIDTH / 8)
#define TILE 8
#elif defined(__AVX512F__)
#define VEC_BYTES 64
#define TILE 24
#elif defined(__AVX__)
#define VEC_BYTES 32
#define TILE 12
#else
#define VEC_BYTES 16
#define TILE 8
#endif
#define TILE_ROWS (TILE / 2)
#define VEC_LENGTH (VEC_BYTES * 8 / RTRL_WIDTH)
#define VEC ((long)VEC_LENGTH)

#if defined(__GNUC__)
#define RTRL_FLATTEN static inline __attribute__((always_inline, unused))
#define RTRL_UNROLL _Pragma("GCC unroll 16")
typedef real Vec __attribute__((vector_size(VEC_BYTES)));
typedef real VecAnywhere __attribute__((vector_size(VEC_BYTES), aligned(sizeof(real)), may_alias));
#else
#define RTRL_FLATTEN RTRL_INLINE
#define RTRL_UNROLL
typedef real Vec, VecAnywhere;
#endif

/* Explicit for the same reason as RTRL_FMA: no portable form of it keeps the tiles in registers. */
#if defined(__AVX512F__) && RTRL_WIDTH == 32
#define vec_fma _mm512_fmadd_ps
#elif defined(__AVX512F__)
#define vec_fma _mm512_fmadd_pd
#elif defined(__AVX__) && defined(__FMA__) && RTRL_WIDTH == 32
#define vec_fma _mm256_fmadd_ps
#elif defined(__AVX__) && defined(__FMA__)
#define vec_fma _mm256_fmadd_pd
#elif defined(__ARM_NEON) && defined(__aarch64__) && RTRL_WIDTH == 32
#define vec_fma(a, b, c) vfmaq_f32(c, a, b)
#elif defined(__ARM_NEON) && defined(__aarch64__)
#define vec_fma(a, b, c) vfmaq_f64(c, a, b)
#else
#define vec_fma(a, b, c) ((a) * (b) + (c))
#endif

RTRL_FLATTEN Vec vec_of(real value) { return value - (Vec){0}; }
RTRL_FLATTEN Vec vec_load(const real *p) { return *(const VecAnywhere *)p; }
RTRL_FLATTEN void vec_store(real *p, Vec v) { *(VecAnywhere *)p = v; }

/* ---- C += A B ---------------------------------------------------------------------------- */

/* A[i, k] = a[i * row + k * step]: H, the lanes of a batch, or their transpose. */
typedef struct {
    const real *a;
    long row, step;
} Left;

/* One tile: C[rows, width] (+)= A[rows, inner] B[inner, width] with (vecs - 1) VEC < width <= vecs VEC.
 * A ragged width moves the last vector back over its neighbour: both then compute the same bits. */
RTRL_FLATTEN void product_tile(const long rows, const long vecs, const int fresh, long width, long inner,
                               Left A, const real *B, long ldb, real *C, long ldc) {
    Vec sum[TILE], b[TILE];
    long at[TILE];
    RTRL_UNROLL for (long v = 0; v < vecs; v++) at[v] = v + 1 < vecs ? v * VEC : width - VEC;
    RTRL_UNROLL for (long i = 0; i < rows; i++)
        RTRL_UNROLL for (long v = 0; v < vecs; v++)
            sum[i * vecs + v] = fresh ? (Vec){0} : vec_load(C + i * ldc + at[v]);
    for (long k = 0; k < inner; k++) {
        RTRL_UNROLL for (long v = 0; v < vecs; v++) b[v] = vec_load(B + k * ldb + at[v]);
        RTRL_UNROLL for (long i = 0; i < rows; i++) {
            const Vec a = vec_of(A.a[i * A.row + k * A.step]);
            RTRL_UNROLL for (long v = 0; v < vecs; v++) sum[i * vecs + v] = vec_fma(a, b[v], sum[i * vecs + v]);
        }
    }
    RTRL_UNROLL for (long i = 0; i < rows; i++)
        RTRL_UNROLL for (long v = 0; v < vecs; v++) vec_store(C + i * ldc + at[v], sum[i * vecs + v]);
}

/* A strip of `rows` rows (a constant) over all columns, in tiles of up to `wide` vectors. */
RTRL_FLATTEN void product_strip(const long rows, const int fresh, long inner, long cols, Left A,
                                const real *B, long ldb, real *C, long ldc) {
    const long wide = TILE / rows < 8 ? TILE / rows : 8;
    long left = (cols + VEC - 1) / VEC, q = 0;
    while (left > wide) { /* never leave a ragged vector without a neighbour in its tile */
        if (left == wide + 1) {
            product_tile(rows, wide - 1, fresh, (wide - 1) * VEC, inner, A, B + q, ldb, C + q, ldc);
            q += (wide - 1) * VEC, left = 2;
        } else {
            product_tile(rows, wide, fresh, wide * VEC, inner, A, B + q, ldb, C + q, ldc);
            q += wide * VEC, left -= wide;
        }
    }
#define LAST(vecs)                                                                            \
    if (vecs <= wide && left == vecs)                                                         \
        product_tile(rows, vecs, fresh, cols - q, inner, A, B + q, ldb, C + q, ldc)
    LAST(8);
    LAST(7);
    LAST(6);
    LAST(5);
    LAST(4);
    LAST(3);
    LAST(2);
    LAST(1);
#undef LAST
}

RTRL_FLATTEN void product(const int fresh, long rows, long inner, long cols, Left A, const real *B, long ldb,
                          real *C, long ldc) {
    long i = 0;
    if (cols < VEC) { /* too narrow for a vector: the same sums, one element at a time */
        for (; i < rows; i++)
            for (long q = 0; q < cols; q++) {
                real sum = fresh ? 0 : C[i * ldc + q];
                for (long k = 0; k < inner; k++) sum = RTRL_FMA(A.a[i * A.row + k * A.step], B[k * ldb + q], sum);
                C[i * ldc + q] = sum;
            }
        return;
    }
#define STRIPS(count)                                                                         \
    for (; i + count <= rows; i += count)                                                     \
        product_strip(count, fresh, inner, cols, (Left){A.a + i * A.row, A.row, A.step}, B, ldb, C + i * ldc, ldc)
    STRIPS(TILE_ROWS);
    STRIPS(4);
    STRIPS(2);
    STRIPS(1);
#undef STRIPS
}

RTRL_INLINE void pulls(long rows, long cols, long lanes, const real *W, long ldw, const real *Y, long ldy,
                       real *X, long ldx) {
    product(0, lanes, rows, cols, (Left){Y, ldy, 1}, W, ldw, X, ldx);
}

RTRL_INLINE void outers(long rows, long cols, long lanes, const real *Y, long ldy, const real *X, long ldx,
                        real *G, long ldg) {
    product(0, rows, lanes, cols, (Left){Y, 1, ldy}, X, ldx, G, ldg);
}

RTRL_INLINE void panel_pull(long rows, const real *delta, const real *in, real *y) {
    product(0, 1, rows, PANEL, (Left){delta, 0, 1}, in, PANEL, y, PANEL);
}

/* Returns the sum of squares of the finished rows, added column by column in double and then in a
 * fixed tree; each strip is squared while it is still in the first cache. */
RTRL_INLINE double panel_product(long rows, long inner, const real *H, long ldh, const real *in, real *out,
                                 int accumulate) {
    double squares[128 / sizeof(real)] = {0};
    for (long i = 0; i < rows; i += TILE_ROWS) {
        const long strip = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
        const Left A = {H + i * ldh, ldh, 1};
        real *C = out + i * PANEL;
        if (accumulate)
            product(0, strip, inner, PANEL, A, in, PANEL, C, PANEL);
        else
            product(1, strip, inner, PANEL, A, in, PANEL, C, PANEL);
        for (long j = 0; j < strip; j++)
            RTRL_SIMD for (long c = 0; c < PANEL; c++) {
                const double value = C[j * PANEL + c];
                squares[c] = RTRL_FMA(value, value, squares[c]);
            }
    }
    for (long half = PANEL / 2; half > 0; half /= 2)
        for (long c = 0; c < half; c++) squares[c] += squares[c + half];
    return squares[0];
}

/* ---- C += A B^T -------------------------------------------------------------------------- */

/* FOLD(w, a, b): two vectors seen as blocks of w elements; even blocks + odd blocks. */
#if VEC_LENGTH > 1
#define PICK1(j, w, odd) (j) + ((j) & -(w)) + (odd)
#define PICK2(j, w, odd) PICK1(j, w, odd), PICK1(j + 1, w, odd)
#define PICK4(j, w, odd) PICK2(j, w, odd), PICK2(j + 2, w, odd)
#define PICK8(j, w, odd) PICK4(j, w, odd), PICK4(j + 4, w, odd)
#define PICK16(j, w, odd) PICK8(j, w, odd), PICK8(j + 8, w, odd)
#if VEC_LENGTH == 16
#define PICK(w, odd) PICK16(0, w, odd)
#elif VEC_LENGTH == 8
#define PICK(w, odd) PICK8(0, w, odd)
#elif VEC_LENGTH == 4
#define PICK(w, odd) PICK4(0, w, odd)
#else
#define PICK(w, odd) PICK2(0, w, odd)
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define BLOCKS(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#elif RTRL_WIDTH == 64
typedef int64_t VecIndex __attribute__((vector_size(VEC_BYTES)));
#define BLOCKS(a, b, ...) __builtin_shuffle(a, b, (VecIndex){__VA_ARGS__})
#else
typedef int32_t VecIndex __attribute__((vector_size(VEC_BYTES)));
#define BLOCKS(a, b, ...) __builtin_shuffle(a, b, (VecIndex){__VA_ARGS__})
#endif
#define FOLD(w, a, b) (BLOCKS(a, b, PICK(w, 0)) + BLOCKS(a, b, PICK(w, w)))
#endif

/* The totals of `count` <= VEC vectors (a power of two), in order, in one vector.  Every fold halves
 * all vectors at once; the tree behind one total is the same for every count. */
RTRL_FLATTEN Vec totals(const long count, Vec *sum) {
    long left = count;
#define HALVE(w)                                                                              \
    RTRL_UNROLL for (long s = 0; s < (left + 1) / 2; s++)                                     \
        sum[s] = FOLD(w, sum[2 * s], sum[left > 1 ? 2 * s + 1 : 0]);                          \
    left = (left + 1) / 2;
#if VEC_LENGTH > 8
    HALVE(8)
#endif
#if VEC_LENGTH > 4
    HALVE(4)
#endif
#if VEC_LENGTH > 2
    HALVE(2)
#endif
#if VEC_LENGTH > 1
    HALVE(1)
#endif
#undef HALVE
    (void)left;
    return sum[0];
}

/* Z[lanes, rows] += X[lanes, cols] W[rows, cols]^T with constant rows and lanes, at most 16 results. */
RTRL_FLATTEN void dots_tile(const long rows, const long lanes, long cols, const real *W, long ldw,
                            const real *X, long ldx, real *Z, long ldz) {
    /* 0 under elements that the last vector of a row, moved back over its neighbour, counts again. */
    static const real once[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const long count = rows * lanes, group = count < VEC ? count : VEC, ragged = cols % VEC;
    Vec sum[16], x[4];
    real total[16];
    RTRL_UNROLL for (long s = 0; s < count; s++) sum[s] = (Vec){0};
#define ADD(q)                                                                                \
    RTRL_UNROLL for (long i = 0; i < rows; i++) {                                             \
        const Vec w = vec_load(W + i * ldw + (q));                                            \
        RTRL_UNROLL for (long b = 0; b < lanes; b++) sum[b * rows + i] = vec_fma(w, x[b], sum[b * rows + i]);           \
    }
    for (long q = 0; q + VEC <= cols; q += VEC) {
        RTRL_UNROLL for (long b = 0; b < lanes; b++) x[b] = vec_load(X + b * ldx + q);
        ADD(q)
    }
    if (ragged) {
        RTRL_UNROLL for (long b = 0; b < lanes; b++)
            x[b] = vec_load(X + b * ldx + cols - VEC) * vec_load(once + 16 - VEC + ragged);
        ADD(cols - VEC)
    }
#undef ADD
    RTRL_UNROLL for (long s = 0; s < count; s += group) {
        Vec folded = totals(group, sum + s);
        memcpy(total + s, &folded, (size_t)group * sizeof(real));
    }
    RTRL_UNROLL for (long b = 0; b < lanes; b++)
        RTRL_UNROLL for (long i = 0; i < rows; i++) Z[b * ldz + i] += total[b * rows + i];
}

RTRL_INLINE void dots(long rows, long cols, long lanes, const real *W, long ldw, const real *X, long ldx,
                      real *Z, long ldz) {
    long i = 0;
    if (cols < VEC) {
        for (; i < rows; i++)
            for (long b = 0; b < lanes; b++) {
                real sum = 0;
                for (long q = 0; q < cols; q++) sum = RTRL_FMA(W[i * ldw + q], X[b * ldx + q], sum);
                Z[b * ldz + i] += sum;
            }
        return;
    }
#define TILES(height, width)                                                                  \
    for (; b + width <= lanes; b += width)                                                    \
        dots_tile(height, width, cols, W + i * ldw, ldw, X + b * ldx, ldx, Z + b * ldz + i, ldz);
    for (; lanes == 1 && i + 8 <= rows; i += 8) {
        long b = 0;
        TILES(8, 1)
    }
    for (; i + 4 <= rows; i += 4) { /* four rows of W stay in the first cache for all lanes */
        long b = 0;
        if (TILE >= 16) TILES(4, 4)
        TILES(4, 2)
        TILES(4, 1)
    }
    for (; i < rows; i++) {
        long b = 0;
        TILES(1, 4)
        TILES(1, 1)
    }
#undef TILES
}

#endif
