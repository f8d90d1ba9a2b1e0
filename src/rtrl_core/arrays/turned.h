/* Floor 1: products of many lanes with weights that were transposed before, for weights that stay as they are for a while.
 *
 *   turn          T = W^T, in panels                                      [cols of W, rows of W]
 *   turned_pick   Z[b, row]  = W[row, last] + W[row, pick_b]              z = W [one-hot ; 1]
 *   turned_dots   Z[b, row] += sum_q  W[row, q] X[b, q]                   z = W h_hat
 *   turned_put    T += sum_b  Y[b, row] [one-hot ; 1]                     the gradient of those columns ...
 *   turn_back     G += T^T,  T = 0                                        ... to the others
 *
 * A panel holds BAND rows of W: T[row / BAND][q][row % BAND], so that a tile reads it from one end to the other, and meets
 * as many lanes with every vector of it as registers allow.  Without it (dots.h) every number of W is read for itself.
 *
 * Law: the same sums as those of `dots`, bit by bit, of a block of lanes.
 */
#ifndef RTRL_TURNED_H
#define RTRL_TURNED_H

#include "lanes.h"

#define TILE_LANES (REGISTERS > 16 ? 8 : 4)
#define BAND_VECS (REGISTERS / (TILE_LANES + 1))
#define BAND (BAND_VECS * VEC)

RTRL_INLINE long turned_size(long rows, long cols) { return ((rows + BAND - 1) / BAND * cols + 1) * BAND; }
RTRL_INLINE long turned_place(long cols, long row, long q) { return (row / BAND * cols + q) * BAND + row % BAND; }

/* Rows [first, last) of W [., cols]. */
RTRL_INLINE void turn(long first, long last, long cols, const real *W, long ldw, real *T) {
    for (long row = first; row < last;) {
        const long whole = row % VEC == 0 && row + VEC <= last ? VEC : 1;
        real *t = T + turned_place(cols, row, 0);
        long q = 0;
        for (; whole > 1 && q + VEC <= cols; q += VEC) {
            Vec w[VEC_LENGTH];
            EACH(i, VEC) w[i] = vec_load(W + (row + i) * ldw + q);
            transpose(w);
            EACH(j, VEC) vec_store(t + (q + j) * BAND, w[j]);
        }
        for (; q < cols; q++)
            for (long i = 0; i < whole; i++) t[q * BAND + i] = W[(row + i) * ldw + q];
        row += whole;
    }
}

/* The pieces of [first, last) that lie in one panel: `count` rows from `row` on. */
#define PIECE_OF(row, last) ((last) - (row) < BAND - (row) % BAND ? (last) - (row) : BAND - (row) % BAND)
#define EACH_PIECE for (long row = first, count; row < last && (count = PIECE_OF(row, last)) > 0; row += count)

/* `pick` may be NULL, or negative for a lane that picks nothing. */
RTRL_INLINE void turned_pick(long first, long last, long cols, long lanes, const real *T, long from, const int32_t *pick,
                             real *Z, long ldz) {
    EACH_PIECE {
        const real *t = T + turned_place(cols, row, 0), *bias = t + (cols - 1) * BAND;
        for (long b = 0; b < lanes; b++) {
            real *z = Z + b * ldz + row;
            if (pick && pick[b] >= 0) {
                const real *column = t + (from + pick[b]) * BAND;
                for (long i = 0; i < count; i++) z[i] = bias[i] + column[i];
            } else
                memcpy(z, bias, count * sizeof(real));
        }
    }
}

/* The same columns of a gradient, in panels of their own: a lane is one addition to a row, and one to that of the 1. */
RTRL_FLATTEN void put_tile(const long vecs, long lanes, const real *Y, long ldy, const int32_t *pick, real *T, real *bias) {
    Vec sum[8];
    EACH(v, vecs) sum[v] = vec_load(bias + v * VEC);
    for (long b = 0; b < lanes; b++, Y += ldy) {
        EACH(v, vecs) sum[v] += vec_load(Y + v * VEC);
        if (!pick || pick[b] < 0) continue;
        EACH(v, vecs) vec_store(T + pick[b] * BAND + v * VEC, vec_load(T + pick[b] * BAND + v * VEC) + vec_load(Y + v * VEC));
    }
    EACH(v, vecs) vec_store(bias + v * VEC, sum[v]);
}

