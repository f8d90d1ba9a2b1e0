/* Floor 1: the product of two matrices that are both contiguous along the sum.
 *
 *   dots            Z[b, row] += sum_q   W[row, q] X[b, q]      z = W h_hat, for every lane
 *   panel_dots      z[row]    += sum_p,q A[p, row, q] x[p, q]   A w, all panels of A
 *
 * A whole block of LANE_BLOCK lanes is transposed, so that its lanes lie side by side in a vector: a tile holds
 * one vector of results for each of its rows, W is broadcast.  Fewer lanes keep one vector of partial sums
 * for each result.  Row-major, any row stride and alignment; 2 rows cols lanes flops.
 *
 * Law: a sum depends on its length and on the place of its lane among the lanes of the call, never on the rows
 * of the call.  Who may have LANES_BLOCK_FROM lanes splits rows among threads, not lanes, or calls
 * few_dots, whose sums depend on their length alone.
 */
#ifndef RTRL_DOTS_H
#define RTRL_DOTS_H

#include "lanes.h"

#define BLOCK_ROWS ((REGISTERS > 16 ? 16 : 8) / LANE_VECS)

/* ---- few lanes ----------------------------------------------------------------------------- */

/* FOLD(w, a, b): both vectors as one row of blocks of w elements; its even blocks + its odd blocks. */
#define PICK1(j, w, odd) (j) + ((j) & -(w)) + (odd)
#define PICK2(j, w, odd) PICK1(j, w, odd), PICK1(j + 1, w, odd)
#define PICK4(j, w, odd) PICK2(j, w, odd), PICK2(j + 2, w, odd)
#define PICK8(j, w, odd) PICK4(j, w, odd), PICK4(j + 4, w, odd)
#define PICK16(j, w, odd) PICK8(j, w, odd), PICK8(j + 8, w, odd)
#define PICKS(w, odd) BY_LENGTH(, PICK2, PICK4, PICK8, PICK16)(0, w, odd)
#define FOLD(w, a, b) (BLOCKS(a, b, PICKS(w, 0)) + BLOCKS(a, b, PICKS(w, w)))

/* The totals of `count` <= VEC vectors (a power of two), in order, in one vector.  Every fold halves
 * all vectors at once; the tree behind one total is the same for every count. */
RTRL_FLATTEN Vec totals(const long count, Vec *sum) {
    long left = count;
#define HALVE(w)                                                                              \
    EACH(s, (left + 1) / 2) sum[s] = FOLD(w, sum[2 * s], sum[left > 1 ? 2 * s + 1 : 0]);      \
    left = (left + 1) / 2;
    BY_LENGTH((void)left, HALVE(1), HALVE(2) HALVE(1), HALVE(4) HALVE(2) HALVE(1),
              HALVE(8) HALVE(4) HALVE(2) HALVE(1));
#undef HALVE
    return sum[0];
}

/* Z[lanes, rows] += X[lanes, cols] W[rows, cols]^T with constant rows and lanes, at most 16 results. */
RTRL_FLATTEN void dots_tile(const long rows, const long lanes, long cols, const real *W, long ldw,
                            const real *X, long ldx, real *Z, long ldz) {
    /* 0 under what a last vector, moved back over its neighbour, would count a second time. */
    static const real once[32] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                  1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    const long count = rows * lanes, group = count < VEC ? count : VEC, ragged = cols % VEC;
    Vec sum[16], x[4];
    real total[16];
    EACH(s, count) sum[s] = (Vec){0};
#define ADD(q, factor)                                                                        \
    {                                                                                         \
        EACH(b, lanes) x[b] = vec_load(X + b * ldx + (q)) factor;                             \
        EACH(i, rows) {                                                                       \
            const Vec w = vec_load(W + i * ldw + (q));                                        \
            EACH(b, lanes) sum[b * rows + i] = vec_fma(w, x[b], sum[b * rows + i]);           \
        }                                                                                     \
    }
    for (long q = 0; q + VEC <= cols; q += VEC) ADD(q, )
    if (ragged) ADD(cols - VEC, *vec_load(once + 16 - VEC + ragged))
#undef ADD
    EACH(s, count / group) {
        const Vec folded = totals(group, sum + s * group);
        memcpy(total + s * group, &folded, (size_t)group * sizeof(real));
    }
    EACH(b, lanes) EACH(i, rows) Z[b * ldz + i] += total[b * rows + i];
}

RTRL_INLINE void few_dots(long rows, long cols, long lanes, const real *W, long ldw, const real *X, long ldx,
                          real *Z, long ldz) {
    long i = 0;
    for (; cols < VEC && i < rows; i++)
        for (long b = 0; b < lanes; b++) {
            real sum = 0;
            for (long q = 0; q < cols; q++) sum = RTRL_FMA(W[i * ldw + q], X[b * ldx + q], sum);
            Z[b * ldz + i] += sum;
        }
#define TILES(rows_, lanes_)                                                                  \
    for (; b + lanes_ <= lanes; b += lanes_)                                                  \
        dots_tile(rows_, lanes_, cols, W + i * ldw, ldw, X + b * ldx, ldx, Z + b * ldz + i, ldz);
    for (long b = 0; lanes == 1 && i + 8 <= rows; i += 8, b = 0) TILES(8, 1)
    for (; i + 4 <= rows; i += 4) { /* four rows of W stay in the first cache for all lanes */
        long b = 0;
        if (REGISTERS > 16) TILES(4, 4)
        TILES(4, 2)
        TILES(4, 1)
    }
    for (long b = 0; i < rows; i++, b = 0) TILES(1, 1)
#undef TILES
}

