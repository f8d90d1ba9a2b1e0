# Floor 1: what Cython needs to know of the array kernels (dots.h, turned.h, products.h, panels.h, tiled.h, carry.h, blocks.h,
# functions.h, descents.h, vectors.h, gram.h, small.h).
cdef extern from "lanes.h" nogil:
    const long LANE_BLOCK
    const long LANES_BLOCK_FROM

cdef extern from "dots.h" nogil:
    void dots(long rows, long cols, long lanes, const real *W, long ldw, const real *X, long ldx, real *Z, long ldz)
    void few_dots(long rows, long cols, long lanes, const real *W, long ldw, const real *X, long ldx, real *Z, long ldz)
    void panel_dots(long rows, long panels, const real *A, long apart, const real *x, real *z)

cdef extern from "turned.h" nogil:
    long turned_size(long rows, long cols)
    void turn(long first, long last, long cols, const real *W, long ldw, real *T)
    void turned_pick(long first, long last, long cols, long lanes, const real *T, long begin, const int32_t *pick, real *Z, long ldz)
    void turned_put(long first, long last, long cols, long lanes, const real *Y, long ldy, const int32_t *pick, real *T)
    void turn_back(long first, long last, long cols, real *T, real *G, long ldg)
    void turned_dots(long first, long last, long cols, long begin, long inner, long lanes, const real *T, const real *X,
                     long ldx, real *Z, long ldz)

cdef extern from "products.h" nogil:
    void pulls(long rows, long cols, long lanes, const real *W, long ldw, const real *Y, long ldy, real *X, long ldx)
    void outers(long rows, long cols, long lanes, const real *Y, long ldy, const real *X, long ldx, real *G, long ldg)
    void scaled_rows(long rows, long cols, long maps, const real *d, long step, const real *W, long ldw, real *H)
    void outers_anew(long rows, long cols, long lanes, const real *Y, long ldy, const real *X, long ldx, real *G, long ldg)
    void mixes(long rows, long inner, long cols, const real *M, long ldm, const real *X, long ldx, real *Y, long ldy)

cdef extern from "tiled.h" nogil:
    long tiled_reals(long inner, long cols)
    long tiled_room(long inner, long cols)
    void tiled_columns(long inner, long first, long last, const real *X, long ldx, real *room)
    void tiled_weights(long rows, long first, long last, const real *W, long ldw, real *room)
    void tiled_outers(long rows, long cols, long lanes, const real *Y, long ldy, const real *tiles, real *G, long ldg)
    void tiled_pulls(long rows, long first, long last, long lanes, const real *tiles, const real *Y, long ldy, real *X, long ldx)

cdef extern from "panels.h" nogil:
    void panel_product(long rows, long inner, const real *H, const real *panel, real *out, int accumulate, long next)
    double panel_scaled(long rows, real factor, const real *panel, real *out)
    void panel_product_ahead(long rows, long inner, const real *H, long ldh, const real *panel, real *out, const real *next)
    void panels_pull(long rows, long panels, const real *delta, const real *panel, real *y)

cdef extern from "carry.h" nogil:
    ctypedef struct Strides:
        long lane, row, component
    ctypedef struct Carry:
        real *w
        real *room
        const real *x
        const real *T
        const real *d
        const real *e
        long x_lane
        Strides w_by, T_by, d_by, e_by
    void carry(long k, long rows, long cols, long lanes, const Carry *all, real *g, long ldg, double *squares, long ldsquares)

cdef extern from "blocks.h" nogil:
    void row_panels(long maps, long cols, const real *coefs, const real *W, long ldw, const long *at, long ahead, real *out,
                    long panel)
    void add_terms(long rows, long run, real factor, const real *room, long terms, long parts, const real *P, long step,
                   long part, long ldp, const real *d, real *out)
    void mix_terms(long rows, long run, long rank, const real *mix, long ldm, long products, real *A, long size, long terms,
                   long parts, const real *P, long step, long part, long ldp, const real *d, real *room)

cdef extern from "gram.h" nogil:
    const long GRAM_COLUMNS, GRAM_ROOM
    long gram_rows(long vectors, long all)
    void gram_load(long rows, long width, const real *x, long ldx, double *room, long step)
    void gram_scale(long rows, long width, const real *x, long ldx, const double *d, int accumulate, double *room, long step)
    void gram_solve(long count, long rows, const double *R, double *room)
    void gram_triangle(long count, long rows, const double *X, long step, double *sums, long ld)
    void gram_rectangle(long nx, long ny, long rows, const double *X, const double *Y, long step, double *sums, long ld)
    void gram_weights(long maps, const double *x, const double *y, double *weights)
    double gram_total(const double *sums)
    double gram_weighted(const double *sums, const double *weights)

cdef extern from "small.h" nogil:
    double dot8(long count, const double *x, const double *y)
    void axpy8(long count, double alpha, const double *x, double *y)
    void orthonormalise(long count, long length, double *Q, double *R)
    void triangle(long count, const double *K, double *R)
    void triangle_product(long count, const double *S, double *R)
    void jacobi(long count, double *M, double *J)

cdef extern from "functions.h" nogil:
    real exp1(real x)
    real tanh1(real x)
    real sigmoid1(real x)
    double softmax(long count, real *z)

cdef extern from "descents.h" nogil:
    real reciprocal(real x)
    void adam_pass(long count, real clip, real decay, real b1, real rest1, real b2, real rest2, real rate, real correction,
                   real eps, const real *g, real *p, real *q, real *w)
    void rmsprop_pass(long count, real clip, real decay, real alpha, real rest, real rate, real eps, const real *g, real *q,
                      real *w)
    double adam_reach(long count, real clip, real decay, real b1, real rest1, real b2, real rest2, real rate, real correction,
                      real eps, const real *g, const real *p, const real *q, const real *w)
    double rmsprop_reach(long count, real clip, real decay, real alpha, real rest, real rate, real eps, const real *g, const real *q,
                         const real *w)
    double sgd_reach(long count, real clip, real decay, real momentum, int nesterov, real lr, const real *g, const real *b,
                     const real *w)
    double square_reach(long count, real clip, const real *g)
    void exps(long count, const real *x, real *y)
    void tanhs(long count, const real *x, real *y)
    void sigmoids(long count, const real *x, real *y)

cdef extern from "vectors.h" nogil:
    double dot(long count, const real *x, const real *y)
    double norm2(long count, const real *x)
    double total_of(long count, const double *x)
    double scaled_norm2(long count, real factor, const real *x, const real *mask)
    bint all_finite(long count, const real *x)
    double squares_times(long count, const real *x, const double *weights)
    double norm2_in(long count, const real *x, const real *inverse)
    double norm2_in_sloped(long count, const real *x, const real *inverse, const real *slope)
    void axpy(long count, real alpha, const real *x, real *y)
    void scale(long count, real alpha, real *x)
    double axpby_norm2(long count, real alpha, const real *x, real beta, real *y)
    real maximum(long count, const real *x)
    void fetch(long count, const real *x)