RTRL_INLINE void turned_put(long first, long last, long cols, long lanes, const real *Y, long ldy, const int32_t *pick, real *T) {
    EACH_PIECE {
        real *t = T + turned_place(cols, row, 0), *bias = t + (cols - 1) * BAND;
        const real *y = Y + row;
        if (count == BAND) put_tile(BAND_VECS, lanes, y, ldy, pick, t, bias);
        for (long b = 0; count < BAND && b < lanes; b++, y += ldy)
            for (long i = 0; i < count; i++) {
                bias[i] += y[i];
                if (pick && pick[b] >= 0) t[pick[b] * BAND + i] += y[i];
            }
    }
}

RTRL_INLINE void turn_back(long first, long last, long cols, real *T, real *G, long ldg) {
    for (long row = first; row < last;) {
        const long whole = row % VEC == 0 && row + VEC <= last ? VEC : 1;
        real *t = T + turned_place(cols, row, 0), *g = G + row * ldg;
        long q = 0;
        for (; whole > 1 && q + VEC <= cols; q += VEC) {
            Vec some[VEC_LENGTH];
            EACH(j, VEC) some[j] = vec_load(t + (q + j) * BAND);
            transpose(some);
            EACH(i, VEC) vec_store(g + i * ldg + q, vec_load(g + i * ldg + q) + some[i]);
        }
        for (; q < cols; q++)
            for (long i = 0; i < whole; i++) g[i * ldg + q] += t[q * BAND + i];
        for (q = 0; q < cols; q++) memset(t + q * BAND, 0, whole * sizeof(real));
        row += whole;
    }
}

/* Z[lanes, width] += sum over k of turned[k, lanes] T[k, width], a constant number of lanes and of vectors. */
RTRL_FLATTEN void turned_tile(const long lanes, const long vecs, long width, long inner, const real *turned, const real *T,
                              real *Z, long ldz) {
    Vec sum[REGISTERS], t[8];
    EACH(s, lanes * vecs) sum[s] = (Vec){0};
#define TERM(k)                                                                               \
    {                                                                                         \
        EACH(v, vecs) t[v] = vec_load(T + (k)*BAND + v * VEC);                                \
        EACH(b, lanes) {                                                                      \
            const Vec x = vec_of(turned[(k)*LANE_BLOCK + b]);                                 \
            EACH(v, vecs) sum[b * vecs + v] = vec_fma(x, t[v], sum[b * vecs + v]);            \
        }                                                                                     \
    }
    long k = 1;
    for (; k < inner; k += 2, turned += 2 * LANE_BLOCK, T += 2 * BAND) {
        TERM(0)
        TERM(1)
    }
    if (k == inner) TERM(0)
#undef TERM
    EACH(b, lanes) EACH(v, vecs) {
        real *z = Z + b * ldz + v * VEC, some[VEC_LENGTH];
        if ((v + 1) * VEC <= width) {
            vec_store(z, vec_load(z) + sum[b * vecs + v]);
        } else {
            vec_store(some, sum[b * vecs + v]);
            for (long i = 0; i < width - v * VEC; i++) z[i] += some[i];
        }
    }
}

/* Columns [from, from + inner) of W, for rows [first, last) and a block of lanes. */
RTRL_INLINE void turned_dots(long first, long last, long cols, long from, long inner, long lanes, const real *T, const real *X,
                              long ldx, real *Z, long ldz) {
    real turned[DEPTH * LANE_BLOCK], spare[TILE_LANES * BAND];
    for (long begun = 0; begun < inner; begun += DEPTH) {
        const long depth = inner - begun < DEPTH ? inner - begun : DEPTH;
        turn_lanes(depth, lanes, X + begun, ldx, turned);
        EACH_PIECE {
            const real *t = T + turned_place(cols, row, from + begun);
            for (long b = 0; b < lanes; b += TILE_LANES) {
                const int full = b + TILE_LANES <= lanes;
                real *z = full ? Z + b * ldz + row : spare;
                const long ld = full ? ldz : BAND;
                if (!full)
                    for (long c = b; c < lanes; c++) memcpy(spare + (c - b) * BAND, Z + c * ldz + row, count * sizeof(real));
#define TILES(vecs) if (vecs <= BAND_VECS && count <= vecs * VEC) turned_tile(TILE_LANES, vecs, count, depth, turned + b, t, z, ld)
                TILES(1); else TILES(2); else TILES(3);
#undef TILES
                if (!full)
                    for (long c = b; c < lanes; c++) memcpy(Z + c * ldz + row, spare + (c - b) * BAND, count * sizeof(real));
            }
        }
    }
}

#undef EACH_PIECE
#undef PIECE_OF

#endif
