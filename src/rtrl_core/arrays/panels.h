/* Floor 1: products with panels, [rows, PANEL] on cache lines.
 *
 *   panels_pull     y[c]      += sum_i   delta[i] in[i, c]      delta A, some panels of A
 *   panel_product   out[i, c] (+)= sum_k H[i, k] in[k, c]       H A, one panel of A
 *   panel_scaled    out = factor in, and |in|^2
 *
 * Cost: 2 rows inner PANEL flops, no memory of their own.  Law: as in product.h, no bit depends on a split into calls.
 */
#ifndef RTRL_PANELS_H
#define RTRL_PANELS_H

#include "product.h"
#include "tiles.h"

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

/* One panel of H A, H [rows, inner] or its tiles where `tiles_reals` says so.  While it is multiplied, the panel that is
 * wanted next comes from memory: it begins `next` rows further on, or back (where nothing may be: it is not read). */
RTRL_INLINE void panel_product(long rows, long inner, const real *H, const real *in, real *out, int accumulate, long next) {
    const int two_fit = rows * PANEL * (long)sizeof(real) <= 1 << 14; /* besides H and the result, in the first cache */
    if (tiles_reals(rows, inner) > 0) {
        tiles_product(rows, inner, H, in, out, PANEL, accumulate, in + next * PANEL);
        return;
    }
    for (long i = 0; i < rows; i += TILE_ROWS) {
        const long count = rows - i < TILE_ROWS ? rows - i : TILE_ROWS;
        for (long j = i; j < i + count; j++) soon_needed(in + (next + j) * PANEL, PANEL, two_fit);
        product(!accumulate, count, inner, PANEL, (Left){H + i * inner, inner, 1}, in, PANEL, out + i * PANEL, PANEL);
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
