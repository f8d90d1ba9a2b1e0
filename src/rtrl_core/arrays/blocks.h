/* Floor 1: passes over panels at the ends of blocks of time steps.
 *
 *   row_panels   out[q / PANEL][q % PANEL] = sum_a  coefs[a] W[at[a], q]               one row of H, as panels
 *   add_terms    out[i, c] = factor room[i, c] + sum_s P[s, i, c] d[s, c]             kappa P_0 A and every P_t D_t, at once
 *   mix_terms    A_k[i, c] = sum_j mix[k, j] A_j[i, c] + sum_s P[s, i, c] d[k, s, c]  the same for several A, which are mixed
 *
 * All read and write every number once; a row of a panel stays in registers.
 *
 * Law: as in products.h, the additions behind one element do not depend on where a call begins.
 */
#ifndef RTRL_BLOCKS_H
#define RTRL_BLOCKS_H

#include "simd.h"

/* Row at[a] of W, with rows `ldw` apart, is that of map a; panels of the result are `panel` numbers apart.  What lies `ahead`
 * is fetched for a later call: W comes from far away, one row of every map in turn, which the processor does not foresee. */
RTRL_FLATTEN void row_panels_of(const long maps, long cols, const real *coefs, const real *W, long ldw, const long *at, long ahead,
                                real *out, long panel) {
    for (; cols > 0; cols -= PANEL, W += PANEL, out += panel) {
        const long run = cols < PANEL ? cols : PANEL;
        long q = 0;
#define ROW(count)                                                                            \
        {                                                                                     \
            for (long a = 0; a < maps; a++) RTRL_PREFETCH(W + at[a] * ldw + q + ahead);       \
            Vec sum = vec_of(coefs[0]) * vec_some(W + at[0] * ldw + q, count);                \
            for (long a = 1; a < maps; a++) sum = vec_fma(vec_of(coefs[a]), vec_some(W + at[a] * ldw + q, count), sum); \
            vec_store_some(out + q, sum, count);                                              \
        }
        for (; q + VEC <= run; q += VEC) ROW(VEC)
        if (q < run) ROW(run - q)
#undef ROW
    }
}

RTRL_INLINE void row_panels(long maps, long cols, const real *coefs, const real *W, long ldw, const long *at, long ahead, real *out,
                            long panel) {
    if (maps == 2) row_panels_of(2, cols, coefs, W, ldw, at, ahead, out, panel);
    else if (maps == 3) row_panels_of(3, cols, coefs, W, ldw, at, ahead, out, panel);
    else row_panels_of(maps, cols, coefs, W, ldw, at, ahead, out, panel);
}

#define EACH_TERM(body)                                                                       \
    for (long s = 0; s < terms; s++)                                                          \
        for (long c = 0; c < parts; c++) {                                                    \
            const real *left = P + s * step + c * part, *right = d + (s * parts + c) * PANEL; \
            body                                                                              \
        }

/* Columns [0, run) of a panel [rows, PANEL].  P[s, c] = P + s * step + c * part has rows `ldp` apart, d [terms, parts, PANEL].
 * A factor of 0 takes no notice of room. */
RTRL_FLATTEN void add_terms(long rows, long run, real factor, const real *room, long terms, long parts, const real *P,
                            long step, long part, long ldp, const real *d, real *out) {
    for (long i = 0; i < rows; i++, room += PANEL, P += ldp, out += PANEL) {
        if (run == PANEL) {
            Vec sum[128 / sizeof(Vec)];
            EACH(v, PANEL / VEC) sum[v] = factor == 0 ? (Vec){0} : vec_of(factor) * vec_load(room + v * VEC);
            EACH_TERM(EACH(v, PANEL / VEC) sum[v] = vec_fma(vec_load(left + v * VEC), vec_load(right + v * VEC), sum[v]);)
            EACH(v, PANEL / VEC) vec_store(out + v * VEC, sum[v]);
            continue;
        }
        long q = 0;
#define ONE(count)                                                                            \
        {                                                                                     \
            Vec one = factor == 0 ? (Vec){0} : vec_of(factor) * vec_some(room + q, count);    \
            EACH_TERM(one = vec_fma(vec_some(left + q, count), vec_load(right + q), one);)    \
            vec_store_some(out + q, one, count);                                              \
        }
        for (; q + VEC <= run; q += VEC) ONE(VEC)
        if (q < run) ONE(run - q)
#undef ONE
    }
}

