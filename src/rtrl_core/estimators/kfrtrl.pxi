# KF-RTRL: the influence as one random Kronecker product (Mujika, Meier, Steger 2018, arXiv:1805.10842).
#
#     G ~ u (x) A        u [m], A [kn, rn]          gradient += u (x) (delta A)
#     A' = H A           p1 = balance(|A'|, |u|)     p2 = balance(|D|, |h_hat|)
#     u <- c1 p1 u + c2 p2 h_hat                     A <- c1 A' / p1 + c2 D / p2
#
# c1, c2 are independent fair signs, so the cross terms vanish in the mean; the scales minimise their
# variance.  Time 2 k r n^3 a step, lane and stage; memory m + k r n^2.  The factor of A is kept apart
# ("lazy") and folded into the next product, and D touches k r n entries: no pass over A but the product.
# Where that follows at once, it meets each panel of A with delta too, while the panel is in the first cache.
#
# `average` such pairs with signs of their own (pair i has signs 2i and 2i + 1) give the mean of what each
# gives, for as many times the time and memory.  They share H.

cdef class KFRTRL(Estimator):
    options = {"average": 1, "fresh": True}
    kind = "unbiased"
    cdef long average                # pairs of a lane; pair i of a lane is row lane * average + i of every array
    cdef real **u                    # [depth][lanes, average, m]
    cdef real **A                    # [depth][lanes, average, panels, kn, PANEL], to be multiplied by lazy
    cdef double *lazy                # [depth, lanes, average]
    cdef real *H                     # [threads, factor_reals]
    cdef real *room                  # [threads, kn, PANEL]
    cdef real *h_hat                 # [threads, m]
    cdef real *signs                 # [threads, average, 2]
    cdef real **y                    # [depth][lanes, average, PANEL * panels]: delta A ...
    cdef real **met                  # [depth][lanes, average, m]: ... and u as it was then
    cdef const real *owed            # [lanes, kn] delta that waits for the next product, or NULL
    cdef double *squares             # [threads, panels]
    cdef long panels

    def __init__(self, average=1, fresh=True):
        self.average, self.fresh = average, fresh

    def flops(self):
        cdef double n = self.net.n, depth = self.net.depth
        return self.average * depth * depth * 2 * self.net.k * n * n * self.net.stages[0].rows

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, threads = net.threads, pairs = <double>net.lanes * self.average
        cdef int l
        if self.u is NULL:
            self.u = <real **>zeroed(net.depth, sizeof(real *))
            self.A = <real **>zeroed(net.depth, sizeof(real *))
            self.y = <real **>zeroed(net.depth, sizeof(real *))
            self.met = <real **>zeroed(net.depth, sizeof(real *))
        self.panels = panels_of(net.stages[0].rows)
        for l in range(net.depth):
            self.u[l] = arena.reals(f"u{l}", "influence", pairs * net.stages[l].m)
            self.A[l] = arena.reals(f"A{l}", "influence", pairs * kn * PANEL * self.panels)
            self.y[l] = arena.reals(f"y{l}", "workspace", pairs * PANEL * self.panels)
            self.met[l] = arena.reals(f"met{l}", "workspace", pairs * net.stages[l].m if self.fresh else 0)
        self.lazy = arena.doubles("lazy", "influence", pairs * net.depth)
        self.H = arena.reals("H", "workspace", threads * factor_reals(<long>kn, net.n))
        self.room = arena.reals("room", "workspace", threads * kn * PANEL)
        self.h_hat = arena.reals("h_hat", "workspace", threads * net.stages[0].m)
        self.signs = arena.reals("signs", "workspace", threads * 2 * self.average)
        self.squares = arena.doubles("squares", "workspace", threads * self.panels)

    def __dealloc__(self):
        free(self.u)
        free(self.A)
        free(self.y)
        free(self.met)

    cdef inline real *factor_A(self, int l, long pair) noexcept nogil:
        return self.A[l] + pair * self.panels * self.net.k * self.net.n * PANEL

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef Team crew = share.team
        cdef int slot = team.rank if crew.size == 1 else 0, l, block
        cdef long n = self.net.n, kn = self.net.k * n, lane, pair
        cdef real *H = self.H + slot * factor_reals(kn, n)
        cdef bint owed = self.owed is not NULL
        # Backwards: the A that are multiplied last are still in the second cache when the next credit begins with them.
        for lane in range(share.last - 1, share.first - 1, -1):
            for l in range(self.net.depth):
                form_factor(&self.net.stages[l], &self.net.records[l], lane, H, self.room + team.rank * kn * PANEL,
                            unit_first(crew, n), unit_last(crew, n))
                if crew.rank == 0:
                    self.net.signs(lane, l, 2 * self.average, self.signs + slot * 2 * self.average)
                team_barrier(crew)
                for block in range(self.net.depth):
                    for pair in range(self.average - 1, -1, -1):
                        self.advance(crew, team.rank, slot, lane, pair, l, block)
        if owed:
            team_barrier(team)
            for l in range(self.net.depth):
                self.credit_pairs(team, l, self.met[l])
            if team.rank == 0:
                self.owed = NULL

    cdef void advance(self, Team crew, int rank, int slot, long lane, long i, int l, int block) noexcept nogil:
        """A <- H A of one pair and block, and then its new factors."""
        cdef long kn = self.net.k * self.net.n, pair = lane * self.average + i, p
        cdef double *squares = self.squares + slot * self.panels
        cdef double lazy = self.lazy[block * self.net.lanes * self.average + pair]
        cdef bint owed = self.owed is not NULL and l == 0
        if owed and crew.rank == 0:
            memcpy(self.met[block] + pair * self.net.stages[block].m, self.u[block] + pair * self.net.stages[block].m,
                   self.net.stages[block].m * sizeof(real))
        for p in range(team_last(crew, self.panels) - 1, team_first(crew, self.panels) - 1, -1):
            if owed:
                self.pull_panels(self.owed + lane * kn, block, pair, p, 1)
            squares[p] = push_panel(&self.net.stages[l], &self.net.records[l], lane,
                                    self.H + slot * factor_reals(kn, self.net.n), <real>lazy,
                                    self.factor_A(block, pair) + p * kn * PANEL, self.room + rank * kn * PANEL, -1)
        team_barrier(crew)
        if crew.rank == 0:
            self.reduce(lane, pair, block, l, squares, self.signs + 2 * (slot * self.average + i),
                        self.h_hat + rank * self.net.stages[0].m)
        team_barrier(crew)

    cdef void reduce(self, long lane, long pair, int block, int l, const double *squares, const real *signs, real *h_hat) noexcept nogil:
        """The new factors of one block, after its A was multiplied by H_l; only block l gains F_l."""
        cdef const Stage *stage = &self.net.stages[block]
        cdef real *u = self.u[block] + pair * stage.m
        cdef double *lazy = self.lazy + block * self.net.lanes * self.average + pair
        cdef double norm_A = 0, norm_u = sqrt(norm2(stage.m, u)), guard, p1, q1, p2, q2
        cdef const real *D = self.net.records[l].D + lane * stage.k * stage.rows
        cdef long p
        for p in range(self.panels):
            norm_A += squares[p]
        norm_A = sqrt(norm_A) * abs(lazy[0])
        guard = self.guard(lane, norm_A * norm_u)
        if guard == 0:
            self.clear_pair(block, pair)
            norm_A = norm_u = 0
        lazy[0] = guard if guard > 0 else 1
        if block != l:
            return
        balance(norm_A * guard, norm_u, &p1, &q1)
        extend(stage, &self.net.records[l], lane, h_hat)
        balance(sqrt(norm2(stage.k * stage.rows, D)), sqrt(norm2(stage.m, h_hat)), &p2, &q2)
        if p1 == 0 and norm_A > 0:
            self.clear_pair(block, pair)
        axpby_norm2(stage.m, <real>(signs[1] * p2), h_hat, <real>(signs[0] * p1), u)
        lazy[0] = signs[0] * q1 * guard if p1 > 0 else 1
        self.add_diagonals(stage, D, <real>(signs[1] * q2 / lazy[0]), self.factor_A(block, pair))

    cdef void add_diagonals(self, const Stage *stage, const real *D, real alpha, real *A) noexcept nogil:
        """A[(c,i),(a,i)] += alpha D[c,a,i]."""
        cdef long n = stage.n, a, c, i
        for a in range(stage.r):
            for i in range(n):
                for c in range(stage.k):
                    panel_entry(A, stage.k * n, c * n + i, a * n + i)[0] += alpha * D[c * stage.rows + a * n + i]

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, pairs = self.net.lanes * self.average, task, end, count
        cdef int l
        if self.fresh and self.net.closing and not self.probing:
            if team.rank == 0:
                self.owed = delta
            return
        for l in range(self.net.depth):
            task, end = team_first(team, pairs * self.panels), team_last(team, pairs * self.panels)
            while task < end:
                count = min(self.panels - task % self.panels, end - task)
                self.pull_panels(delta + task // self.panels // self.average * kn, l, task // self.panels, task % self.panels, count)
                task += count
            team_barrier(team)
            self.credit_pairs(team, l, self.u[l])
            team_barrier(team)

    cdef void pull_panels(self, const real *delta, int l, long pair, long p, long count) noexcept nogil:
        """y = delta A / average of one pair and block, `count` panels from p on; delta is that of its lane."""
        cdef real *y = self.y[l] + (pair * self.panels + p) * PANEL
        memset(y, 0, count * PANEL * sizeof(real))
        panels_pull(self.net.k * self.net.n, count, delta, self.factor_A(l, pair) + p * self.net.k * self.net.n * PANEL, y)
        scale(count * PANEL, <real>(self.lazy[l * self.net.lanes * self.average + pair] / self.average), y)

    cdef void credit_pairs(self, Team team, int l, const real *u) noexcept nogil:
        """gradient += sum over pairs of y (x) u, [lanes, average, m]."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long first = team_first(team, stage.rows), last = team_last(team, stage.rows)
        outers(last - first, stage.m, self.net.lanes * self.average, self.y[l] + first, self.panels * PANEL, u, stage.m,
               self.gradient + stage.offset + first * stage.ldw, stage.ldw)

    cdef void clear_pair(self, int l, long pair) noexcept nogil:
        memset(self.u[l] + pair * self.net.stages[l].m, 0, self.net.stages[l].m * sizeof(real))
        memset(self.factor_A(l, pair), 0, self.panels * self.net.k * self.net.n * PANEL * sizeof(real))
        self.lazy[l * self.net.lanes * self.average + pair] = 1

    cdef void clear(self, long lane) noexcept nogil:
        cdef long pair
        cdef int l
        for l in range(self.net.depth):
            for pair in range(lane * self.average, (lane + 1) * self.average):
                self.clear_pair(l, pair)
