/* Floor 1: one pass over rows that every lane carries on, with the gradient that they give.
 *
 *   w_b <- T_b w_b + d_b x_b         g += sum_b e_b w_b         squares_b = |w_b|^2
 *
 * for each of some rows: lane b has k vectors w_b [k, cols] that T_b [k, k] mixes, one vector at a time in
 * registers for k = 1 and 2; d_b and e_b are [k], x_b [cols] is the same for all rows.  squares_b is over all rows.
 * w is read and written once, which is what such a pass costs; g stays in the first cache.
 * Cost: (2 k^2 + 6 k) cols flops and 2 k cols numbers moved a row and lane.
 *
 * Columns go in blocks of 16, element i of a block to chain i of the sum of squares, whatever the
 * vector width.  A ragged end is one more block, moved back over its neighbour, that was computed from
 * the old numbers: the same bits twice, counted once.  Lanes are added to g in their order.
 */
#ifndef RTRL_CARRY_H
#define RTRL_CARRY_H

#include "simd.h"

#define CARRY_BLOCK 16
#define CARRY_VECS (CARRY_BLOCK / VEC)
/* w comes from far away and is asked for so many numbers ahead, or some rows: half as many are slower at n = 256, twice as
 * many at n = 64. */
#define CARRY_AHEAD 1280
/* As many lanes at once as the registers hold; each has at least three factors and a sum. */
#define CARRY_LANES (REGISTERS <= 16 ? 1 : 4)

/* Strides between lanes, between rows, and between the k components (k^2 of T). */
typedef struct {
    long lane, row, component;
} Strides;

typedef struct {
    real *w, *room; /* room [k], for k > 1 */
    const real *x, *T, *d, *e;
    long x_lane;
    Strides w_by, T_by, d_by, e_by;
} Carry;

