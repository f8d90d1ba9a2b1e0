/* Floor 0: products of float32 on the matrix unit of a CPU (x86's AMX), which multiplies bfloat16 and adds in float32.
 *
 *   tiles_reals    room for a left factor [rows, inner], in numbers; 0 where this CPU level or this shape has no use for it
 *   tiles_fill     some of its rows, in pieces
 *   tiles_product  out[rows, PANEL] (+)= left in[inner, PANEL], rows of out any distance apart
 *
 * A float is the sum of three bfloat16, x = x0 + x1 + x2, rounded one after the other, so that |x1| <= 2^-9 |x| and
 * |x2| <= 2^-18 |x|.  Of the nine products of two floats the six with x0 y0, x0 y1, x1 y0, x0 y2, x1 y1, x2 y0 are taken: what is
 * left out is below 2^-26 |x y|, less than the rounding of one product in float32 (Henry, Tang, Heinecke 2019,
 * arXiv:1904.06376).  Six times the work, on a unit that is sixteen times as fast; splitting costs a tenth of it.
 *
 * Left factors lie in [rows / 16][inner / 32][3] tiles [16][32]; a panel in [inner / 32][3][2] tiles [16][16][2], the two
 * numbers that the unit takes at once side by side.  Both are filled up with zeros to whole tiles.
 */
#ifndef RTRL_TILES_H
#define RTRL_TILES_H

#include "simd.h"

#if RTRL_TILES

#define TILE 512L          /* bfloat16 in a tile of 16 rows of 64 bytes */
#define PIECES 3L
#define INNER_AT_ONCE 256L /* of a panel: its tiles stay in the first cache, or next to it */

RTRL_INLINE long tiles_wide(long inner) { return (inner + 31) / 32; }

/* None for small factors, nor where zeros that fill up tiles would be more than a sixth of the work. */
RTRL_INLINE long tiles_reals(long rows, long inner) {
    const long whole = (rows + 31) / 32 * 32 * tiles_wide(inner) * 32;
    return inner < 48 || 5 * whole > 6 * rows * inner ? 0 : whole * PIECES / 2;
}

/* The first `count` <= 16 numbers from `p` on, and zeros. */
RTRL_FLATTEN Vec tiles_some(const float *p, long count) {
    return (Vec)_mm512_maskz_loadu_ps(count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1), p);
}

/* The halves of 32 bfloat16 as floats. */
RTRL_FLATTEN __m512 tiles_float(__m256i x) { return (__m512)_mm512_slli_epi32(_mm512_cvtepu16_epi32(x), 16); }

/* Numbers between the tiles of rows and of those 16 rows further on. */
RTRL_INLINE long tiles_step(long inner) { return tiles_wide(inner) * PIECES * TILE / 2; }

/* Rows [first, last) of a left factor, A its row `first`; those beyond it belong to the last row. */
RTRL_INLINE void tiles_fill(long rows, long inner, long first, long last, const real *A, long lda, real *room) {
    const long wide = tiles_wide(inner), end = last == rows ? (rows + 31) / 32 * 32 : last;
    for (long i = first; i < end; i++)
        for (long b = 0; b < wide; b++) {
            uint16_t *tile = (uint16_t *)room + (i / 16 * wide + b) * PIECES * TILE + i % 16 * 32;
            const float *a = A + (i - first) * lda + b * 32;
            __m512 x = (__m512)tiles_some(a, i < rows ? inner - b * 32 : 0);
            __m512 y = (__m512)tiles_some(a + 16, i < rows ? inner - b * 32 - 16 : 0);
            EACH(piece, PIECES) {
                const __m512i both = (__m512i)_mm512_cvtne2ps_pbh(y, x);
                _mm512_store_si512(tile + piece * TILE, both);
                x = _mm512_sub_ps(x, tiles_float(_mm512_castsi512_si256(both)));
                y = _mm512_sub_ps(y, tiles_float(_mm512_extracti64x4_epi64(both, 1)));
            }
        }
}

