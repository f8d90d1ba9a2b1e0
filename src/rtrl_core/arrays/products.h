/* Floor 1: the products between weights and lanes.
 *
 *   pulls           X[b, q]   += sum_row Y[b, row] W[row, q]    delta W
 *   outers          G[row, q] += sum_b   Y[b, row] X[b, q]      rank-one gradients, summed over lanes
 *   outers_anew     G[row, q]  = sum_b   Y[b, row] X[b, q]      the first of them
 *   scaled_rows     H[i, q]    = sum_a   d[a, i] W[a, i, q]     H without its diagonal
 *   mixes           Y[i, q]    = sum_k   M[i, k] X[k, q]        combinations of a few long rows
 *
 * Matrices are row-major with any row stride and any alignment.  Cost: 2 rows cols lanes flops, no memory of their own.
 * (For operands that are contiguous along the sum see dots.h.)
 *
 * Law: as in product.h, no bit depends on a split into calls.
 */
#ifndef RTRL_PRODUCTS_H
#define RTRL_PRODUCTS_H

#include "product.h"

/* Terms of a long sum over lanes that are taken at a time. */
#define PIECE 128L

RTRL_INLINE void pulls(long rows, long cols, long lanes, const real *W, long ldw, const real *Y, long ldy,
                       real *X, long ldx) {
    product(0, lanes, rows, cols, (Left){Y, ldy, 1}, W, ldw, X, ldx);
}

/* One lane: nothing is gained by a tile of several rows.  The same additions. */
RTRL_FLATTEN void outer(const int fresh, long rows, long cols, const real *y, const real *x, real *G, long ldg) {
    const long ragged = cols % VEC, last = cols - VEC;
#define SUM(q) vec_fma(a, vec_load(x + (q)), fresh ? (Vec){0} : vec_load(G + (q)))
    for (long i = 0; i < rows; i++, G += ldg) {
        const Vec a = vec_of(y[i]);
        Vec end = {0};
        if (ragged) end = SUM(last);
        for (long q = 0; q <= last; q += VEC) vec_store(G + q, SUM(q));
        if (ragged) vec_store(G + last, end);
    }
#undef SUM
}

/* Where a strip of Y meets many tiles it is packed first: read in place, its short rows lie a power of two
 * apart and drive each other out of the first cache.  The same additions either way. */
RTRL_INLINE void outers_from(int fresh, long rows, long cols, long lanes, const real *Y, long ldy, const real *X, long ldx,
                             real *G, long ldg) {
    real packed[PIECE * TILE_ROWS];
    if (lanes == 1 && cols >= VEC) {
        if (fresh)
            outer(1, rows, cols, Y, X, G, ldg);
        else
            outer(0, rows, cols, Y, X, G, ldg);
        return;
    }
    for (long first = 0; first < lanes; first += PIECE) {
        const long inner = lanes - first < PIECE ? lanes - first : PIECE;
        const real *y = Y + first * ldy, *x = X + first * ldx;
        long i = 0;
        for (; inner >= 8 && cols >= 8 * VEC && i + TILE_ROWS <= rows; i += TILE_ROWS) {
            for (long k = 0; k < inner; k++) memcpy(packed + k * TILE_ROWS, y + k * ldy + i, TILE_ROWS * sizeof(real));
            product_strip(TILE_ROWS, fresh, inner, cols, (Left){packed, 1, TILE_ROWS}, x, ldx, G + i * ldg, ldg);
        }
        product(fresh, rows - i, inner, cols, (Left){y + i, 1, ldy}, x, ldx, G + i * ldg, ldg);
        fresh = 0;
    }
}

/* One more map or several, a constant number of them, to rows of H. */
RTRL_FLATTEN void add_maps_to_rows(const long maps, int fresh, long rows, long cols, const real *d, long step, const real *W,
                                   long ldw, real *H) {
    for (long i = 0; i < rows; i++, d++, W += ldw, H += cols) {
        Vec by[4];
        EACH(a, maps) by[a] = vec_of(d[a * step]);
#define SUM(q)                                                                                \
    Vec sum = fresh ? (Vec){0} : vec_load(H + (q));                                           \
    EACH(a, maps) sum = vec_fma(by[a], vec_load(W + a * step * ldw + (q)), sum);
        const long ragged = cols % VEC;
        Vec end = {0};
        if (ragged && cols > VEC) { /* moved back over its neighbour, from the old numbers */
            SUM(cols - VEC)
            end = sum;
        }
        long q = 0;
        for (; q + VEC <= cols; q += VEC) {
            SUM(q)
            vec_store(H + q, sum);
        }
        if (ragged && cols > VEC) vec_store(H + cols - VEC, end);
        for (; q < cols && cols < VEC; q++)
            for (long a = 0; a < maps; a++)
                H[q] = RTRL_FMA(d[a * step], W[a * step * ldw + q], fresh && a == 0 ? 0 : H[q]);
#undef SUM
    }
}

RTRL_INLINE void scaled_rows(long rows, long cols, long maps, const real *d, long step, const real *W, long ldw, real *H) {
    long a = 0;
#define MAPS(count)                                                                           \
    for (; a + count <= maps; a += count)                                                     \
        add_maps_to_rows(count, a == 0, rows, cols, d + a * step, step, W + a * step * ldw, ldw, H);
    MAPS(4)
    MAPS(2)
    MAPS(1)
#undef MAPS
}

RTRL_INLINE void outers(long rows, long cols, long lanes, const real *Y, long ldy, const real *X, long ldx,
                        real *G, long ldg) {
    outers_from(0, rows, cols, lanes, Y, ldy, X, ldx, G, ldg);
}

/* The same into G of any content. */
RTRL_INLINE void outers_anew(long rows, long cols, long lanes, const real *Y, long ldy, const real *X, long ldx,
                             real *G, long ldg) {
    outers_from(1, rows, cols, lanes, Y, ldy, X, ldx, G, ldg);
}

RTRL_INLINE void mixes(long rows, long inner, long cols, const real *M, long ldm, const real *X, long ldx, real *Y, long ldy) {
    product(1, rows, inner, cols, (Left){M, ldm, 1}, X, ldx, Y, ldy);
}

#endif
