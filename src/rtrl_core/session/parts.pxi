# Floor 5: what a session owns, and the pieces of work that it hands to a team.

cdef enum:
    CHUNK = 2048                     # parameters per piece of an update; a partial norm belongs to each
    # counters[...]
    CLOCK = 0                        # index of the current time step, -1 before the first
    OPEN = 1                         # the current step was not yet observed by fresh estimators
    SKIPPED = 2                      # updates skipped because the gradient was not finite
    BAD_LOSS = 3                     # lane losses that were not finite
    BAD_STATE = 4                    # lane states that were not finite, and were reset
    UPDATES = 5
    COUNTERS = 6
    TURN_FROM = 4                    # steps with the same weights from which on it pays to transpose them
    PIECES_PER_SECOND = 10           # of a long run, so that Ctrl-C is heard ...
    PIECE_GROWTH = 4                 # ... and how much longer than the last a piece may be; the first is one step
    FLOPS_PER_THREAD = 20000000      # a thread with less to do in a step need not pay; measured by bench/threads.py

cdef enum Work:
    RUN, ADVANCE, FEEDBACK, CREDIT, GRADIENT, CLOSE, APPLY, EVALUATE

cdef struct Job:
    Work work
    long steps
    bint begin                       # a trial starts from a copy of the live state
    const int32_t *ids               # [steps, lanes] or NULL
    const real *x                    # [steps, lanes, inputs] or NULL
    const int32_t *labels            # [steps, lanes] or NULL
    const real *targets              # [steps, lanes, outputs] or NULL
    const int8_t *resets             # [steps, lanes] or NULL
    const double *rates              # [steps] learning rates, or ...
    bint steady                      # ... one for all steps
    double *losses                   # [steps] mean over the lanes that have a target
    double *scored                   # [steps] how many those are, or NULL
    double *similarity               # [steps, shadows, 2] cosine, relative error; or NULL
    real *outputs                    # [steps, lanes, outputs] or NULL
    const real *delta                # [lanes, n] credit that comes from outside


cdef void observe_all(Estimator estimator, Team team, bint fresh) noexcept nogil:
    """Let the whole chain of estimators observe the current record, those that are (not) fresh or late."""
    if (estimator.fresh or estimator.late) == fresh:
        estimator.observe(team)
    if estimator.next is not None:
        observe_all(estimator.next, team, fresh)


cdef void clear_all(Estimator estimator, long lane) noexcept nogil:
    estimator.clear(lane)
    if estimator.next is not None:
        clear_all(estimator.next, lane)


cdef bint reads_record(Estimator estimator, bint opened) noexcept nogil:
    """Is delta credited through the current record?  An estimator that carries nothing knows no other, also when it is over."""
    return estimator.fresh and (opened or not estimator.carries)


cdef bint any_reads_record(Estimator estimator, bint opened) noexcept nogil:
    if reads_record(estimator, opened):
        return True
    return estimator.next is not None and any_reads_record(estimator.next, opened)


cdef bint any_carries(Estimator estimator) noexcept nogil:
    """Does any fresh estimator of the chain want delta of the step before?"""
    if estimator.fresh and estimator.carries:
        return True
    return estimator.next is not None and any_carries(estimator.next)


cdef void credit_all(Estimator estimator, Team team, bint opened, const real *y, const real *delta, const real *pulled) noexcept nogil:
    """Credit delta to the chain (to its first alone while that is probed): exactly through the open record and then
    into G, or into G at once."""
    cdef Stage *stage
    cdef long above = 0, first, last
    cdef int l
    if reads_record(estimator, opened):
        for l in range(estimator.net.depth):
            stage = &estimator.net.stages[l]
            first, last = team_first(team, stage.rows), team_last(team, stage.rows)
            if estimator.blank:
                credit_outer_anew(stage, &estimator.net.records[l], y + above, row_of(estimator.net, team),
                                  estimator.gradient + stage.offset, first, last)
            else:
                credit_outer(stage, &estimator.net.records[l], estimator.net.lanes, y + above,
                             estimator.gradient + stage.offset, first, last)
            above += estimator.net.lanes * stage.rows
        team_barrier(team)
        if estimator.carries:
            estimator.credit(team, pulled)
    else:
        estimator.credit(team, delta)
    if estimator.next is not None and not estimator.probing:
        credit_all(estimator.next, team, opened, y, delta, pulled)


cdef bint overwrites(Estimator estimator) noexcept nogil:
    """Does the next step write every row of the gradient before it adds to it?  A fresh estimator is always credited through
    the record first; only for one lane is that as cheap for whole rows as clearing them."""
    return estimator.fresh and estimator.net.lanes == 1


cdef void mark_all(Estimator estimator, bint used_up) noexcept nogil:
    """The gradients of the chain were used up, or written again."""
    estimator.blank = used_up and overwrites(estimator)
    if estimator.next is not None:
        mark_all(estimator.next, used_up)


cdef void settle_all(Estimator estimator, Team team) noexcept nogil:
    estimator.settle(team)
    if estimator.next is not None:
        settle_all(estimator.next, team)


cdef inline void finish_gradient(real *gradient, const real *mask, real factor) noexcept nogil:
    """One chunk: the sum over lanes becomes the mean, and holes of W get no gradient."""
    cdef long i
    if mask is NULL and factor == 1:
        return
    if mask is NULL:
        for i in range(CHUNK):
            gradient[i] *= factor
    else:
        for i in range(CHUNK):
            gradient[i] *= factor * mask[i]


cdef inline double sum_of(long count, const double *x, long stride) noexcept nogil:
    """Partial sums added in index order, so that the result does not depend on who made them."""
    cdef double total = 0
    cdef long i
    for i in range(count):
        total += x[i * stride]
    return total


cdef inline real *row_of(Context net, Team team) noexcept nogil:
    """Room for a row of weights, of this thread."""
    return net.row + team.rank * net.row_length


cdef inline int len_of(Estimator estimator) noexcept nogil:
    """Estimators of a chain from this one on."""
    return 1 if estimator.next is None else 1 + len_of(estimator.next)


cdef int64_t guarded(Estimator estimator, int what) noexcept nogil:
    """How often a guard of the influence acted: 0 capped, 1 not finite."""
    cdef int64_t total = 0
    cdef long b
    for b in range(estimator.net.lanes):
        total += estimator.counts[2 * b + what]
    return total
