# Truncated backpropagation through time over a ring of `horizon` records (Williams and Peng 1990,
# doi:10.1162/neco.1990.2.4.490).
#
#     delta_{t-1} = delta_t H_t + credit_{t-1}       gradient += sum over the window of delta_t F_t
#
# Block form: the stream is cut into blocks of `horizon` steps, a loss reaches back to the start of its
# block, and one sweep a block serves all of its losses.  Sliding form: every loss is swept back through
# the last `horizon` steps at once.  The sweep uses the weights of the moment, which are those of the
# forward pass as long as updates come only at the ends of blocks.
#
# Time 4 r n m a step and lane in block form, `horizon` times that when sliding; memory
# horizon (2 n + k r n + k^2 n + x) a lane, where x is one integer for ids.

cdef class TBPTT(Estimator):
    options = {"horizon": REQUIRED, "sliding": False}
    kind = "biased"
    cdef long horizon
    cdef bint sliding
    cdef Record *tape                # [depth], each of horizon * lanes lanes: slot after slot
    cdef real *credits               # [horizon, lanes, n]: d loss / d h of each step, not yet swept
    cdef int32_t *cuts               # [horizon, lanes]: the lane was reset before this step
    cdef int64_t *fill               # [3]: records in the window, newest slot, whether credits are owed
    cdef int32_t *reset_now          # [lanes]: reset since the newest record
    cdef real *delta                 # [lanes, kn]
    cdef real *pulled                # [lanes, kn]
    cdef real *y                     # [lanes, rows]

    def __init__(self, horizon, sliding=False):
        self.horizon, self.sliding, self.fresh = horizon, sliding, False

    def flops(self):
        cdef double each = 4.0 * self.net.depth * self.net.stages[0].rows * self.net.stages[0].m
        return each * (self.horizon - 1) if self.sliding else 0

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double lanes = net.lanes, kn = net.k * net.n
        cdef int l
        if self.tape is NULL:
            self.tape = <Record *>calloc(net.depth, sizeof(Record))
        for l in range(net.depth):
            self.tape[l] = record_layout(arena, f"{l}.", "tape", &net.stages[l], self.horizon * lanes)
        self.credits = arena.reals("credits", "tape", self.horizon * lanes * net.n)
        self.cuts = arena.ids("cuts", "tape", self.horizon * lanes)
        self.fill = arena.integers("fill", "tape", 3)
        self.reset_now = arena.ids("reset_now", "tape", lanes)
        self.delta = arena.reals("delta", "workspace", lanes * kn)
        self.pulled = arena.reals("pulled", "workspace", lanes * kn)
        self.y = arena.reals("y", "workspace", lanes * net.stages[0].rows)

    cdef layout_dense(self, Arena arena):
        cdef double count = <double>self.horizon * self.net.lanes * self.net.stages[0].inputs
        self.tape[0].x = arena.reals("x", "tape", count)

    def __dealloc__(self):
        free(self.tape)

    cdef void observe(self, Team team) noexcept nogil:
        cdef long first = team_first(team, self.net.lanes), last = team_last(team, self.net.lanes), b
        cdef long n = self.net.n, slot
        cdef Record record
        cdef int l
        if not self.sliding and self.fill[0] == self.horizon:
            self.settle(team)
        slot = (self.fill[1] + 1) % self.horizon
        for l in range(self.net.depth):
            record = record_from(&self.net.stages[l], &self.tape[l], slot * self.net.lanes)
            record_copy(&self.net.stages[l], &self.net.records[l], &record, first, last)
        for b in range(first, last):
            memset(self.credits + (slot * self.net.lanes + b) * n, 0, n * sizeof(real))
            self.cuts[slot * self.net.lanes + b] = self.reset_now[b]
            self.reset_now[b] = 0
        team_barrier(team)
        if team.rank == 0:
            self.fill[1] = slot
            if self.sliding:
                self.fill[0] = min(self.fill[0] + 1, self.horizon)
            else:
                self.fill[0] = self.fill[0] % self.horizon + 1
        team_barrier(team)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long first = team_first(team, self.net.lanes), last = team_last(team, self.net.lanes), b
        cdef long n = self.net.n, kn = self.net.k * n
        if self.fill[0] == 0:
            return
        if self.sliding or self.probing:
            memcpy(self.delta + first * kn, delta + first * kn, (last - first) * kn * sizeof(real))
            for b in range(first, last):
                if self.reset_now[b]:
                    memset(self.delta + b * kn, 0, kn * sizeof(real))
            team_barrier(team)
            self.sweep(team, False)
            return
        for b in range(first, last):
            if not self.reset_now[b]:
                axpy(n, 1, delta + b * kn, self.credits + (self.fill[1] * self.net.lanes + b) * n)
        if team.rank == 0:
            self.fill[2] = 1

    cdef void settle(self, Team team) noexcept nogil:
        if self.fill[2] == 0:
            return
        cdef long kn = self.net.k * self.net.n
        cdef long first = team_first(team, self.net.lanes), last = team_last(team, self.net.lanes)
        memset(self.delta + first * kn, 0, (last - first) * kn * sizeof(real))
        team_barrier(team)
        self.sweep(team, True)
        if team.rank == 0:
            self.fill[2] = 0
        team_barrier(team)

    cdef void sweep(self, Team team, bint owed) noexcept nogil:
        """Carry self.delta back through the window, picking up the credits that are owed."""
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lanes = self.net.lanes, n = self.net.n, kn = self.net.k * n, t, slot, b
        cdef real *credits
        cdef Record record
        cdef int l
        for t in range(self.fill[0]):
            slot = (self.fill[1] - t + self.horizon) % self.horizon
            if owed and share.team.rank == 0:
                for b in range(share.first, share.last):
                    credits = self.credits + (slot * lanes + b) * n
                    axpy(n, 1, credits, self.delta + b * kn)
                    memset(credits, 0, n * sizeof(real))
            team_barrier(share.team)
            for l in range(self.net.depth - 1, -1, -1):
                record = record_from(&self.net.stages[l], &self.tape[l], slot * lanes)
                self.sweep_stage(team, share, l, &record, l > 0 or t < self.fill[0] - 1)
            if share.team.rank == 0:
                for b in range(share.first, share.last):
                    if self.cuts[slot * lanes + b]:
                        memset(self.delta + b * kn, 0, kn * sizeof(real))
            team_barrier(share.team)

    cdef void sweep_stage(self, Team team, Share share, int l, Record *record, bint onward) noexcept nogil:
        """Credit one stage of one step, and pull delta through it if anything lies before."""
        cdef Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n, b
        if share.team.rank == 0:
            for b in range(share.first, share.last):
                seed_pull(stage, record, b, self.delta + b * kn, self.y + b * stage.rows, self.pulled + b * kn)
        team_barrier(team)
        if onward:
            finish_pull(stage, share.last - share.first, self.y + share.first * stage.rows, self.pulled + share.first * kn,
                        unit_first(share.team, stage.n), unit_last(share.team, stage.n))
        credit_outer(stage, record, self.net.lanes, self.y, self.gradient + stage.offset,
                     team_first(team, stage.rows), team_last(team, stage.rows))
        team_barrier(team)
        if share.team.rank == 0:
            memcpy(self.delta + share.first * kn, self.pulled + share.first * kn, (share.last - share.first) * kn * sizeof(real))
        team_barrier(team)

    cdef void clear(self, long lane) noexcept nogil:
        self.reset_now[lane] = 1
