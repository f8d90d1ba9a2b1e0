/* Floor 1: inner products of many long vectors, some columns at a time, in double whatever `real` is.
 *
 *   gram_load        room[row, q] = x[row, q]
 *   gram_scale       room[row, q] (+)= x[row, q] d[q]
 *   gram_solve       X <- R'^-1 X                     combinations of the vectors, R upper triangular
 *   gram_triangle    sums[x, y, q] += sum_row X[row, x, q] X[row, y, q]      x <= y
 *   gram_rectangle   sums[x, y, q] += sum_row X[row, x, q] Y[row, y, q]
 *   gram_weights     weights[q] = sum_a x[a, q] y[a, q]
 *   gram_weighted    sum_q sums[q] weights[q]                 gram_total       sum_q sums[q]
 *
 * `room` holds some rows of every vector, [rows, vectors, GRAM_COLUMNS], in the first cache.  Columns are not summed, so
 * that they may be weighed at the end: inner products of P D for all D come from those of the columns of P.
 *
 * Law: a sum goes through its rows in their order, whatever tile it fell into.
 */
#ifndef RTRL_GRAM_H
#define RTRL_GRAM_H

#include "simd.h"

#define GRAM_COLUMNS 16L
#define GRAM_ROOM 2560L /* numbers: 20 KiB, so that what is read has room beside it */
#define GRAM_TILE (REGISTERS > 16 ? 4 : 2)

/* Rows of `vectors` vectors that are held at a time, of `all`. */
RTRL_INLINE long gram_rows(long vectors, long all) {
    const long fit = GRAM_ROOM / ((vectors + (vectors == 0)) * GRAM_COLUMNS), rows = fit > 4 ? fit : 4;
    return rows < all ? rows : all;
}

/* The rows that follow are asked for: they come next, from far away. */
RTRL_INLINE void gram_load(long rows, long width, const real *RTRL_RESTRICT x, long ldx, double *RTRL_RESTRICT room, long step) {
    for (long row = 0; row < rows; row++, x += ldx, room += step) {
        RTRL_PREFETCH(x + rows * ldx);
        if (width == GRAM_COLUMNS)
            RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++) room[q] = x[q];
        else
            for (long q = 0; q < width; q++) room[q] = x[q];
    }
}

RTRL_INLINE void gram_scale(long rows, long width, const real *RTRL_RESTRICT x, long ldx, const double *RTRL_RESTRICT d,
                            int accumulate, double *RTRL_RESTRICT room, long step) {
    for (long row = 0; row < rows; row++, x += ldx, room += step) {
        RTRL_PREFETCH(x + rows * ldx);
        if (width == GRAM_COLUMNS)
            RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++) room[q] = RTRL_FMA((double)x[q], d[q], accumulate ? room[q] : 0);
        else
            for (long q = 0; q < width; q++) room[q] = RTRL_FMA((double)x[q], d[q], accumulate ? room[q] : 0);
    }
}

/* Where R has 0 on its diagonal, the vector becomes 0. */
RTRL_INLINE void gram_solve(long count, long rows, const double *RTRL_RESTRICT R, double *room) {
    for (long row = 0; row < rows; row++, room += count * GRAM_COLUMNS)
        for (long j = 0; j < count; j++) {
            const double inverse = R[j * count + j] > 0 ? 1 / R[j * count + j] : 0;
            double *x = room + j * GRAM_COLUMNS;
            for (long l = 0; l < j; l++) {
                const double along = R[l * count + j], *y = room + l * GRAM_COLUMNS;
                RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++) x[q] -= along * y[q];
            }
            RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++) x[q] *= inverse;
        }
}