static const real carry_mask[2 * CARRY_BLOCK] = {[CARRY_BLOCK] = 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

/* One vector of all lanes: its new numbers to `out` [lanes, k, stride], and its gradient. */
RTRL_FLATTEN Vec carry_vector(const long lanes, const long k, const long stride, const Carry *at, long i, const Vec *T,
                              const Vec *d, const Vec *e, Vec g, Vec *out) {
    EACH(b, lanes) {
        const Vec x = vec_load(at->x + b * at->x_lane + i);
        Vec old[2];
        EACH(c, k) old[c] = vec_load(at->w + b * at->w_by.lane + c * at->w_by.component + i);
        EACH(c, k) {
            Vec sum = T[(b * k + c) * k] * old[0];
            if (k == 2) sum = vec_fma(T[(b * k + c) * k + 1], old[1], sum);
            sum = vec_fma(d[b * k + c], x, sum);
            g = vec_fma(e[b * k + c], sum, g);
            out[(b * k + c) * stride] = sum;
        }
    }
    return g;
}

/* One row of some lanes, its squares added to sums [lanes, CARRY_VECS]. */
RTRL_FLATTEN void carry_row(const long lanes, const long k, long cols, const Carry *at, real *g, Vec *sums) {
    const long ragged = cols % CARRY_BLOCK, last = cols - CARRY_BLOCK;
    Vec T[16], d[8], e[8], end[8 * CARRY_VECS], end_g[CARRY_VECS], now[8];
    EACH(b, lanes) EACH(c, k) {
        EACH(j, k) T[(b * k + c) * k + j] = vec_of(at->T[b * at->T_by.lane + (c * k + j) * at->T_by.component]);
        d[b * k + c] = vec_of(at->d[b * at->d_by.lane + c * at->d_by.component]);
        e[b * k + c] = vec_of(at->e[b * at->e_by.lane + c * at->e_by.component]);
    }
#define W(i) (at->w + b * at->w_by.lane + c * at->w_by.component + (i))
#define COUNT(value) sums[b * CARRY_VECS + v] = vec_fma(value, value, sums[b * CARRY_VECS + v])
    EACH(v, CARRY_VECS) end_g[v] = (Vec){0};
    EACH(v, lanes * k * CARRY_VECS) end[v] = (Vec){0};
    if (ragged) EACH(v, CARRY_VECS) {
        const Vec counted = vec_load(carry_mask + ragged + v * VEC);
        end_g[v] = carry_vector(lanes, k, CARRY_VECS, at, last + v * VEC, T, d, e, vec_load(g + last + v * VEC), end + v);
        EACH(b, lanes) EACH(c, k) {
            const Vec value = end[(b * k + c) * CARRY_VECS + v] * counted;
            COUNT(value);
        }
    }
    for (long first = 0; first <= last; first += CARRY_BLOCK) EACH(v, CARRY_VECS) {
        const long i = first + v * VEC;
        vec_store(g + i, carry_vector(lanes, k, 1, at, i, T, d, e, vec_load(g + i), now));
        EACH(b, lanes) EACH(c, k) {
            if (v == 0) soon_needed(W(i + CARRY_AHEAD), 1, 0);
            vec_store(W(i), now[b * k + c]);
            COUNT(now[b * k + c]);
        }
    }
    if (ragged) EACH(v, CARRY_VECS) {
        vec_store(g + last + v * VEC, end_g[v]);
        EACH(b, lanes) EACH(c, k) vec_store(W(last + v * VEC), end[(b * k + c) * CARRY_VECS + v]);
    }
#undef COUNT
#undef W
}

/* Fewer columns than a block has, or larger k: the same one by one. */
RTRL_INLINE void carry_few(long k, long cols, const Carry *at, real *g, real *parts) {
    real one, *old = k == 1 ? &one : at->room;
    for (long i = 0; i < cols; i++) {
        for (long c = 0; c < k; c++) old[c] = at->w[c * at->w_by.component + i];
        for (long c = 0; c < k; c++) {
            real sum = at->T[c * k * at->T_by.component] * old[0];
            for (long j = 1; j < k; j++) sum = RTRL_FMA(at->T[(c * k + j) * at->T_by.component], old[j], sum);
            sum = RTRL_FMA(at->d[c * at->d_by.component], at->x[i], sum);
            g[i] = RTRL_FMA(at->e[c * at->e_by.component], sum, g[i]);
            parts[i % CARRY_BLOCK] = RTRL_FMA(sum, sum, parts[i % CARRY_BLOCK]);
            at->w[c * at->w_by.component + i] = sum;
        }
    }
}

RTRL_INLINE Carry carry_at(const Carry *all, long lane, long row) {
    Carry at = *all;
    at.w += lane * at.w_by.lane + row * at.w_by.row, at.T += lane * at.T_by.lane + row * at.T_by.row;
    at.d += lane * at.d_by.lane + row * at.d_by.row, at.e += lane * at.e_by.lane + row * at.e_by.row;
    at.x += lane * at.x_lane;
    return at;
}

/* Squares of some rows of one lane: from the chains, or in double where those left their range. */
RTRL_INLINE double carry_total(const Carry *all, long k, long rows, long cols, long lane, real *parts) {
    double total = 0;
    for (long half = CARRY_BLOCK / 2; half > 0; half /= 2)
        for (long i = 0; i < half; i++) parts[i] += parts[i + half];
    if (parts[0] > (real)1e-25 && parts[0] < (real)1e25) return parts[0];
    for (long row = 0; row < rows; row++) {
        const Carry at = carry_at(all, lane, row);
        for (long c = 0; c < k; c++)
            for (long i = 0; i < cols; i++) total += (double)at.w[c * at.w_by.component + i] * at.w[c * at.w_by.component + i];
    }
    return total;
}

RTRL_FLATTEN void carry_lanes(const long lanes, const long k, long rows, long cols, const Carry *all, long lane, real *g,
                              long ldg, double *squares, long ldsquares) {
    Vec sums[4 * CARRY_VECS];
    real parts[CARRY_BLOCK];
    EACH(s, lanes * CARRY_VECS) sums[s] = (Vec){0};
    Carry at = carry_at(all, lane, 0);
    for (long row = 0; row < rows; row++, g += ldg) {
        carry_row(lanes, k, cols, &at, g, sums);
        at.w += at.w_by.row, at.T += at.T_by.row, at.d += at.d_by.row, at.e += at.e_by.row;
    }
    EACH(b, lanes) {
        EACH(v, CARRY_VECS) vec_store(parts + v * VEC, sums[b * CARRY_VECS + v]);
        squares[(lane + b) * ldsquares] = carry_total(all, k, rows, cols, lane + b, parts);
    }
}

/* The pass over some rows of every lane; squares[lane * ldsquares] is set. */
RTRL_INLINE void carry(long k, long rows, long cols, long lanes, const Carry *all, real *g, long ldg, double *squares,
                       long ldsquares) {
    long lane = 0;
#define LANES(count, k_)                                                                      \
    for (; k == k_ && cols >= CARRY_BLOCK && lane + count <= lanes; lane += count)            \
        carry_lanes(count, k_, rows, cols, all, lane, g, ldg, squares, ldsquares);
    LANES(CARRY_LANES, 1)
    LANES(1, 1)
    LANES((CARRY_LANES + 1) / 2, 2)
    LANES(1, 2)
#undef LANES
    for (; lane < lanes; lane++) {
        real parts[CARRY_BLOCK] = {0};
        for (long row = 0; row < rows; row++) {
            const Carry at = carry_at(all, lane, row);
            carry_few(k, cols, &at, g + row * ldg, parts);
        }
        squares[lane * ldsquares] = carry_total(all, k, rows, cols, lane, parts);
    }
}

#endif
