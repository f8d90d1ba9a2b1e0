/* Floor 0: products of float32 on the matrix unit of a CPU (x86's AMX), which multiplies bfloat16 and adds in float32.
 *
 *   tiles_reals    room for a left factor [rows, inner], in numbers; 0 where this CPU level or this shape has no use for it
 *   tiles_fill     some of its rows, in pieces
 *   tiles_product  out[rows, PANEL] (+)= left in[inner, PANEL], rows of out any distance apart
 *
 * (Other products of such factors: tiled.h.)
 *
 * A float is the sum of three bfloat16, x = x0 + x1 + x2, rounded one after the other, so that |x1| <= 2^-9 |x| and
 * |x2| <= 2^-18 |x|.  Of the nine products of two floats the six with x0 y0, x0 y1, x1 y0, x0 y2, x1 y1, x2 y0 are taken: what is
 * left out is below 2^-26 |x y|, less than the rounding of one product in float32 (Henry, Tang, Heinecke 2019,
 * arXiv:1904.06376).  Six times the work, on a unit that is sixteen times as fast; splitting costs a tenth of it.
 *
 * Left factors lie in [rows / 16][inner / 32][3] tiles [16][32], right ones in [cols / 16][inner / 32][3] tiles [16][16][2], the
 * two numbers that the unit takes at once side by side.  Both are filled up with zeros to whole tiles.
 */
#ifndef RTRL_TILES_H
#define RTRL_TILES_H

#include "simd.h"

#if RTRL_TILES

#define TILE 512L          /* bfloat16 in a tile of 16 rows of 64 bytes */
#define PIECES 3L
#define INNER_AT_ONCE 256L /* of a panel: its tiles stay in the first cache, or next to it */

RTRL_INLINE long tiles_wide(long inner) { return (inner + 31) / 32; }

RTRL_INLINE long tiles_room(long rows, long inner) { return (rows + 31) / 32 * 32 * tiles_wide(inner) * 32 * PIECES / 2; }

/* None for small factors, nor where zeros that fill up tiles would be more than a sixth of the work. */
RTRL_INLINE long tiles_reals(long rows, long inner) {
    const long room = tiles_room(rows, inner);
    return inner < 48 || 5 * room > 6 * rows * inner * PIECES / 2 ? 0 : room;
}

/* The halves of 32 bfloat16 as floats. */
RTRL_FLATTEN __m512 tiles_float(__m256i x) { return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16); }

/* Numbers between the tiles of rows and of those 16 rows further on. */
RTRL_INLINE long tiles_step(long inner) { return tiles_wide(inner) * PIECES * TILE / 2; }

/* One row of a left factor, `wide` tiles of it. */
RTRL_FLATTEN void tiles_row(long inner, long wide, const float *a, uint16_t *tile) {
    for (long b = 0; b < wide; b++, tile += PIECES * TILE, a += 32) {
        __m512 x = (__m512)vec_some(a, inner - b * 32), y = (__m512)vec_some(a + 16, inner - b * 32 - 16);
        EACH(piece, PIECES) {
            const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(y, x);
            _mm512_store_si512(tile + piece * TILE, both);
            x = _mm512_sub_ps(x, tiles_float(_mm512_castsi512_si256(both)));
            y = _mm512_sub_ps(y, tiles_float(_mm512_extracti64x4_epi64(both, 1)));
        }
    }
}

/* Rows [first, last) of a left factor, A its row `first`; those beyond it belong to the last row. */
RTRL_INLINE void tiles_fill(long rows, long inner, long first, long last, const real *A, long lda, real *room) {
    const long wide = tiles_wide(inner), end = last == rows ? (rows + 31) / 32 * 32 : last;
    for (long i = first; i < end; i++)
        tiles_row(i < rows ? inner : 0, wide, A + (i - first) * lda, (uint16_t *)room + i / 16 * wide * PIECES * TILE + i % 16 * 32);
}

/* Two rows of 16 numbers, the two of a column side by side, in pieces.  Rounding adds half a unit to the magnitude; what it adds
 * too much, the next piece takes back. */
RTRL_FLATTEN void tiles_pairs(__m512 x, __m512 y, __m512i *pairs) {
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32((int)0xffff0000);
    EACH(piece, PIECES) {
        const __m512i a = _mm512_and_si512(_mm512_add_epi32((__m512i)x, half), upper);
        const __m512i b = _mm512_and_si512(_mm512_add_epi32((__m512i)y, half), upper);
        pairs[piece] = _mm512_or_si512(_mm512_srli_epi32(a, 16), b);
        x = _mm512_sub_ps(x, (__m512)a);
        y = _mm512_sub_ps(y, (__m512)b);
    }
}

/* 16 columns of a right factor, or less; its pieces lie `apart`, its rows 32 at a time three times as far. */
RTRL_INLINE void tiles_columns(long inner, long cols, const real *in, long ldi, uint16_t *tiles, long apart) {
    for (long k = 0; k < tiles_wide(inner) * 32; k += 2) {
        uint16_t *tile = tiles + k / 32 * PIECES * apart + k % 32 / 2 * 32;
        const float *p = in + k * ldi;
        __m512i pairs[PIECES];
        tiles_pairs((__m512)vec_some(p, k < inner ? cols : 0), (__m512)vec_some(p + ldi, k + 1 < inner ? cols : 0), pairs);
        EACH(piece, PIECES) _mm512_store_si512(tile + piece * apart, pairs[piece]);
    }
}