/* ---- one vector, panels -------------------------------------------------------------------- */

#define PANEL_ROWS (VEC < 8 ? VEC : 8)

/* Z[rows] += A x of some panels, constant rows <= PANEL_ROWS and panels: one fold for all of them. */
RTRL_FLATTEN void panel_dots_tile(const long rows, const long panels, const real *A, long apart, const real *x, real *z) {
    Vec sum[8];
    EACH(i, rows) sum[i] = (Vec){0};
    EACH(p, panels) EACH(v, PANEL / VEC) {
        const Vec one = vec_load(x + p * PANEL + v * VEC);
        EACH(i, rows) sum[i] = vec_fma(vec_load(A + p * apart + i * PANEL + v * VEC), one, sum[i]);
    }
    real total[VEC_LENGTH];
    const Vec folded = totals(rows, sum);
    memcpy(total, &folded, sizeof folded);
    EACH(i, rows) z[i] += total[i];
}

/* Panels begin `apart` numbers from each other.  Four are read side by side: see panels_pull. */
RTRL_INLINE void panel_dots(long rows, long panels, const real *A, long apart, const real *x, real *z) {
#define PANELS(count)                                                                         \
    for (; p + count <= panels; p += count) {                                                 \
        const real *from = A + p * apart;                                                     \
        long i = 0;                                                                           \
        for (; i + PANEL_ROWS <= rows; i += PANEL_ROWS)                                       \
            panel_dots_tile(PANEL_ROWS, count, from + i * PANEL, apart, x + p * PANEL, z + i); \
        for (; i < rows; i++) panel_dots_tile(1, count, from + i * PANEL, apart, x + p * PANEL, z + i); \
    }
    long p = 0;
    PANELS(4)
    PANELS(1)
#undef PANELS
}

/* ---- a block of lanes ---------------------------------------------------------------------- */

/* Z[b, i] += sum over k of W[i, k] turned[k, b] for a constant number of rows, 1, 2 or a multiple of 4. */
RTRL_FLATTEN void block_tile(const long rows, long lanes, long inner, const real *W, long ldw, const real *turned,
                             real *Z, long ldz) {
    const long group = rows < 4 ? rows : 4; /* a few pointers, or they would not stay in registers */
    Vec sum[16], x[LANE_VECS];
    const real *w[4];
    EACH(g, rows / group) w[g] = W + g * group * ldw;
    EACH(s, rows * LANE_VECS) sum[s] = (Vec){0};
#define TERM(k)                                                                               \
    {                                                                                         \
        EACH(v, LANE_VECS) x[v] = vec_load(turned + (k)*LANE_BLOCK + v * VEC);                \
        EACH(i, rows) {                                                                       \
            const Vec a = vec_of(w[i / group][i % group * ldw + (k)]);                        \
            EACH(v, LANE_VECS) sum[i * LANE_VECS + v] = vec_fma(a, x[v], sum[i * LANE_VECS + v]); \
        }                                                                                     \
    }
    long k = 1;
    for (; k < inner; k += 2, turned += 2 * LANE_BLOCK) { /* two at a time: addresses are added where products are */
        TERM(0)
        TERM(1)
        EACH(g, rows / group) w[g] += 2;
    }
    if (k == inner) TERM(0)
#undef TERM
    if (rows % VEC == 0) {
        EACH(g, rows / VEC) EACH(v, LANE_VECS) {
            Vec total[VEC_LENGTH];
            EACH(i, VEC) total[i] = sum[(g * VEC + i) * LANE_VECS + v];
            transpose(total);
            EACH(b, VEC) if (v * VEC + b < lanes) {
                real *z = Z + (v * VEC + b) * ldz + g * VEC;
                vec_store(z, vec_load(z) + total[b]);
            }
        }
    } else {
        real total[16 * VEC_LENGTH];
        EACH(s, rows * LANE_VECS) vec_store(total + s * VEC, sum[s]);
        for (long b = 0; b < lanes; b++)
            EACH(i, rows) Z[b * ldz + i] += total[i * LANE_BLOCK + b];
    }
}

/* `lanes` <= LANE_BLOCK lanes. */
RTRL_INLINE void block_dots(long rows, long cols, long lanes, const real *W, long ldw, const real *X, long ldx,
                            real *Z, long ldz) {
    real turned[DEPTH * LANE_BLOCK];
    for (long first = 0; first < cols; first += DEPTH) {
        const long inner = cols - first < DEPTH ? cols - first : DEPTH;
        long i = 0;
        turn_lanes(inner, lanes, X + first, ldx, turned);
#define ROWS(count)                                                                           \
    for (; count <= BLOCK_ROWS && i + count <= rows; i += count)                              \
        block_tile(count <= BLOCK_ROWS ? count : 1, lanes, inner, W + i * ldw + first, ldw, turned, Z + i, ldz);
        ROWS(16) ROWS(8) ROWS(4) ROWS(2) ROWS(1)
#undef ROWS
    }
}

RTRL_INLINE void dots(long rows, long cols, long lanes, const real *W, long ldw, const real *X, long ldx, real *Z, long ldz) {
    long b = 0;
    for (; b + LANES_BLOCK_FROM <= lanes; b += LANE_BLOCK)
        block_dots(rows, cols, lanes - b < LANE_BLOCK ? lanes - b : LANE_BLOCK, W, ldw, X + b * ldx, ldx, Z + b * ldz, ldz);
    if (b < lanes) few_dots(rows, cols, lanes - b, W, ldw, X + b * ldx, ldx, Z + b * ldz, ldz);
}

#endif
