# Floor 2: H times a wide matrix, for estimators that carry one (KF-RTRL's A, exact RTRL's G).
#
# A matrix X [kn, cols] is stored as panels of PANEL columns, [cols / PANEL][kn][PANEL], so that the
# product streams it with unit stride.  H is formed once a lane (2 k r n^2 flops), which halves the
# work of going through W (RHN) or quarters it (GRU), and the product costs 2 k n^2 cols.
# Only component 0 of the state meets W, so H splits into a dense [kn, n] part and the diagonals
# E[c,d] of the other components, d >= 1.

cdef inline long panels_of(long columns) noexcept nogil:
    return (columns + PANEL - 1) // PANEL


cdef inline void form_jacobian(const Stage *stage, const Record *record, long lane, real *H, long first, long last) noexcept nogil:
    """H[c, i, :] = E[c,0,i] e_i + sum_a D[c,a,i] W_h[a,i,:] for units i in [first, last); H is [k, n, n]."""
    cdef long c
    for c in range(stage.k):
        form_rows(stage, record, lane, c, H + (c * stage.n + first) * stage.n, first, last)


cdef inline void form_rows(const Stage *stage, const Record *record, long lane, long c, real *H, long first, long last) noexcept nogil:
    """The rows of component c for units [first, last), from H on."""
    cdef long n = stage.n, i
    cdef const real *E = record.E + (lane * stage.k + c) * stage.k * n
    scaled_rows(last - first, n, stage.r, record.D + (lane * stage.k + c) * stage.rows + first, n,
                stage.W + first * stage.ldw, stage.ldw, H)
    for i in range(first, last):
        H[(i - first) * n + i] += E[i]


cdef inline long factor_reals(long kn, long n) noexcept nogil:
    """Room for H of one lane as `push_panel` takes it: in tiles where the CPU has a use for them (tiles.h), else [kn, n]."""
    return max(tiles_reals(kn, n), kn * n)


cdef inline void form_factor(const Stage *stage, const Record *record, long lane, real *H, real *room, long first, long last) noexcept nogil:
    """The rows of H that belong to units [first, last), for `push_panel`; room [UNIT_GROUP, n]."""
    cdef long n = stage.n, c, i, end
    if tiles_reals(stage.k * n, n) == 0:
        form_jacobian(stage, record, lane, H, first, last)
        return
    for c in range(stage.k):
        i = first
        while i < last:
            end = min(i + UNIT_GROUP, last)
            form_rows(stage, record, lane, c, room, i, end)
            tiles_fill(stage.k * n, n, c * n + i, c * n + end, room, n, H)
            i = end


cdef inline double push_panel(const Stage *stage, const Record *record, long lane, const real *H, real factor, real *panel,
                              real *room, int step) noexcept nogil:
    """panel <- factor H panel, H from `form_factor`, in place through `room` [kn, PANEL]; returns the sum of squares of H panel.

    Panels are gone through forwards (step 1) or backwards (-1).
    """
    cdef long n = stage.n, kn = stage.k * n, c, d, i
    cdef const real *E = record.E + lane * stage.k * stage.k * n
    if stage.k > 1:
        memset(room, 0, kn * PANEL * sizeof(real))
        for c in range(stage.k):
            for d in range(1, stage.k):
                for i in range(n):
                    axpy(PANEL, E[(c * stage.k + d) * n + i], panel + (d * n + i) * PANEL, room + (c * n + i) * PANEL)
    panel_product(kn, n, H, panel, room, stage.k > 1, step * kn)
    return panel_scaled(kn, factor, room, panel)


cdef inline real *panel_entry(real *panels, long kn, long row, long column) noexcept nogil:
    """Address of entry (row, column) of a matrix stored as panels."""
    return panels + (column // PANEL * kn + row) * PANEL + column % PANEL


cdef inline void panel_axpy(real *panels, long kn, long row, long column, long count, real alpha, const real *x) noexcept nogil:
    """Entries (row, column ... column + count) += alpha x, across panel borders."""
    cdef long run
    while count > 0:
        run = min(count, PANEL - column % PANEL)
        axpy(run, alpha, x, panel_entry(panels, kn, row, column))
        column += run
        x += run
        count -= run