/* 32 rows and columns of out, while as many rows of a panel from `next` on come from memory (NULL: none do): registers 0 to 3 sum,
 * 4 and 5 hold a piece of the left factor, 6 and 7 of the right one. */
RTRL_FLATTEN void tiles_rows(long wide, long ldl, const uint16_t *left, long ldr, const uint16_t *right, int fresh, float *out,
                             long ldo, const float *next) {
#define TILES_OUT(take) take(0, 0, 0) take(1, 0, 16) take(2, 16, 0) take(3, 16, 16)
#define TILES_ZERO(t, i, c) _tile_zero(t);
#define TILES_TAKE(t, i, c) _tile_loadd(t, out + i * ldo + c, ldo * 4);
#define TILES_KEEP(t, i, c) _tile_stored(t, out + i * ldo + c, ldo * 4);
#define TILES_LEFT(piece) _tile_loadd(4, left + piece * TILE, 64); _tile_loadd(5, left + ldl + piece * TILE, 64);
#define TILES_RIGHT(piece) _tile_loadd(6, right + piece * TILE, 64); _tile_loadd(7, right + ldr + piece * TILE, 64);
#define TILES_ADD _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    if (fresh) { TILES_OUT(TILES_ZERO) } else { TILES_OUT(TILES_TAKE) }
    for (long b = 0; b < wide; b++, left += PIECES * TILE, right += PIECES * TILE) {
        for (long line = 64 * b / wide; next && line < 64 * (b + 1) / wide; line++) soon_needed(next + line * 16, 16, 0);
        TILES_RIGHT(2) TILES_LEFT(0) TILES_ADD
        TILES_RIGHT(1) TILES_ADD
        TILES_LEFT(1) TILES_ADD
        TILES_RIGHT(0) TILES_ADD
        TILES_LEFT(0) TILES_ADD
        TILES_LEFT(2) TILES_ADD
    }
    TILES_OUT(TILES_KEEP)
}

/* The same for a block of fewer rows or columns. */
RTRL_INLINE void tiles_block(long rows, long cols, long wide, long ldl, const uint16_t *left, long ldr, const uint16_t *right, int fresh,
                             real *out, long ldo, const real *next) {
    float last[32 * 32] __attribute__((aligned(64)));
    const int whole = rows >= 32 && cols >= 32;
    const long some = (cols < 32 ? cols : 32) * (long)sizeof(real);
    for (long j = 0; j < 32 && j < rows && !whole && !fresh; j++) memcpy(last + j * 32, out + j * ldo, some);
    __asm__ volatile("" ::: "memory"); /* the compiler does not know what the unit reads */
    tiles_rows(wide, ldl, left, ldr, right, fresh, whole ? out : last, whole ? ldo : 32, next);
    for (long j = 0; j < 32 && j < rows && !whole; j++) memcpy(out + j * ldo, last + j * 32, some);
}

RTRL_INLINE void tiles_product(long rows, long inner, const real *left, const real *in, real *out, long ldo, int accumulate,
                               const real *next) {
    uint16_t panel[INNER_AT_ONCE / 32 * PIECES * 2 * TILE] __attribute__((aligned(64)));
    const long ldl = tiles_wide(inner) * PIECES * TILE;
    for (long k = 0; k < inner; k += INNER_AT_ONCE) {
        const long some = inner - k < INNER_AT_ONCE ? inner - k : INNER_AT_ONCE, ldr = tiles_wide(some) * PIECES * TILE;
        const uint16_t *pieces = (const uint16_t *)left + k / 32 * PIECES * TILE;
        for (long c = 0; c < 2; c++) tiles_columns(some, 16, in + k * PANEL + c * 16, PANEL, panel + c * ldr, TILE);
        for (long i = 0; i < rows; i += 32, pieces += 2 * ldl)
            tiles_block(rows - i, PANEL, tiles_wide(some), ldl, pieces, ldr, panel, k == 0 && !accumulate, out + i * ldo, ldo,
                        next + i * PANEL);
    }
}

#else

RTRL_INLINE long tiles_reals(long rows, long inner) { return (void)rows, (void)inner, 0; }
RTRL_INLINE long tiles_step(long inner) { return (void)inner, 0; }
RTRL_INLINE void tiles_fill(long rows, long inner, long first, long last, const real *A, long lda, real *room) {
    (void)rows, (void)inner, (void)first, (void)last, (void)A, (void)lda, (void)room;
}
RTRL_INLINE void tiles_product(long rows, long inner, const real *left, const real *in, real *out, long ldo, int accumulate,
                               const real *next) {
    (void)rows, (void)inner, (void)left, (void)in, (void)out, (void)ldo, (void)accumulate, (void)next;
}

#endif
#endif
