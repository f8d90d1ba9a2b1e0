# UORO: the influence as one random outer product (Tallec and Ollivier 2017, arXiv:1702.05043).
#
#     G ~ v (x) w        v [kn], w [rn, m]           gradient += (delta v) w
#     v <- rho0 H v + rho1 nu                        rho0 = balance(|w|, |H v|)
#     w <- w / rho0 + (nu F) / rho1                  rho1 = balance(|nu F|, |nu|)
#
# nu F = (nu D) (x) h_hat, so its norm is a product of two.  Time about 2 r n^2 + 4 r n m a step, lane
# and stage, bound by one read and one write of w; memory kn + r n m, and r n + m for a product that waits.
#
# With memory T = horizon this reduction comes once in T steps, with H and F of the whole window: nu F is
# a sum of T outer products, swept back through T - 1 records.  In between v <- H v alone, and
#
#     G ~ v (x) w + the exact influence of the window's own steps
#
# so that a loss also goes to the window, whose one sweep serves all losses until a gradient is asked for.
# The windows are those of all lanes together.  Each step then takes 2 r n^2 a pair of stages more for nu F and
# 4 r n m for the sweep, and T - 1 records of memory.

cdef class UORO(Estimator):
    options = {"horizon": 1, "fresh": True}
    kind = "unbiased"
    cdef long horizon
    cdef RankOne pair
    cdef Window window               # None without a memory
    cdef double *scales              # [lanes, 4]: rho0, 1/rho0, rho1, 1/rho1

    def __init__(self, horizon=1, fresh=True):
        self.horizon, self.fresh = horizon, fresh
        self.pair = RankOne()
        self.window = Window() if horizon > 1 else None

    def flops(self):
        cdef double n = self.net.n, depth = self.net.depth, rows = self.net.stages[0].rows
        cdef double pass_over_w = depth * 4 * rows * self.net.stages[0].m
        return depth * depth * 2 * rows * n * (1 if self.window is None else 2) + pass_over_w * (1 if self.window is None else 2)

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        self.pair.layout(arena, net.stages, net.depth, net.lanes, net.threads, self.horizon)
        self.scales = arena.doubles("scales", "workspace", <double>net.lanes * 4)
        if self.window is not None:
            self.window.layout(arena, net.stages, net.depth, net.lanes, self.horizon - 1, net.k * net.n)

    cdef layout_dense(self, Arena arena):
        if self.window is not None:
            self.window.layout_dense(arena)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef bint closes = self.window is None or self.window.fill[0] == self.window.capacity
        cdef long lane
        cdef int l, block
        if closes:
            self.settle(team)
        for l in range(self.net.depth):
            for block in range(self.net.depth):
                self.pair.push(share, l, &self.net.records[l], block)
                for lane in range(share.first, share.last):
                    if block != l:
                        self.pair.keep(share.team, block, lane)
                    elif closes:
                        self.reduce(share.team, lane, l)
                    elif share.team.rank == 0:
                        self.pass_on(lane, l)
                team_barrier(share.team)
        if self.window is None:
            return
        if closes:
            self.window.empty(team)
        else:
            self.window.append(team, self.net.records, False)

    cdef double watched(self, long lane, int l, double *norm_w, double *norm_v) noexcept nogil:
        """Norms of w and H v, and the factor of the guard."""
        cdef double guard
        norm_w[0], norm_v[0] = self.pair.norm_w(l, lane), self.pair.norm_pushed(lane)
        guard = self.guard(lane, norm_w[0] * norm_v[0])
        if guard == 0:
            self.pair.drop(l, lane)
        return guard

    cdef void pass_on(self, long lane, int l) noexcept nogil:
        """v <- H v within a window."""
        cdef double norm_w, norm_v, guard = self.watched(lane, l, &norm_w, &norm_v)
        self.pair.mix_v(l, lane, <real>guard, 0)

    cdef void reduce(self, Team crew, long lane, int l) noexcept nogil:
        """The new v and w of one block."""
        cdef double *scales = self.scales + 4 * lane
        cdef double norm_w, norm_v, norm_new, guard
        cdef long terms = 1
        self.pair.settle(crew, l, lane)
        if crew.rank == 0:
            self.net.signs(lane, l, self.pair.kn, self.pair.nu + lane * self.pair.kn)
        if self.window is not None:
            team_barrier(crew)
            terms = self.window.trace(crew, lane, l, self.net.records, self.pair.nu + lane * self.pair.kn,
                                    self.pair.y_of(lane), self.pair.h_hat_of(lane))
        elif crew.rank == 0:
            self.pair.seed(l, &self.net.records[l], lane)
        if crew.rank == 0:
            guard = self.watched(lane, l, &norm_w, &norm_v)
            balance(norm_w, norm_v * guard, &scales[0], &scales[1])
            norm_new = self.pair.norm_new(l, lane, terms)
            if not isfinite(norm_new):
                self.guard(lane, norm_new)
                memset(self.pair.y_of(lane), 0, terms * self.pair.rows * sizeof(real))
            balance(norm_new, sqrt(<double>self.pair.kn), &scales[2], &scales[3])
            self.pair.mix_v(l, lane, <real>(scales[0] * guard), <real>scales[2])
        team_barrier(crew)
        self.pair.mix_w(crew, l, lane, <real>scales[1], scales[3], terms)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        self.pair.credit(team, delta, self.gradient)
        if self.window is None:
            return
        if self.probing:
            self.window.sweep_now(team, delta, self.gradient)
        else:
            self.window.owe(team, delta)

    cdef void settle(self, Team team) noexcept nogil:
        if self.window is not None:
            self.window.settle(team, self.gradient)

    cdef void clear(self, long lane) noexcept nogil:
        self.pair.clear(lane)
        if self.window is not None:
            self.window.cut(lane)
