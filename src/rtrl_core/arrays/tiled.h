/* Floor 1: the products between weights and lanes on the matrix unit of a CPU (tiles.h), where it has one.
 *
 *   tiled_reals     room for a right factor [inner, cols], in numbers; 0 where this CPU level or this shape has no use for it
 *   tiled_columns   some of its columns, in pieces
 *   tiled_weights   the same for `tiled_pulls`
 *   tiled_outers    G[row, q] += sum_b   Y[b, row] X[b, q]      X the right factor
 *   tiled_pulls     X[b, q]   += sum_row Y[b, row] W[row, q]    W the right factor
 *
 * Law: no bit depends on how columns, rows or lanes were split into calls; what belongs to one lane or row depends on it alone.
 */
#ifndef RTRL_TILED_H
#define RTRL_TILED_H

#include "lanes.h"
#include "tiles.h"

#if RTRL_TILES

#define BESIDE 4L /* tiles of a right factor that meet the same tile of lanes */

RTRL_INLINE long tiled_room(long inner, long cols) { return tiles_room((cols + 63) / 64 * 64, inner); }
/* Below 128 columns splitting costs what the unit wins. */
RTRL_INLINE long tiled_reals(long inner, long cols) { return cols < 128 ? 0 : tiles_reals(cols, inner); }

/* Columns [first, last) of X for `tiled_outers`, first a multiple of 16, and last too or the end. */
RTRL_INLINE void tiled_columns(long inner, long first, long last, const real *X, long ldx, real *room) {
    for (long q = first; q < last; q += 16)
        tiles_columns(inner, last - q, X + q, ldx, (uint16_t *)room + q / 16 * tiles_wide(inner) * PIECES * TILE, TILE);
}

/* The same of W for `tiled_pulls`: [cols / 64][rows / 32][3][4] tiles, which are read from one end to the other. */
RTRL_INLINE void tiled_weights(long rows, long first, long last, const real *W, long ldw, real *room) {
    for (long q = first; q < last; q += 16)
        tiles_columns(rows, last - q, W + q, ldw, (uint16_t *)room + (q / 64 * tiles_wide(rows) * PIECES * BESIDE + q / 16 % BESIDE) * TILE,
                      BESIDE * TILE);
}

/* 16 rows of a left factor, or less, which lie in Y as columns. */
RTRL_INLINE void tiled_turned(long inner, long rows, const real *Y, long ldy, uint16_t *tiles) {
    for (long k = 0; k < inner; k += 32, tiles += PIECES * TILE) {
        Vec pairs[PIECES][16];
        EACH(i, 16) {
            const long at = k + 2 * i;
            __m512i some[PIECES];
            tiles_pairs((__m512)vec_some(Y + at * ldy, at < inner ? rows : 0),
                        (__m512)vec_some(Y + (at + 1) * ldy, at + 1 < inner ? rows : 0), some);
            EACH(piece, PIECES) pairs[piece][i] = (Vec)some[piece];
        }
        EACH(piece, PIECES) {
            transpose(pairs[piece]);
            EACH(i, 16) vec_store((real *)(tiles + piece * TILE + i * 32), pairs[piece][i]);
        }
    }
}

RTRL_INLINE void tiled_outers(long rows, long cols, long lanes, const real *Y, long ldy, const real *tiles, real *G, long ldg) {
    uint16_t left[2 * INNER_AT_ONCE / 32 * PIECES * TILE] __attribute__((aligned(64)));
    const long ldr = tiles_wide(lanes) * PIECES * TILE;
    for (long i = 0; i < rows; i += 32)
        for (long k = 0; k < lanes; k += INNER_AT_ONCE) {
            const long some = lanes - k < INNER_AT_ONCE ? lanes - k : INNER_AT_ONCE, ldl = tiles_wide(some) * PIECES * TILE;
            const uint16_t *right = (const uint16_t *)tiles + k / 32 * PIECES * TILE;
            for (long c = 0; c < 2; c++) tiled_turned(some, rows - i - c * 16, Y + k * ldy + i + c * 16, ldy, left + c * ldl);
            for (long q = 0; q < cols; q += 32)
                tiles_block(rows - i, cols - q, tiles_wide(some), ldl, left, ldr, right + q / 16 * ldr, 0, G + i * ldg + q, ldg, NULL);
        }
}

