# DNI: a learned prediction of the credit that later losses will give (Jaderberg et al. 2017, arXiv:1608.05343;
# Marschall, Cho, Savin 2020, arXiv:1907.02649).
#
#     f = A phi        phi = h_hat of the first stage, what the step read [m]       A [kn, m]
#     gradient += (delta + f) F                c = (delta + f) H, credit before the step
#     A <- A - lr (A phi' - c) (x) phi' / |phi'|^2           phi' = phi of the step before
#
# delta F is exact; only the future is synthetic.  Marschall et al. predict delta as well, from [h; label; 1].
# A survives a reset.  The influence is F: the synthetic part is not linear in delta.  Time about
# 4 kn m + 4 r n m a step, lane and stage; memory kn m.

cdef class DNI(Estimator):
    options = {"lr": 0.03}
    kind = "biased"
    cdef double lr
    cdef real *A                     # [lanes, kn, m]
    cdef real *before                # [lanes, m] phi that awaits its target
    cdef real *now                   # [lanes, m] phi of the current step
    cdef real *target                # [lanes, kn] c of the current step
    cdef int32_t *live               # [lanes] the current step came after the last reset
    cdef real *carried               # [lanes, kn]
    cdef real *pulled                # [lanes, kn]
    cdef real *y                     # [lanes, rows]
    cdef double *squares             # [lanes, kn]: of the rows of A

    def __init__(self, lr=0.03):
        self.fresh, self.lr = False, lr

    def flops(self):
        cdef double kn = self.net.k * self.net.n, each = 4.0 * self.net.stages[0].rows * self.net.stages[0].m
        return 4 * kn * self.net.stages[0].m + 2 * self.net.depth * each

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, lanes = net.lanes, m = net.stages[0].m
        self.A = arena.reals("A", "influence", lanes * kn * m)
        self.before = arena.reals("before", "influence", lanes * m)
        self.now = arena.reals("now", "influence", lanes * m)
        self.target = arena.reals("target", "influence", lanes * kn)
        self.live = arena.ids("live", "influence", lanes, 1)
        self.carried = arena.reals("carried", "workspace", lanes * kn)
        self.pulled = arena.reals("pulled", "workspace", lanes * kn)
        self.y = arena.reals("y", "workspace", lanes * net.stages[0].rows)
        self.squares = arena.doubles("squares", "workspace", lanes * kn)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long kn = self.net.k * self.net.n, m = self.net.stages[0].m, lane, i
        cdef real *phi
        for lane in range(share.first, share.last):
            self.learn(share.team, lane)
            phi = self.now + lane * m
            if share.team.rank == 0:
                memcpy(self.before + lane * m, phi, m * sizeof(real))
                extend(&self.net.stages[0], &self.net.records[0], lane, phi)
                memset(self.target + lane * kn, 0, kn * sizeof(real))
                self.live[lane] = 1
            team_barrier(share.team)
            for i in range(team_first(share.team, kn), team_last(share.team, kn)):
                self.carried[lane * kn + i] = <real>dot(m, self.A + (lane * kn + i) * m, phi)
        team_barrier(team)
        self.sweep(team)

    cdef void learn(self, Team crew, long lane) noexcept nogil:
        """One step of A towards the credit that came back to the step before, under the guard."""
        cdef long kn = self.net.k * self.net.n, m = self.net.stages[0].m, i
        cdef real *A = self.A + lane * kn * m
        cdef real *before = self.before + lane * m
        cdef double size = norm2(m, before), error, total = 0, factor
        team_barrier(crew)               # nobody may move on and change `before` until everybody has read it
        if size == 0:
            return
        for i in range(team_first(crew, kn), team_last(crew, kn)):
            error = dot(m, A + i * m, before) - self.target[lane * kn + i]
            self.squares[lane * kn + i] = axpby_norm2(m, <real>(-self.lr / size * error), before, 1, A + i * m)
        team_barrier(crew)
        if crew.rank == 0:
            for i in range(kn):
                total += self.squares[lane * kn + i]
            factor = self.guard(lane, sqrt(total))
            if factor == 0:
                memset(A, 0, kn * m * sizeof(real))
            elif factor < 1:
                scale(kn * m, <real>factor, A)
        team_barrier(crew)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, b
        for b in range(team_first(team, self.net.lanes), team_last(team, self.net.lanes)):
            memcpy(self.carried + b * kn, delta + b * kn, kn * sizeof(real))
            if not self.live[b]:
                memset(self.carried + b * kn, 0, kn * sizeof(real))
        team_barrier(team)
        self.sweep(team)

    cdef void sweep(self, Team team) noexcept nogil:
        """gradient += carried F, target += carried H, through all stages of the current step."""
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long kn = self.net.k * self.net.n, b
        cdef const Stage *stage
        cdef int l
        for l in range(self.net.depth - 1, -1, -1):
            stage = &self.net.stages[l]
            if share.team.rank == 0:
                for b in range(share.first, share.last):
                    seed_pull(stage, &self.net.records[l], b, self.carried + b * kn, self.y + b * stage.rows,
                              self.pulled + b * kn)
            team_barrier(team)
            finish_pull(stage, share.last - share.first, self.y + share.first * stage.rows, self.pulled + share.first * kn,
                        unit_first(share.team, stage.n), unit_last(share.team, stage.n))
            credit_outer(stage, &self.net.records[l], self.net.lanes, self.y, self.gradient + stage.offset,
                         team_first(team, stage.rows), team_last(team, stage.rows))
            team_barrier(team)
            if share.team.rank == 0:
                memcpy(self.carried + share.first * kn, self.pulled + share.first * kn,
                       (share.last - share.first) * kn * sizeof(real))
            team_barrier(team)
        if share.team.rank == 0 and not self.probing:
            axpy((share.last - share.first) * kn, 1, self.carried + share.first * kn, self.target + share.first * kn)
        team_barrier(team)

    cdef void clear(self, long lane) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, m = self.net.stages[0].m
        memset(self.before + lane * m, 0, m * sizeof(real))
        memset(self.now + lane * m, 0, m * sizeof(real))
        memset(self.target + lane * kn, 0, kn * sizeof(real))
        self.live[lane] = 0