/* A constant number of vectors against another; of a triangle X is Y, and only x <= y is wanted. */
RTRL_FLATTEN void gram_tile(const long nx, const long ny, const int triangle, long rows, const double *X, const double *Y,
                            long step, double *sums, long ld) {
    for (long q = 0; q < GRAM_COLUMNS; q += WIDE) {
        Wide sum[16], y[4];
        EACH(i, nx) EACH(j, ny) sum[i * ny + j] = wide_load(sums + i * ld + j * GRAM_COLUMNS + q);
        for (long row = 0; row < rows; row++) {
            EACH(j, ny) y[j] = wide_load(Y + row * step + j * GRAM_COLUMNS + q);
            EACH(i, nx) {
                const Wide x = wide_load(X + row * step + i * GRAM_COLUMNS + q);
                EACH(j, ny) if (!triangle || i <= j) sum[i * ny + j] = wide_fma(x, y[j], sum[i * ny + j]);
            }
        }
        EACH(i, nx) EACH(j, ny) wide_store(sums + i * ld + j * GRAM_COLUMNS + q, sum[i * ny + j]);
    }
}

/* `step` numbers lie between two rows, `ld` between sums[x] and sums[x + 1]. */
RTRL_INLINE void gram_rectangle(long nx, long ny, long rows, const double *X, const double *Y, long step, double *sums, long ld) {
    long i = 0, j;
#define TILES(across, down)                                                                   \
    for (; across <= GRAM_TILE && j + across <= ny; j += across)                              \
        gram_tile(down, across <= GRAM_TILE ? across : 1, 0, rows, X + i * GRAM_COLUMNS, Y + j * GRAM_COLUMNS, step, \
                  sums + i * ld + j * GRAM_COLUMNS, ld);
#define STRIPS(down)                                                                          \
    for (; down <= GRAM_TILE && i + down <= nx; i += down) {                                  \
        j = 0;                                                                                \
        TILES(4, (down <= GRAM_TILE ? down : 1)) TILES(3, (down <= GRAM_TILE ? down : 1))     \
        TILES(2, (down <= GRAM_TILE ? down : 1)) TILES(1, (down <= GRAM_TILE ? down : 1))     \
    }
    STRIPS(4) STRIPS(3) STRIPS(2) STRIPS(1)
#undef STRIPS
#undef TILES
}

RTRL_INLINE void gram_triangle(long count, long rows, const double *X, long step, double *sums, long ld) {
    long i = 0;
#define STRIPS(down)                                                                          \
    for (; down <= GRAM_TILE && i + down <= count; i += down, X += down * GRAM_COLUMNS) {     \
        gram_tile(down <= GRAM_TILE ? down : 1, down <= GRAM_TILE ? down : 1, 1, rows, X, X, step, sums, ld); \
        gram_rectangle(down, count - i - down, rows, X, X + down * GRAM_COLUMNS, step, sums + down * GRAM_COLUMNS, ld); \
        sums += down * (ld + GRAM_COLUMNS);                                                   \
    }
    STRIPS(4) STRIPS(3) STRIPS(2) STRIPS(1)
#undef STRIPS
}

/* sum_a x[a, q] y[a, q] */
RTRL_INLINE void gram_weights(long maps, const double *RTRL_RESTRICT x, const double *RTRL_RESTRICT y, double *RTRL_RESTRICT weights) {
    RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++) weights[q] = x[q] * y[q];
    for (long a = 1; a < maps; a++)
        RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++)
            weights[q] = RTRL_FMA(x[a * GRAM_COLUMNS + q], y[a * GRAM_COLUMNS + q], weights[q]);
}

RTRL_INLINE double gram_total(const double *sums) {
    double part[GRAM_COLUMNS];
    memcpy(part, sums, sizeof part);
    for (long half = GRAM_COLUMNS / 2; half > 0; half /= 2)
        for (long q = 0; q < half; q++) part[q] += part[q + half];
    return part[0];
}

RTRL_INLINE double gram_weighted(const double *sums, const double *weights) {
    double part[GRAM_COLUMNS];
    RTRL_SIMD for (long q = 0; q < GRAM_COLUMNS; q++) part[q] = sums[q] * weights[q];
    return gram_total(part);
}

#endif
