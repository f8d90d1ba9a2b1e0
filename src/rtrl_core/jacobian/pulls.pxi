# Floor 2: sweeps of many lanes through many steps with the same weights, where a CPU has a matrix unit (tiled.h).
#
#     y = D' delta      delta H = E' delta + W_h' y      gradient += y (x) h
#
# Its pieces of W_h are made once a sweep, in which every step meets them; those of h, for some steps at a time.  Whether they are
# used depends on sizes and on the steps of the sweep alone, never on threads or on who called.
#
# Memory 6 bytes a number of W_h, and of the h that are credited together.

cdef enum:
    TILED_LANES = 12               # the least that pay what fills them up to 16 ...
    TILED_STEPS = 4                 # ... and that pay the pieces of W_h
    TILED_PAIRS = 128               # of y and h that meet the gradient at a time


cdef struct Pieces:
    real *W                          # [depth, tiled_room(rows, n)], or NULL
    real *h                          # [tiled_room(pairs, n)] of one stage


cdef inline bint pieces_pay(const Stage *stage, long lanes, long steps) noexcept nogil:
    return steps >= TILED_STEPS and lanes >= TILED_LANES and tiled_reals(stage.rows, stage.n) > 0


cdef pieces_layout(Pieces *pieces, Arena arena, const Stage *stage, int depth, long lanes, long steps, long held):
    """For sweeps of at most `steps` steps; `held` are credited together."""
    cdef double each = tiled_room(stage.rows, stage.n)
    pieces.W = arena.reals("W pieces", "workspace", depth * each) if pieces_pay(stage, lanes, steps) else NULL
    pieces.h = arena.reals("h pieces", "workspace", tiled_room(held * lanes, stage.n))


cdef inline void pieces_of_weights(Team team, const Pieces *pieces, const Stage *stages, int depth) noexcept nogil:
    cdef int l
    for l in range(depth):
        tiled_weights(stages.rows, unit_first(team, stages.n), unit_last(team, stages.n), stages[l].W, stages[l].ldw,
                      pieces.W + l * tiled_room(stages.rows, stages.n))


cdef inline const real *pieces_of_inputs(Team team, const Pieces *pieces, const Stage *stage, const real *h, long pairs) noexcept nogil:
    """Those of h [pairs, n] for `credit_steps`, until the next call; NULL where they are of no use."""
    if tiled_reals(pairs, stage.n) == 0:
        return NULL
    team_barrier(team)
    tiled_columns(pairs, unit_first(team, stage.n), unit_last(team, stage.n), h, stage.n, pieces.h)
    team_barrier(team)
    return pieces.h


cdef void pull_lanes(Team team, Share share, const real *W, long lanes, const Stage *stage, const Record *record, real *y,
                     const real *delta, real *out, bint ends) noexcept nogil:
    """y = D' delta, and out = delta H unless the sweep `ends`, for the lanes of `share`.  With pieces of W (otherwise NULL) all
    threads share the units of all lanes instead."""
    cdef long n = stage.n, kn = stage.k * n, rows = stage.rows, b
    cdef Team mates = share.team if W is NULL else team
    team_barrier(share.team)
    if share.team.rank == 0:
        for b in range(share.first, share.last):
            if ends:
                pull_maps(stage, record, b, delta + b * kn, y + b * rows)
            else:
                seed_pull(stage, record, b, delta + b * kn, y + b * rows, out + b * kn)
    team_barrier(mates)
    if W is not NULL and not ends:
        tiled_pulls(rows, unit_first(team, n), unit_last(team, n), lanes, W, y, rows, out, kn)
    elif not ends:
        finish_pull(stage, share.last - share.first, y + share.first * rows, out + share.first * kn,
                    unit_first(share.team, n), unit_last(share.team, n))
    team_barrier(mates)
