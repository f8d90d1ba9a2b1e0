# Floor 2: a block of time steps that is still running: its records, and what they do to A at its end.
#
#     A <- kappa_0 P_0 A + sum_t kappa_t P_t D_t        P_t = H_last ... H_{t+1}, see blocks.pxi
#
# The records of all steps but the last, with which a block ends, are kept on a tape with the W of their own forward
# pass, which an update may change before.  Blocks are those of the session; a reset forgets the steps of a lane before
# it.  Memory: length - 1 records and W; for each group of threads that works on one lane, length P [kn, kn] a stage.

cdef class Span:
    cdef const Stage *stages
    cdef const Record *records       # [depth] of the current step
    cdef int depth
    cdef long length, lanes, slots
    cdef Tape tape
    cdef int64_t *fill               # [1]: records on the tape
    cdef int32_t *start              # [lanes]: records before this one are from before a reset
    cdef real *P                     # [groups, slots, kn, suffix_row]
    cdef real *tiles                 # [groups, suffix_tiles]: of the last P that was made
    cdef real *H                     # [groups, panels of n, kn, PANEL]
    cdef real *room                  # [threads, kn, PANEL]
    cdef real *slopes                # [threads, length, k, PANEL]

    cdef layout(self, Arena arena, Stage *stages, const Record *records, int depth, long lanes, long threads, long length):
        cdef double kn = stages.k * stages.n, groups = min(threads, lanes)
        self.stages, self.records, self.depth, self.lanes, self.length = stages, records, depth, lanes, length
        self.slots = length * depth
        tape_layout(&self.tape, arena, stages, depth, lanes, length - 1)
        self.fill = arena.integers("fill", "tape", 1, length - 1)
        self.start = arena.ids("start", "tape", lanes, length - 1)
        self.P = arena.reals("P", "workspace", groups * self.slots * kn * suffix_row(<long>kn))
        self.tiles = arena.reals("tiles", "workspace", groups * suffix_tiles(<long>kn))
        self.H = arena.reals("H", "workspace", groups * kn * PANEL * panels_of(stages.n))
        self.room = arena.reals("room", "workspace", threads * kn * PANEL)
        self.slopes = arena.reals("slopes", "workspace", <double>threads * length * stages.k * PANEL)

    cdef layout_dense(self, Arena arena):
        tape_layout_dense(&self.tape, arena)

    def __dealloc__(self):
        tape_free(&self.tape)

    cdef inline bint ends(self) noexcept nogil:
        """Is the current step the last of its block?"""
        return self.fill[0] == self.tape.length

    cdef inline real *room_of(self, int thread) noexcept nogil:
        return self.room + thread * self.stages.k * self.stages.n * PANEL

    cdef void step(self, Team team) noexcept nogil:
        """The current step was taken in, by all threads."""
        cdef long t = self.fill[0]
        if not self.ends():
            tape_keep(team, &self.tape, t, self.records)
        team_barrier(team)
        if team.rank == 0:
            self.fill[0] = (t + 1) % self.length
            if self.fill[0] == 0:
                memset(self.start, 0, self.lanes * sizeof(int32_t))

    cdef void cut(self, long lane) noexcept nogil:
        self.start[lane] = <int32_t>self.fill[0]

    cdef void suffixes(self, Team crew, long group, int thread, long lane) noexcept nogil:
        """Every P of one lane, from the last to the first; complete for the whole crew on return."""
        cdef long n = self.stages.n, kn = self.stages.k * n, size = kn * suffix_row(kn), start = self.start[lane], t, slot
        cdef real *P = self.P + group * self.slots * size
        cdef real *H = self.H + group * panels_of(n) * kn * PANEL
        cdef Stage stage
        cdef Record record
        cdef int l
        for t in range(self.length - 1, start - 1, -1):
            for l in range(self.depth - 1, -1, -1):
                slot = t * self.depth + l
                if start > 0 and slot == start * self.depth:
                    break  # nothing lies before
                stage, record = stage_at(&self.tape, t, l), record_at(&self.tape, self.records, t, l)
                form_panels(&stage, &record, lane, H, self.room_of(thread), unit_first(crew, n), unit_last(crew, n))
                team_barrier(crew)
                step_suffix(&stage, &record, lane, H, P + (slot + 1) * size if slot + 1 < self.slots else NULL,
                            self.tiles + group * suffix_tiles(kn), P + slot * size, unit_first(crew, kn), unit_last(crew, kn))
                team_barrier(crew)

    cdef double carry_panel(self, long group, int thread, long lane, int l, long p, const double *kappa, real *A,
                            const real *next) noexcept nogil:
        """Panel p of A of stage l at the end of the block, in place; returns the sum of its squares.  The panel after it is
        asked for meanwhile."""
        cdef const Stage *stage = &self.stages[l]
        cdef long n = stage.n, kn = stage.k * n, size = kn * suffix_row(kn), start = self.start[lane], t, c, i, q, run
        cdef long column = p * PANEL, end = min(column + PANEL, stage.rows)
        cdef long terms = self.length - start - (l == self.depth - 1)  # the P of the very last stage is the identity
        cdef const real *P = self.P + group * self.slots * size
        cdef real *room = self.room_of(thread)
        cdef real *slopes = self.slopes + thread * self.length * stage.k * PANEL
        cdef Record record
        if kappa[0] != 0:
            suffix_product(stage, P, self.tiles + group * suffix_tiles(kn), A, room, next)
        while column < end:
            i, q = column % n, column % PANEL
            run = min(n - i, end - column)
            for t in range(start, self.length):
                record = record_at(&self.tape, self.records, t, l)
                weigh_maps(stage, &record, lane, kappa[t + 1], column, run, slopes + (t - start) * stage.k * PANEL)
            add_terms(kn, run, <real>kappa[0], room + q, terms, stage.k, P + (start * self.depth + l + 1) * size + i,
                      self.depth * size, n, suffix_row(kn), slopes, A + q)
            for c in range(stage.k if l == self.depth - 1 else 0):
                for t in range(run):
                    A[(c * n + i + t) * PANEL + q + t] += slopes[(terms * stage.k + c) * PANEL + t]
            column += run
        return norm2(kn * PANEL, A)

    cdef real *pull(self, Share share, const Sweep *back, const double *kappa, long average, real *y, long width) noexcept nogil:
        """Pull back.delta to the start of the block; returns where it is then.  On the way y [depth, lanes, average, width]
        += sum_t kappa_t delta_t D_t / average, with kappa [depth, lanes, average, length + 1]."""
        cdef long kn = self.stages.k * self.stages.n, rows = self.stages.rows, t, b, pair
        cdef real *delta = back.delta
        cdef real *out = back.pulled
        cdef Stage stage
        cdef Record record
        cdef int l
        for t in range(self.fill[0] - 1, -1, -1):
            for l in range(self.depth - 1, -1, -1):
                stage, record = stage_at(&self.tape, t, l), record_at(&self.tape, self.records, t, l)
                for b in range(share.first, share.last if share.team.rank == 0 else share.first):
                    if t < self.start[b]:
                        memset(delta + b * kn, 0, kn * sizeof(real))
                    seed_pull(&stage, &record, b, delta + b * kn, back.y + b * rows, out + b * kn)
                    for pair in range((l * self.lanes + b) * average, (l * self.lanes + b + 1) * average):
                        axpy(rows, <real>(kappa[pair * (self.length + 1) + t + 1] / average), back.y + b * rows, y + pair * width)
                team_barrier(share.team)
                finish_pull(&stage, share.last - share.first, back.y + share.first * rows, out + share.first * kn,
                            unit_first(share.team, stage.n), unit_last(share.team, stage.n))
                team_barrier(share.team)
                delta, out = out, delta
        return delta
