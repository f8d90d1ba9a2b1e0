# Floor 2: credits that are owed to the steps of a tape, and one sweep that settles all of them.
#
#     delta_{t-1} = delta_t H_t + credit_{t-1}       gradient += sum over the tape of delta_t F_t
#
# Place t of a tape is the state after t of its steps.  A cut (the lane was reset there) stops what comes from later places;
# what is credited to a place after its cut finds no influence and is dropped.  The sweep multiplies deltas with the W that
# each step was made with, and credits all steps of a stage with one product.
#
# Time 2 r n^2 flops a swept step and lane, and as many for the gradient; memory kn a place and lane.

cdef struct Debts:
    real *credits                    # [length + 1, lanes, kn] d loss / d s of each place, not yet swept
    int32_t *cuts                    # [length + 1, lanes] the lane was reset at this place
    real *delta                      # [lanes, kn]
    real *pulled                     # [lanes, kn] room
    real *y                          # [depth, length, lanes, rows] room: delta D of every step


cdef debts_layout(Debts *debts, Arena arena, const Tape *tape):
    cdef double lanes = tape.lanes, length = tape.length, kn = tape.stages.k * tape.stages.n
    debts.credits = arena.reals("credits", "tape", (length + 1) * lanes * kn)
    debts.cuts = arena.ids("cuts", "tape", (length + 1) * lanes, 1)
    debts.delta = arena.reals("delta", "workspace", lanes * kn)
    debts.pulled = arena.reals("pulled", "workspace", lanes * kn)
    debts.y = arena.reals("y", "workspace", tape.depth * length * lanes * tape.stages.rows)


cdef inline void debts_add(Team team, const Tape *tape, const Debts *debts, long place, const real *delta) noexcept nogil:
    """Owe delta [lanes, kn] to a place."""
    cdef long kn = tape.stages.k * tape.stages.n, b
    for b in range(team_first(team, tape.lanes), team_last(team, tape.lanes)):
        if not debts.cuts[place * tape.lanes + b]:
            axpy(kn, 1, delta + b * kn, debts.credits + (place * tape.lanes + b) * kn)


cdef inline long debts_start(const Debts *debts, long lanes, long place, long lane) noexcept nogil:
    """The last place where a lane was reset, up to `place`, before which nothing counts; -1 without one."""
    while place >= 0 and not debts.cuts[place * lanes + lane]:
        place -= 1
    return place


cdef inline void debts_collect(const Tape *tape, const Debts *debts, long place, bint owed, real *delta,
                               long first, long last) noexcept nogil:
    """What comes from later places is cut or goes on, together with what is owed to this one."""
    cdef long kn = tape.stages.k * tape.stages.n, b, i
    for b in range(first, last):
        i = place * tape.lanes + b
        if debts.cuts[i]:
            memset(delta + b * kn, 0, kn * sizeof(real))
        if owed:
            axpy(kn, 1, debts.credits + i * kn, delta + b * kn)
            memset(debts.credits + i * kn, 0, kn * sizeof(real))


cdef inline const real *debts_sweep(Team team, const Tape *tape, const Debts *debts, long place, const real *seed,
                                    real *gradient) noexcept nogil:
    """Carry `seed` [lanes, kn] from a place back to the start of the tape, or all that is owed where it is NULL; returns the
    delta that arrives, complete for the whole team."""
    cdef Share share = share_lanes(team, tape.lanes)
    cdef long n = tape.stages.n, kn = tape.stages.k * n, rows = tape.stages.rows, lanes = tape.lanes, t, b
    cdef real *delta = debts.delta
    cdef real *out = debts.pulled
    cdef real *y
    cdef Stage stage
    cdef Record record
    cdef int l
    if share.team.rank == 0:
        for b in range(share.first, share.last):
            if seed is NULL:
                memset(delta + b * kn, 0, kn * sizeof(real))
            else:
                memcpy(delta + b * kn, seed + b * kn, kn * sizeof(real))
    for t in range(place, -1, -1):
        if share.team.rank == 0:
            debts_collect(tape, debts, t, seed is NULL, delta, share.first, share.last)
        for l in range(tape.depth - 1 if t > 0 else -1, -1, -1):
            stage, record = tape_stage(tape, t - 1, l), record_from(&tape.stages[l], &tape.records[l], (t - 1) * lanes)
            y = debts.y + (l * tape.length + t - 1) * lanes * rows
            if share.team.rank == 0:
                for b in range(share.first, share.last):
                    seed_pull(&stage, &record, b, delta + b * kn, y + b * rows, out + b * kn)
            team_barrier(share.team)
            finish_pull(&stage, share.last - share.first, y + share.first * rows, out + share.first * kn,
                        unit_first(share.team, n), unit_last(share.team, n))
            team_barrier(share.team)
            delta, out = out, delta
    team_barrier(team)
    if place > 0:
        for l in range(tape.depth):
            credit_steps(&tape.stages[l], &tape.records[l], place, lanes, debts.y + l * tape.length * lanes * rows,
                         gradient + tape.stages[l].offset, NULL, NULL, team_first(team, rows), team_last(team, rows))
    return delta
