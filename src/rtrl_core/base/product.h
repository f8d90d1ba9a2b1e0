/* Floor 0: the product C (+)= A B on the vectors of this CPU level, in which B and C have contiguous rows.
 *
 * A tile of C stays in registers, A is broadcast, B is read as vectors; rows any distance apart, at any alignment.
 *
 * Law: the additions behind one element of a result depend on the length of its sum, never on the tile it fell into, so
 * that every split into calls gives the same bits.
 */
#ifndef RTRL_PRODUCT_H
#define RTRL_PRODUCT_H

#include "simd.h"

/* A[i, k] = a[i * row + k * step]: H, the lanes of a batch, or their transpose. */
typedef struct {
    const real *a;
    long row, step;
} Left;

/* C[rows, width] (+)= A[rows, inner] B[inner, width], constant rows and vecs, (vecs - 1) VEC < width
 * <= vecs VEC.  A ragged width moves the last vector back over its neighbour: the same bits twice.
 * Three rows of A share a pointer, as many as addresses of one base and one index reach: with one each there are not
 * enough registers, and what comes from elsewhere takes the place of a multiplication. */
RTRL_FLATTEN void product_tile(const long rows, const long vecs, int fresh, long width, long inner, Left A,
                               const real *B, long ldb, real *C, long ldc) {
    Vec sum[REGISTERS], b[REGISTERS];
    const real *a[REGISTERS];
#define AT(v) ((v) + 1 < vecs ? (v)*VEC : width - VEC)
    EACH(i, rows) EACH(v, vecs) sum[i * vecs + v] = fresh ? (Vec){0} : vec_load(C + i * ldc + AT(v));
    EACH(i, (rows + 2) / 3) a[i] = A.a + 3 * i * A.row;
    for (long k = 0; k < inner; k++, B += ldb) {
        EACH(v, vecs) b[v] = vec_load(B + AT(v));
        EACH(i, rows) {
            const Vec one = vec_of(a[i / 3][i % 3 * A.row]);
            EACH(v, vecs) sum[i * vecs + v] = vec_fma(one, b[v], sum[i * vecs + v]);
        }
        EACH(i, (rows + 2) / 3) a[i] += A.step;
    }
    EACH(i, rows) EACH(v, vecs) vec_store(C + i * ldc + AT(v), sum[i * vecs + v]);
#undef AT
}

/* A strip of `rows` rows (a constant) over all columns, in tiles of up to `wide` vectors. */
RTRL_FLATTEN void product_strip(const long rows, int fresh, long inner, long cols, Left A, const real *B,
                                long ldb, real *C, long ldc) {
    const long wide = REGISTERS / (rows + 1) < 8 ? REGISTERS / (rows + 1) : 8;
    _Static_assert(REGISTERS >= 2 * (TILE_ROWS + 1), "two vectors per row, so that a ragged one has a neighbour");
    long left = (cols + VEC - 1) / VEC, q = 0;
#define COLUMNS(vecs, width) product_tile(rows, vecs, fresh, width, inner, A, B + q, ldb, C + q, ldc)
    for (; left > wide + 1; left -= wide, q += wide * VEC) COLUMNS(wide, wide * VEC);
    if (left == wide + 1) { /* a ragged vector needs a neighbour in its tile */
        COLUMNS(wide - 1, (wide - 1) * VEC);
        left = 2, q += (wide - 1) * VEC;
    }
#define LAST(vecs) if (vecs <= wide && left == vecs) COLUMNS(vecs, cols - q)
    LAST(8); else LAST(7); else LAST(6); else LAST(5); else LAST(4); else LAST(3); else LAST(2); else LAST(1);
#undef LAST
#undef COLUMNS
}

RTRL_FLATTEN void product(int fresh, long rows, long inner, long cols, Left A, const real *B, long ldb,
                          real *C, long ldc) {
    long i = 0;
    for (; cols < VEC && i < rows; i++) /* too narrow for a vector: the same sums one by one */
        for (long q = 0; q < cols; q++) {
            real sum = fresh ? 0 : C[i * ldc + q];
            for (long k = 0; k < inner; k++) sum = RTRL_FMA(A.a[i * A.row + k * A.step], B[k * ldb + q], sum);
            C[i * ldc + q] = sum;
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

#endif