#define MIX_AHEAD 8 /* rows */

/* `vecs` vectors of one row of `outs` results (both constant), or the first `width` numbers of one vector. */
RTRL_FLATTEN void mix_tile(const long outs, const long vecs, long width, long products, const real *mix, long ldm,
                           const real *from, long apart, long terms, long parts, const real *P, long step, long part, const real *d,
                           real *out, long size) {
    Vec sum[16], x[2];
    EACH(s, outs * vecs) sum[s] = (Vec){0};
    for (long j = 0; j < products; j++) {
        EACH(v, vecs) x[v] = vec_some(from + j * apart + v * VEC, width - v * VEC);
        EACH(k, outs) EACH(v, vecs) sum[k * vecs + v] = vec_fma(vec_of(mix[k * ldm + j]), x[v], sum[k * vecs + v]);
    }
    EACH_TERM({
        EACH(v, vecs) x[v] = vec_some(left + v * VEC, width - v * VEC);
        EACH(k, outs) EACH(v, vecs)
            sum[k * vecs + v] = vec_fma(x[v], vec_load(right + k * terms * parts * PANEL + v * VEC), sum[k * vecs + v]);
    })
    EACH(k, outs) EACH(v, vecs) vec_store_some(out + k * size + v * VEC, sum[k * vecs + v], width - v * VEC);
}

/* Columns [0, run) of one panel of `rank` matrices A, `size` apart, of which the first `products` count; mix [rank, ldm],
 * P as above, d [rank, terms, parts, PANEL], room [products, PANEL].  Where results are made in several strips, the row that
 * they are made from is kept beside.  Later rows are asked for: those of P are far apart, which no processor foresees. */
RTRL_INLINE void mix_terms(long rows, long run, long rank, const real *mix, long ldm, long products, real *A, long size, long terms,
                           long parts, const real *P, long step, long part, long ldp, const real *d, real *room) {
    const int strips = rank != 1 && rank != 2 && rank != 4 && (rank != 8 || REGISTERS <= 16);
    for (long i = 0; i < rows; i++, P += ldp, A += PANEL) {
        const real *from = strips ? room : A;
        const long apart = strips ? PANEL : size;
        long q, k = 0;
        for (long j = 0; j < products; j++) soon_needed(A + j * size + MIX_AHEAD * PANEL, PANEL, 0);
        EACH_TERM(soon_needed(left + MIX_AHEAD * ldp, PANEL, 0); (void)right;)
        for (long j = 0; strips && j < products; j++) memcpy(room + j * PANEL, A + j * size, (size_t)run * sizeof(real));
#define TILES(outs, vecs, width)                                                              \
    for (; q + width <= run; q += width)                                                      \
        mix_tile(outs, vecs, width, products, mix + k * ldm, ldm, from + q, apart, terms, parts, P + q, step, part, \
                 d + k * terms * parts * PANEL + q, A + k * size + q, size);
#define STRIPS(outs)                                                                          \
    for (; k + outs <= rank; k += outs) {                                                     \
        q = 0;                                                                                \
        TILES(outs, 2, 2 * VEC) TILES(outs, 1, VEC)                                           \
        const long rest = run - q;                                                            \
        if (rest > 0) TILES(outs, 1, rest)                                                    \
    }
        if (REGISTERS > 16) STRIPS(8)
        STRIPS(4) STRIPS(2) STRIPS(1)
#undef STRIPS
#undef TILES
    }
}
#undef EACH_TERM

#endif