/* 16 lanes of out and 64 of its columns: registers 0 to 3 sum, 4 holds a piece of the left factor. */
RTRL_FLATTEN void tiled_lanes(long wide, const uint16_t *left, const uint16_t *right, float *out, long ldo) {
#define TILED_OUT(take) take(0) take(1) take(2) take(3)
#define TILED_TAKE(c) _tile_loadd(c, out + c * 16, ldo * 4);
#define TILED_KEEP(c) _tile_stored(c, out + c * 16, ldo * 4);
#define TILED_LEFT(piece) _tile_loadd(4, left + piece * TILE, 64);
#define TILED_TERM(c, piece, t) _tile_loadd(t, right + (piece * BESIDE + c) * TILE, 64); _tile_dpbf16ps(c, 4, t);
#define TILED_ADD(piece, t, u, v) TILED_TERM(0, piece, t) TILED_TERM(1, piece, u) TILED_TERM(2, piece, v) TILED_TERM(3, piece, t)
    TILED_OUT(TILED_TAKE)
    for (long b = 0; b < wide; b++, left += PIECES * TILE, right += PIECES * BESIDE * TILE) {
        TILED_LEFT(0) TILED_ADD(2, 5, 6, 7) TILED_ADD(1, 6, 7, 5)
        TILED_LEFT(1) TILED_ADD(1, 7, 5, 6) TILED_ADD(0, 5, 6, 7)
        TILED_LEFT(0) TILED_ADD(0, 6, 7, 5)
        TILED_LEFT(2) TILED_ADD(0, 7, 5, 6)
    }
    TILED_OUT(TILED_KEEP)
}

/* Columns [first, last) of W, as above. */
RTRL_INLINE void tiled_pulls(long rows, long first, long last, long lanes, const real *tiles, const real *Y, long ldy, real *X, long ldx) {
    uint16_t left[INNER_AT_ONCE / 32 * PIECES * TILE] __attribute__((aligned(64)));
    float room[16 * 64] __attribute__((aligned(64)));
    for (long b = 0; b < lanes; b += 16)
        for (long k = 0; k < rows; k += INNER_AT_ONCE) {
            const long count = lanes - b < 16 ? lanes - b : 16, wide = tiles_wide(rows - k < INNER_AT_ONCE ? rows - k : INNER_AT_ONCE);
            for (long i = 0; i < 16; i++) tiles_row(i < count ? rows - k : 0, wide, Y + (b + i) * ldy + k, left + i * 32);
            for (long q = first, end; q < last; q = end) {
                const uint16_t *right = (const uint16_t *)tiles + (q / 64 * tiles_wide(rows) + k / 32) * PIECES * BESIDE * TILE;
                real *out = X + b * ldx + q, *part = room + q % 64;
                end = last < q / 64 * 64 + 64 ? last : q / 64 * 64 + 64;
                const int whole = end - q == 64 && count == 16;
                for (long i = 0; i < count && !whole; i++) memcpy(part + i * 64, out + i * ldx, (end - q) * sizeof(real));
                __asm__ volatile("" ::: "memory"); /* the compiler does not know what the unit reads */
                tiled_lanes(wide, left, right, whole ? out : room, whole ? ldx : 64);
                for (long i = 0; i < count && !whole; i++) memcpy(out + i * ldx, part + i * 64, (end - q) * sizeof(real));
            }
        }
}

#else

RTRL_INLINE long tiled_room(long inner, long cols) { return (void)inner, (void)cols, 0; }
RTRL_INLINE long tiled_reals(long inner, long cols) { return (void)inner, (void)cols, 0; }
RTRL_INLINE void tiled_columns(long inner, long first, long last, const real *X, long ldx, real *room) {
    (void)inner, (void)first, (void)last, (void)X, (void)ldx, (void)room;
}
RTRL_INLINE void tiled_weights(long rows, long first, long last, const real *W, long ldw, real *room) {
    (void)rows, (void)first, (void)last, (void)W, (void)ldw, (void)room;
}
RTRL_INLINE void tiled_outers(long rows, long cols, long lanes, const real *Y, long ldy, const real *tiles, real *G, long ldg) {
    (void)rows, (void)cols, (void)lanes, (void)Y, (void)ldy, (void)tiles, (void)G, (void)ldg;
}
RTRL_INLINE void tiled_pulls(long rows, long first, long last, long lanes, const real *tiles, const real *Y, long ldy, real *X, long ldx) {
    (void)rows, (void)first, (void)last, (void)lanes, (void)tiles, (void)Y, (void)ldy, (void)X, (void)ldx;
}

#endif
#endif
