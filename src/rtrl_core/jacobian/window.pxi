# Floor 2: a window of records, through which derivatives are swept back, for TBPTT and UORO with a memory.
#
#     delta_{t-1} = delta_t H_t + credit_{t-1}       gradient += sum over the window of delta_t F_t
#
# The window is a ring of `capacity` time steps, without the weights that they were made with: sweeps use those of the moment, which
# are the same as long as updates come only when the window is emptied.  Losses are credited to the newest step and swept back
# together when a gradient is asked for; a cut (the lane was reset before a step) stops what comes from later steps.  `trace` goes
# the same way for one lane and keeps what each step gives to seed F.
#
# The steps that a sweep has passed meet the gradient together, a few dozen lanes at a time: y (x) h_hat summed over lanes and
# steps is one product.
#
# Time 4 r n m a swept step and lane; memory capacity (width + n + k r n + k^2 n + x) a lane, where x is one integer for ids.

cdef enum:
    HELD_LANES = 64                 # lanes of so many steps in all meet the gradient at a time without pieces of h


cdef class Window:
    cdef int depth
    cdef long capacity, lanes, kn, width
    cdef Stage *stages
    cdef Record *ring                # [depth], each of capacity * lanes lanes: slot after slot
    cdef real *credits               # [capacity, lanes, width]: d loss / d s of each step (its first entries), not yet swept
    cdef int32_t *cuts               # [capacity, lanes]: the lane was reset before this step
    cdef int64_t *fill               # [3]: records in the window, newest slot, whether credits are owed
    cdef int32_t *reset_now          # [lanes]: reset since the newest record
    cdef Sweep back
    cdef long held                   # swept steps that are credited together ...
    cdef real *y                     # [depth, held, lanes, rows] ... and what pulls leave of them
    cdef Pieces pieces
    cdef bint gathers                # many lanes: a sweep gathers the gradients of the columns of ids and 1 ...
    cdef real *columns               # [depth, turned_size] ... here

    cdef layout(self, Arena arena, Stage *stages, int depth, long lanes, long capacity, long width):
        """`width`: leading entries of delta that credits can have, n for those of h alone, kn for any."""
        cdef double count = lanes
        cdef int l
        self.stages, self.depth, self.lanes, self.kn = stages, depth, lanes, stages.k * stages.n
        self.capacity, self.width = capacity, width
        if self.ring is NULL:
            self.ring = <Record *>zeroed(depth, sizeof(Record))
        for l in range(depth):
            self.ring[l] = record_layout(arena, f"{l}.", "tape", &stages[l], lanes, capacity)
        self.credits = arena.reals("credits", "tape", capacity * count * width)
        self.cuts = arena.ids("cuts", "tape", capacity * count, 1)
        self.fill = arena.integers("fill", "tape", 3, (capacity, capacity - 1, 1))
        self.reset_now = arena.ids("reset_now", "tape", count, 1)
        sweep_layout(&self.back, arena, stages, count)
        self.held = max(1, (HELD_LANES if tiled_reals(TILED_PAIRS, stages.n) == 0 else TILED_PAIRS) // lanes)
        pieces_layout(&self.pieces, arena, stages, depth, lanes, capacity, self.held)
        self.y = arena.reals("y", "workspace", <double>depth * self.held * count * stages.rows)
        self.gathers = lanes >= LANES_BLOCK_FROM and capacity * count >= stages.m - stages.n
        if self.gathers:
            self.columns = arena.reals("columns", "workspace", <double>depth * turned_size(stages.rows, stages.m - stages.n))

    cdef layout_dense(self, Arena arena):
        self.ring[0].x = arena.reals("x", "tape", <double>self.capacity * self.lanes * self.stages.inputs)

    def __dealloc__(self):
        free(self.ring)

    cdef inline long slot(self, long age) noexcept nogil:
        return (self.fill[1] - age + self.capacity) % self.capacity

    cdef inline Record record(self, long age, int l) noexcept nogil:
        """The record of one stage at the step that is `age` steps older than the newest."""
        return record_from(&self.stages[l], &self.ring[l], self.slot(age) * self.lanes)

    cdef void append(self, Team team, const Record *records, bint anew) noexcept nogil:
        """The records of a new step, which replaces the oldest of a full window; `anew`: it is the first of its window."""
        cdef long first = team_first(team, self.lanes), last = team_last(team, self.lanes), b
        cdef long slot = self.slot(-1)
        cdef Record target
        cdef int l
        for l in range(self.depth):
            target = self.record(-1, l)
            record_copy(&self.stages[l], &records[l], &target, first, last)
        for b in range(first, last):
            memset(self.credits + (slot * self.lanes + b) * self.width, 0, self.width * sizeof(real))
            self.cuts[slot * self.lanes + b] = self.reset_now[b]
            self.reset_now[b] = 0
        team_barrier(team)
        if team.rank == 0:
            self.fill[1] = slot
            self.fill[0] = 1 if anew else min(self.fill[0] + 1, self.capacity)
        team_barrier(team)

    cdef void empty(self, Team team) noexcept nogil:
        """The window ends with a step that was taken in elsewhere; nothing may be owed."""
        cdef long b
        team_barrier(team)
        if team.rank == 0:
            self.fill[0] = 0
            for b in range(self.lanes):
                self.reset_now[b] = 0
        team_barrier(team)

    cdef void cut(self, long lane) noexcept nogil:
        self.reset_now[lane] = 1

    cdef void owe(self, Team team, const real *delta) noexcept nogil:
        """Credit the newest step with delta [lanes, kn], to be swept by `settle`."""
        cdef long b
        if self.fill[0] == 0:
            return
        for b in range(team_first(team, self.lanes), team_last(team, self.lanes)):
            if not self.reset_now[b]:
                axpy(self.width, 1, delta + b * self.kn, self.credits + (self.fill[1] * self.lanes + b) * self.width)
        if team.rank == 0:
            self.fill[2] = 1

    cdef void settle(self, Team team, real *gradient) noexcept nogil:
        """Sweep all that is owed back in one go."""
        cdef long first = team_first(team, self.lanes), last = team_last(team, self.lanes)
        if self.fill[2] == 0:
            return
        memset(self.back.delta + first * self.kn, 0, (last - first) * self.kn * sizeof(real))
        team_barrier(team)
        self.sweep(team, gradient, True)
        if team.rank == 0:
            self.fill[2] = 0
        team_barrier(team)

    cdef void sweep_now(self, Team team, const real *delta, real *gradient) noexcept nogil:
        """Sweep delta [lanes, kn] of the newest step back by itself."""
        cdef long first = team_first(team, self.lanes), last = team_last(team, self.lanes), b
        if self.fill[0] == 0:
            return
        memcpy(self.back.delta + first * self.kn, delta + first * self.kn, (last - first) * self.kn * sizeof(real))
        for b in range(first, last):
            if self.reset_now[b]:
                memset(self.back.delta + b * self.kn, 0, self.kn * sizeof(real))
        team_barrier(team)
        self.sweep(team, gradient, False)

    cdef void sweep(self, Team team, real *gradient, bint owed) noexcept nogil:
        """Carry back.delta back through the window, picking up the credits that are owed."""
        cdef Share share = share_lanes(team, self.lanes)
        cdef long lanes = self.lanes, kn = self.kn, count = self.fill[0], held = 0, t, slot, b
        cdef bint gathers = self.gathers and count * lanes >= self.stages.m - self.stages.n  # else a pass over columns costs more
        cdef real *W = self.pieces.W if pieces_pay(self.stages, lanes, count) else NULL
        cdef real *delta = self.back.delta
        cdef real *out = self.back.pulled
        cdef real *credits
        cdef Record record
        cdef int l
        if W is not NULL:
            pieces_of_weights(team, &self.pieces, self.stages, self.depth)
        for t in range(count):
            slot = self.slot(t)
            if owed and share.team.rank == 0:
                for b in range(share.first, share.last):
                    credits = self.credits + (slot * lanes + b) * self.width
                    axpy(self.width, 1, credits, delta + b * kn)
                    memset(credits, 0, self.width * sizeof(real))
            held += 1
            for l in range(self.depth - 1, -1, -1):
                record = self.record(t, l)
                pull_lanes(team, share, W + l * tiled_room(self.stages.rows, self.stages.n) if W is not NULL else NULL, lanes, &self.stages[l],
                           &record, self.y_of(l, held), delta, out, l == 0 and t == count - 1)
                delta, out = out, delta
            if share.team.rank == 0:
                for b in range(share.first, share.last):
                    if self.cuts[slot * lanes + b]:
                        memset(delta + b * kn, 0, kn * sizeof(real))
            if held == self.held or t == count - 1 or self.kind_of(t) != self.kind_of(t + 1):
                self.credit_held(team, t, held, gradient, gathers)
                held = 0
        for l in range(self.depth if gathers else 0):
            turn_back(team_first(team, self.stages.rows), team_last(team, self.stages.rows), self.stages[l].m - self.stages.n,
                      self.columns_of(l), gradient + self.stages[l].offset + self.stages.n, self.stages[l].ldg)
        team_barrier(team)

    cdef inline real *y_of(self, int l, long held) noexcept nogil:
        """Room for the y of one stage: steps lie in the order of their slots, so the first that is swept comes last."""
        return self.y + (l * self.held + self.held - held) * self.lanes * self.stages.rows

    cdef inline real *columns_of(self, int l) noexcept nogil:
        return self.columns + l * turned_size(self.stages.rows, self.stages.m - self.stages.n)

    cdef inline bint kind_of(self, long age) noexcept nogil:
        """Is the input of a step dense?"""
        cdef Record record = self.record(age, 0)
        return is_dense(self.stages, &record, 0)

    cdef void credit_held(self, Team team, long age, long held, real *gradient, bint gathers) noexcept nogil:
        """Credit every stage with `held` swept steps, from the oldest, which is of this age: one product, or two where the
        ring begins anew.  The order of the sum is the same."""
        cdef const Stage *stage
        cdef const real *h
        cdef Record record
        cdef long steps
        cdef int l
        team_barrier(team)
        while held > 0:
            steps = min(held, self.capacity - self.slot(age))
            for l in range(self.depth):
                stage, record = &self.stages[l], self.record(age, l)
                h = pieces_of_inputs(team, &self.pieces, stage, record.h, steps * self.lanes)
                credit_steps(stage, &record, 1, steps * self.lanes, self.y_of(l, held), gradient + stage.offset, h,
                             self.columns_of(l) if gathers else NULL, team_first(team, stage.rows), team_last(team, stage.rows))
            held -= steps
            age -= steps
        team_barrier(team)

    cdef long trace(self, Team crew, long lane, int block, const Record *records, const real *seed, real *y, real *h_hat) noexcept nogil:
        """The terms y_t (x) h_hat_t of seed F of one lane and block, for the window up to the stage `block` of the step
        `records`, newest first, into y [terms, rows] and h_hat [terms, m of the first stage]; returns how many."""
        cdef long reach = self.reach(lane), rows = self.stages.rows, t
        cdef const real *delta = seed
        cdef real *out = self.back.pulled + lane * self.kn
        cdef real *target
        cdef Record record
        cdef int l
        for t in range(reach + 1):
            for l in range(block if t == 0 else self.depth - 1, block - 1 if t == reach else -1, -1):
                record = records[l] if t == 0 else self.record(t - 1, l)
                target = y + t * rows if l == block else self.back.y + lane * rows
                if crew.rank == 0:
                    if l == block:
                        extend(&self.stages[l], &record, lane, h_hat + t * self.stages.m)
                    seed_pull(&self.stages[l], &record, lane, delta, target, out)
                if t == reach and l == block:
                    break
                team_barrier(crew)
                finish_pull(&self.stages[l], 1, target, out, unit_first(crew, self.stages.n), unit_last(crew, self.stages.n))
                team_barrier(crew)
                delta = out
                out = (self.back.delta if out == self.back.pulled + lane * self.kn else self.back.pulled) + lane * self.kn
        return reach + 1

    cdef long reach(self, long lane) noexcept nogil:
        """Records of the window from which the lane was not reset since."""
        cdef long t = 0
        if self.reset_now[lane]:
            return 0
        while t < self.fill[0]:
            t += 1
            if self.cuts[self.slot(t - 1) * self.lanes + lane]:
                break
        return t
