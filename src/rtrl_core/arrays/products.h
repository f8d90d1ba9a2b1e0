/* Floor 1: the products between weights, lanes and panels.
 *
 *   pulls           X[b, q]   += sum_row Y[b, row] W[row, q]    delta W
 *   outers          G[row, q] += sum_b   Y[b, row] X[b, q]      rank-one gradients, summed over lanes
 *   scaled_rows     H[i, q]    = sum_a   d[a, i] W[a, i, q]     H without its diagonal
 *   outers_anew     G[row, q]  = sum_b   Y[b, row] X[b, q]      the first of them
 *   mixes           Y[i, q]    = sum_k   M[i, k] X[k, q]        combinations of a few long rows
 *   panel_product   out[i, c] (+)= sum_k H[i, k] in[k, c]       H A, one panel of A
 *   panel_scaled    out = factor in, and |in|^2
 *   panels_pull     y[c]      += sum_i   delta[i] in[i, c]      delta A, some panels of A
 *
 * Matrices are row-major with any row stride and any alignment; panels are [rows, PANEL] on cache
 * lines.  Cost: 2 rows cols lanes flops (panels: 2 rows inner PANEL), no memory of their own.
 *
 * All are one product C += A B in which B and C have contiguous rows: a tile of C stays in registers,
 * A is broadcast, B is read as vectors.  (For operands that are contiguous along the sum see dots.h.)
 *
 * Law: the additions behind one element of a result depend on the length of its sum, never on the
 * tile it fell into, so that every split into calls gives the same bits.
 */
#ifndef RTRL_PRODUCTS_H
#define RTRL_PRODUCTS_H

#include "simd.h"

/* Terms of a long sum over lanes that are taken at a time. */
#define PIECE 128L

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

/* Panels that lie one after the other are read side by side: four streams get twice as much out of a last cache as one.
 * Even and odd rows have a sum each, so that one panel alone does not wait for its additions. */
RTRL_FLATTEN void panels_tile(const long panels, long rows, const real *delta, const real *in, real *y) {
    const long vecs = PANEL / VEC, size = rows * PANEL;
    Vec even[4 * (PANEL / VEC)], odd[4 * (PANEL / VEC)];
    long i = 0;
    EACH(s, panels * vecs) even[s] = vec_load(y + s * VEC), odd[s] = (Vec){0};
#define ROW(sum, row)                                                                         \
    EACH(p, panels) EACH(v, vecs) sum[p * vecs + v] =                                         \
        vec_fma(vec_of(delta[row]), vec_load(in + p * size + (row) * PANEL + v * VEC), sum[p * vecs + v]);
    for (; i + 2 <= rows; i += 2) {
        ROW(even, i)
        ROW(odd, i + 1)
    }
    if (i < rows) ROW(even, i)
#undef ROW
    EACH(s, panels * vecs) vec_store(y + s * VEC, even[s] + odd[s]);
}

RTRL_INLINE void panels_pull(long rows, long panels, const real *delta, const real *in, real *y) {
    long p = 0;
#define PANELS(count)                                                                         \
    for (; (count == 1 || REGISTERS > 2 * count * PANEL / VEC) && p + count <= panels; p += count) \
        panels_tile(count, rows, delta, in + p * rows * PANEL, y + p * PANEL);
    PANELS(4)
    PANELS(2)
    PANELS(1)
#undef PANELS
}

/* One panel of H A.  While it is multiplied, the one that is wanted next comes from memory: it begins `next` rows further
 * on, or back (where nothing may be: it is not read). */
RTRL_INLINE void panel_product(long rows, long inner, const real *H, long ldh, const real *in, real *out, int accumulate,
                               long next) {
    const int two_fit = rows * PANEL * (long)sizeof(real) <= 1 << 14; /* besides H and the result, in the first cache */
    for (long i = 0; i < rows; i += TILE_ROWS) {
        const long count = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
        for (long j = i; j < i + count; j++) soon_needed(in + (next + j) * PANEL, PANEL, two_fit);
        product(!accumulate, count, inner, PANEL, (Left){H + i * ldh, ldh, 1}, in, PANEL, out + i * PANEL, PANEL);
    }
}

/* out = factor in, one panel; returns the sum of squares of `in`: in CHAINS chains of real, whatever the vectors, and in
 * double where those leave its range.  Not inside the tile of a product, where the chains would push its sums out
 * of the registers; the panel is still in the first cache. */
#define CHAINS (2 * PANEL)
RTRL_INLINE double panel_scaled(long rows, real factor, const real *in, real *out) {
    Vec sum[CHAINS / VEC];
    real parts[CHAINS];
    long i = 0;
    EACH(s, CHAINS / VEC) sum[s] = (Vec){0};
    for (; i + CHAINS <= rows * PANEL; i += CHAINS) EACH(s, CHAINS / VEC) {
        const Vec x = vec_load(in + i + s * VEC);
        sum[s] = vec_fma(x, x, sum[s]);
        vec_store(out + i + s * VEC, vec_of(factor) * x);
    }
    EACH(s, CHAINS / VEC) vec_store(parts + s * VEC, sum[s]);
    for (long c = 0; i + c < rows * PANEL; c++) {
        parts[c] = RTRL_FMA(in[i + c], in[i + c], parts[c]);
        out[i + c] = factor * in[i + c];
    }
    for (long half = CHAINS / 2; half > 0; half /= 2)
        for (long c = 0; c < half; c++) parts[c] += parts[c + half];
    if (parts[0] > (real)1e-25 && parts[0] < (real)1e25) return parts[0];
    double total = 0;
    for (i = 0; i < rows * PANEL; i++) total += (double)in[i] * in[i];
    return total;
}
#undef CHAINS

/* The same without a first value; `next`, a panel that is wanted after this one, is fetched from far away meanwhile. */
RTRL_INLINE void panel_product_ahead(long rows, long inner, const real *H, long ldh, const real *in, real *out, const real *next) {
    for (long i = 0; i < rows; i += TILE_ROWS) {
        const long count = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
        soon_needed(next + i * PANEL, count * PANEL, 0);
        product(1, count, inner, PANEL, (Left){H + i * ldh, ldh, 1}, in, PANEL, out + i * PANEL, PANEL);
    }
}

#endif
