# Floor 2: records of the last steps with the weights that they were made with, and backward sweeps over them.
#
#     sweep_stage      gradient += delta F        delta <- delta H
#
# An update may change W before a tape is read; H_t belongs to the W of its own forward pass, so the recurrent columns are
# copied.  Memory a step: h_hat, D, E of every lane, and r n^2 for W; a sweep costs 4 r n m flops a lane.

cdef struct Tape:
    long length                      # steps
    long lanes
    int depth
    const Stage *stages              # [depth]
    Record *records                  # [depth], of length * lanes lanes: one step after the other
    real *versions                   # [length, depth, rows, tape_stride] W, recurrent columns only
    int64_t *version                 # [length]: which of them is that of a step; what an update left alone is kept once


cdef inline long tape_stride(const Stage *stage) noexcept nogil:
    """Row stride of a W on a tape: an odd number of cache lines, so that rows do not compete for the same places of a cache."""
    cdef long line = PANEL // 2
    return ((stage.n + line - 1) // line | 1) * line


cdef tape_layout(Tape *tape, Arena arena, const Stage *stages, int depth, long lanes, long length):
    """Buffers of a tape; to be freed by tape_free."""
    cdef int l
    tape.length, tape.lanes, tape.depth, tape.stages = length, lanes, depth, stages
    if tape.records is NULL:
        tape.records = <Record *>zeroed(depth, sizeof(Record))
    for l in range(depth):
        tape.records[l] = record_layout(arena, f"tape{l}.", "tape", <Stage *>&stages[l], lanes, length)
    tape.versions = arena.reals("tape.W", "tape", <double>length * depth * stages[0].rows * tape_stride(stages))
    tape.version = arena.integers("tape.version", "tape", length, max(0, length - 1))


cdef tape_layout_dense(Tape *tape, Arena arena):
    tape.records[0].x = arena.reals("tape.x", "tape", <double>tape.length * tape.lanes * tape.stages[0].inputs)


cdef inline void tape_free(Tape *tape) noexcept nogil:
    free(tape.records)


cdef inline Stage tape_stage(const Tape *tape, long t, int l) noexcept nogil:
    """The stage as it was at step t."""
    cdef Stage stage = tape.stages[l]
    stage.ldw, stage.turned = tape_stride(tape.stages), NULL
    stage.W = tape.versions + (tape.version[t] * tape.depth + l) * stage.rows * stage.ldw
    return stage


cdef inline bint tape_holds(const Tape *tape, long t) noexcept nogil:
    """Is the present W that of step t?"""
    cdef Stage stage
    cdef long row
    cdef int l
    for l in range(tape.depth):
        stage = tape_stage(tape, t, l)
        for row in range(stage.rows):
            if hears(&stage, row // stage.n) and memcmp(stage.W + row * stage.ldw, tape.stages[l].W + row * tape.stages[l].ldw, stage.n * sizeof(real)) != 0:
                return False
    return True


cdef inline void tape_keep(Team team, const Tape *tape, long t, const Record *records) noexcept nogil:
    """The present records [depth] and W onto the tape as step t."""
    cdef const Stage *stage
    cdef Record record
    cdef real *W
    cdef long row
    cdef int l
    if team.rank == 0:
        tape.version[t] = tape.version[t - 1] if t > 0 and tape_holds(tape, t - 1) else t
    team_barrier(team)
    for l in range(tape.depth):
        stage, record = &tape.stages[l], record_from(&tape.stages[l], &tape.records[l], t * tape.lanes)
        record_copy(stage, &records[l], &record, team_first(team, tape.lanes), team_last(team, tape.lanes))
        W = <real *>tape_stage(tape, t, l).W
        for row in range(team_first(team, stage.rows), team_last(team, stage.rows) if tape.version[t] == t else 0):
            if hears(stage, row // stage.n):
                memcpy(W + row * tape_stride(stage), stage.W + row * stage.ldw, stage.n * sizeof(real))


cdef inline Stage stage_at(const Tape *tape, long t, int l) noexcept nogil:
    """Stage l as step t met it; the step after the whole tape is the present one."""
    return tape_stage(tape, t, l) if t < tape.length else tape.stages[l]


cdef inline Record record_at(const Tape *tape, const Record *present, long t, int l) noexcept nogil:
    """Its record, with those of the present step [depth]."""
    return record_from(&tape.stages[l], &tape.records[l], t * tape.lanes) if t < tape.length else present[l]


cdef struct Sweep:
    real *delta                      # [lanes, kn]
    real *pulled                     # [lanes, kn] room
    real *y                          # [lanes, rows] room


cdef sweep_layout(Sweep *sweep, Arena arena, const Stage *stage, double lanes):
    sweep.delta = arena.reals("delta", "workspace", lanes * stage.k * stage.n)
    sweep.pulled = arena.reals("pulled", "workspace", lanes * stage.k * stage.n)
    sweep.y = arena.reals("y", "workspace", lanes * stage.rows)


cdef inline void sweep_stage(Team team, Share share, const Stage *stage, const Record *record, long lanes, const Sweep *sweep,
                             real *gradient) noexcept nogil:
    """Credit one stage of one step with delta, and pull delta through it.  All threads of `team` call it, and share the
    lanes as `share` says."""
    cdef long kn = stage.k * stage.n, b
    if share.team.rank == 0:
        for b in range(share.first, share.last):
            seed_pull(stage, record, b, sweep.delta + b * kn, sweep.y + b * stage.rows, sweep.pulled + b * kn)
    team_barrier(team)
    finish_pull(stage, share.last - share.first, sweep.y + share.first * stage.rows, sweep.pulled + share.first * kn,
                unit_first(share.team, stage.n), unit_last(share.team, stage.n))
    credit_outer(stage, record, lanes, sweep.y, gradient, team_first(team, stage.rows), team_last(team, stage.rows))
    team_barrier(team)
    if share.team.rank == 0:
        memcpy(sweep.delta + share.first * kn, sweep.pulled + share.first * kn, (share.last - share.first) * kn * sizeof(real))
    team_barrier(team)
