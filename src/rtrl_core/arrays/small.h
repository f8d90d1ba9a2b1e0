/* Floor 1: dense algebra of a few dozen rows, in double whatever `real` is.
 *
 *   orthonormalise   U = Q R of a few long vectors, rank-revealing
 *   triangle         K = R' R, with a floor under the pivots
 *   jacobi           J M has orthogonal rows (one-sided Jacobi: the singular value decomposition without V)
 *
 * Vectors are rows, matrices row-major and square, R upper triangular.  No row or column is ever divided by 0: what
 * vanishes stays 0.  Gram matrices square the condition number: singular values below 1e-8 of the largest drown.
 * A second pass over the vectors times the inverse of the first R brings them back (CholeskyQR2: Yamamoto et al. 2015,
 * ETNA 44, 306).  One-sided Jacobi: Hestenes 1958, doi:10.1137/0106005; it finds small singular values of graded rows too.
 */
#ifndef RTRL_SMALL_H
#define RTRL_SMALL_H

#include "simd.h"

RTRL_INLINE double dot8(long n, const double *RTRL_RESTRICT x, const double *RTRL_RESTRICT y) {
    double part[8] = {0};
    long i = 0;
    for (; i + 8 <= n; i += 8)
        RTRL_SIMD for (long j = 0; j < 8; j++) part[j] += x[i + j] * y[i + j];
    for (long j = 0; i + j < n; j++) part[j] += x[i + j] * y[i + j];
    return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7]));
}

RTRL_INLINE void axpy8(long n, double alpha, const double *RTRL_RESTRICT x, double *RTRL_RESTRICT y) {
    RTRL_SIMD for (long i = 0; i < n; i++) y[i] += alpha * x[i];
}

/* Row j of Q [count, length] becomes its unit part orthogonal to the rows before it, or 0 where it is a combination
 * of them to rounding; old row j = sum_i R[i, j] Q[i].  Two rounds of Gram-Schmidt are enough. */
RTRL_INLINE void orthonormalise(long count, long length, double *Q, double *R) {
    memset(R, 0, (size_t)(count * count) * sizeof(double));
    for (long j = 0; j < count; j++) {
        double *q = Q + j * length, before = sqrt(dot8(length, q, q)), norm;
        for (int round = 0; round < 2; round++)
            for (long i = 0; i < j; i++) {
                const double along = dot8(length, Q + i * length, q);
                axpy8(length, -along, Q + i * length, q);
                R[i * count + j] += along;
            }
        norm = sqrt(dot8(length, q, q));
        if (norm <= 1e-14 * before) norm = 0;
        R[j * count + j] = norm;
        for (long p = 0; p < length; p++) q[p] = norm > 0 ? q[p] / norm : 0;
    }
}

/* K = R' R for K [count, count] known above its diagonal.  Rows are scaled to 1 first, and a pivot that
 * is smaller than the rounding of K takes the size of that rounding, so that R can be inverted. */
RTRL_INLINE void triangle(long count, const double *K, double *R) {
    memset(R, 0, (size_t)(count * count) * sizeof(double));
    for (long j = 0; j < count; j++) {
        const double size = sqrt(K[j * count + j]);
        double pivot = 1;
        if (size == 0) continue;
        for (long i = 0; i < j; i++) {
            double sum = R[i * count + i] > 0 ? K[i * count + j] / size : 0;
            for (long p = 0; p < i; p++) sum -= R[p * count + i] * R[p * count + j];
            R[i * count + j] = R[i * count + i] > 0 ? sum / R[i * count + i] : 0;
            pivot -= R[i * count + j] * R[i * count + j];
        }
        if (pivot < 1e-15 * (double)(count + 1)) pivot = 1e-15 * (double)(count + 1);
        for (long i = 0; i < j; i++) R[i * count + j] *= size;
        R[j * count + j] = sqrt(pivot) * size;
    }
}

/* R <- S R for upper triangles. */
RTRL_INLINE void triangle_product(long count, const double *S, double *R) {
    for (long i = 0; i < count; i++)
        for (long j = i; j < count; j++) {
            double sum = 0;
            for (long p = i; p <= j; p++) sum += S[i * count + p] * R[p * count + j];
            R[i * count + j] = sum;
        }
}

/* Rotate pairs of rows of M [count, count] until all are orthogonal; J is the orthogonal matrix that does it. */
RTRL_INLINE void jacobi(long count, double *M, double *J) {
    memset(J, 0, (size_t)(count * count) * sizeof(double));
    double nothing = 0; /* squares of rows that are rounding beside the others */
    for (long i = 0; i < count; i++) J[i * count + i] = 1, nothing += 1e-32 * dot8(count, M + i * count, M + i * count);
    for (int sweep = 0; sweep < 40; sweep++) {
        int rotated = 0;
        for (long i = 0; i + 1 < count; i++)
            for (long j = i + 1; j < count; j++) {
                double *x = M + i * count, *y = M + j * count;
                const double xx = dot8(count, x, x), yy = dot8(count, y, y), xy = dot8(count, x, y);
                if (xx <= nothing || yy <= nothing || fabs(xy) <= 2e-15 * sqrt(xx) * sqrt(yy)) continue;
                const double half = (yy - xx) / (2 * xy);
                const double tangent = (half >= 0 ? 1 : -1) / (fabs(half) + sqrt(1 + half * half));
                const double cosine = 1 / sqrt(1 + tangent * tangent), sine = cosine * tangent;
                for (int which = 0; which < 2; which++) {
                    double *a = which ? J + i * count : x, *b = which ? J + j * count : y;
                    for (long p = 0; p < count; p++) {
                        const double old = a[p];
                        a[p] = cosine * old - sine * b[p];
                        b[p] = sine * old + cosine * b[p];
                    }
                }
                rotated = 1;
            }
        if (!rotated) break;
    }
}

#endif