/* Rows of a panel.  Rounding adds half a unit to the magnitude; what it adds too much, the next piece takes back. */
RTRL_INLINE void tiles_of_panel(long inner, const real *in, uint16_t *tiles) {
    const __m512i half = _mm512_set1_epi32(0x8000), upper = _mm512_set1_epi32((int)0xffff0000);
    for (long k = 0; k < tiles_wide(inner) * 32; k += 2) EACH(c, 2) {
        uint16_t *tile = tiles + (k / 32 * PIECES * 2 + c) * TILE + k % 32 / 2 * 32;
        const float *p = in + k * PANEL + c * 16;
        __m512 x = (__m512)tiles_some(p, k < inner ? 16 : 0), y = (__m512)tiles_some(p + PANEL, k + 1 < inner ? 16 : 0);
        EACH(piece, PIECES) {
            const __m512i a = _mm512_and_si512(_mm512_add_epi32((__m512i)x, half), upper);
            const __m512i b = _mm512_and_si512(_mm512_add_epi32((__m512i)y, half), upper);
            _mm512_store_si512(tile + piece * 2 * TILE, _mm512_or_si512(_mm512_srli_epi32(a, 16), b));
            x = _mm512_sub_ps(x, (__m512)a);
            y = _mm512_sub_ps(y, (__m512)b);
        }
    }
}

/* 32 rows of out, while as many from `next` on come from memory: registers 0 to 3 sum, 4 and 5 hold a piece of the left factor, 6 and 7 of the panel. */
RTRL_FLATTEN void tiles_rows(long wide, long ldl, const uint16_t *left, const uint16_t *panel, int fresh, float *out,
                             long ldo, const float *next) {
#define TILES_OUT(take) take(0, 0, 0) take(1, 0, 16) take(2, 16, 0) take(3, 16, 16)
#define TILES_ZERO(t, i, c) _tile_zero(t);
#define TILES_TAKE(t, i, c) _tile_loadd(t, out + i * ldo + c, ldo * 4);
#define TILES_KEEP(t, i, c) _tile_stored(t, out + i * ldo + c, ldo * 4);
#define TILES_LEFT(piece) _tile_loadd(4, left + piece * TILE, 64); _tile_loadd(5, left + ldl + piece * TILE, 64);
#define TILES_PANEL(piece) _tile_loadd(6, panel + piece * 2 * TILE, 64); _tile_loadd(7, panel + (piece * 2 + 1) * TILE, 64);
#define TILES_ADD _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    if (fresh) { TILES_OUT(TILES_ZERO) } else { TILES_OUT(TILES_TAKE) }
    for (long b = 0; b < wide; b++, left += PIECES * TILE, panel += PIECES * 2 * TILE) {
        for (long line = 64 * b / wide; line < 64 * (b + 1) / wide; line++) soon_needed(next + line * 16, 16, 0);
        TILES_PANEL(2) TILES_LEFT(0) TILES_ADD
        TILES_PANEL(1) TILES_ADD
        TILES_LEFT(1) TILES_ADD
        TILES_PANEL(0) TILES_ADD
        TILES_LEFT(0) TILES_ADD
        TILES_LEFT(2) TILES_ADD
    }
    TILES_OUT(TILES_KEEP)
}

RTRL_INLINE void tiles_product(long rows, long inner, const real *left, const real *in, real *out, long ldo, int accumulate,
                               const real *next) {
    uint16_t panel[INNER_AT_ONCE / 32 * PIECES * 2 * TILE] __attribute__((aligned(64)));
    float last[32 * PANEL] __attribute__((aligned(64)));
    const long ldl = tiles_wide(inner) * PIECES * TILE;
    for (long k = 0; k < inner; k += INNER_AT_ONCE) {
        const long some = inner - k < INNER_AT_ONCE ? inner - k : INNER_AT_ONCE;
        const int fresh = k == 0 && !accumulate;
        const uint16_t *pieces = (const uint16_t *)left + k / 32 * PIECES * TILE;
        tiles_of_panel(some, in + k * PANEL, panel);
        for (long i = 0; i < rows; i += 32, pieces += 2 * ldl) {
            const int whole = rows - i >= 32;
            float *target = whole ? out + i * ldo : last;
            for (long j = i; j < rows && !whole && !fresh; j++) memcpy(last + (j - i) * PANEL, out + j * ldo, PANEL * sizeof(float));
            __asm__ volatile("" ::: "memory"); /* the compiler does not know what the unit reads */
            tiles_rows(tiles_wide(some), ldl, pieces, panel, fresh, target, whole ? ldo : PANEL, next + i * PANEL);
            for (long j = i; j < rows && !whole; j++) memcpy(out + j * ldo, last + (j - i) * PANEL, PANEL * sizeof(float));
        }
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
