# KF-RTRL in blocks of time steps: the same recursion of u and A (kfrtrl.pxi), with A itself worked out once a block.
#
#     A_t = c1 H_t A_{t-1} / p1 + c2 D_t / p2 = kappa_0 H_t ... H_1 A_0 + sum_s kappa_s H_t ... H_{s+1} D_s
#
# u and kappa are kept up to date, A and the records of the block as they are.  A gradient pulls delta back through the
# block: delta A_t = kappa_0 (delta H_t ... H_1) A_0 + sum_s kappa_s (delta H_t ... H_{s+1}) D_s.  At the end of a block
# A_0 <- A_t (jacobian/blocks.pxi).  This is exact.  Of H A only the size is needed at every step, for p1: it is that of
#
#     v = A w,  v <- c1 H v / p1 + c2 D w / p2         E |H v|^2 = |H A|^2 over random signs w [rn], drawn once a block
#
# Any p1 that does not know c1, c2 of its step leaves the estimate unbiased, if the product is dropped only where u is 0;
# p1 is at least 2^-10, because v may be 0 where A is not.
#
# Time a block, lane and stage: 2 k^2 n^3 (block - 1) for P, 2 k^2 r n^3 for P_0 A, and on average block / 2 pulls a step;
# memory m + k r n^2, block - 1 records and W, block P [kn, kn] for each thread.  In a chain of L stages the P serve all of
# them: time grows with L.

cdef class BlockKFRTRL(Estimator):
    options = {"block": REQUIRED, "average": 1, "fresh": True}
    kind = "unbiased"
    cdef long block, average         # pairs of a lane; pair i of a lane is row lane * average + i of every array
    cdef long panels, width          # width: PANEL * panels
    cdef real **u                    # [depth][lanes, average, m]
    cdef real **A                    # [depth][lanes, average, panels, kn, PANEL] at the start of the block
    cdef real **v                    # [depth][lanes, average, kn]
    cdef real **w                    # [depth][lanes, width]
    cdef double *kappa               # [depth, lanes, average, block + 1]
    cdef Span span                   # the running block
    cdef Sweep back
    cdef real *y                     # [depth, lanes, average, width]: delta A
    cdef real *pushed                # [depth, lanes, average, kn]: H v
    cdef real *z                     # [lanes, average, rows]
    cdef double *squares             # [groups of threads that work on one lane, depth, average, panels]
    cdef real *signs                 # [threads, 2 average + rows]
    cdef real *h_hat                 # [threads, m]

    def __init__(self, block, average=1, fresh=True):
        self.block, self.average, self.fresh = block, average, fresh

    def flops(self):
        cdef double n = self.net.n, kn = self.net.k * n, rows = self.net.stages[0].rows, depth = self.net.depth
        cdef double pull = 2 * rows * n, carry = 2 * self.average * kn * rows
        return ((2 * kn * kn * n * (self.block * depth - 1) + depth * kn * carry) / self.block
                + depth * (carry + pull * (self.block - 1) / 2 + depth * self.average * pull))

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, pairs = <double>net.lanes * self.average, rows = net.stages[0].rows
        cdef double threads = net.threads, groups = min(net.threads, net.lanes)
        cdef int l
        if self.u is NULL:
            self.u, self.A = <real **>zeroed(net.depth, sizeof(real *)), <real **>zeroed(net.depth, sizeof(real *))
            self.v, self.w = <real **>zeroed(net.depth, sizeof(real *)), <real **>zeroed(net.depth, sizeof(real *))
            self.span = Span()
        self.panels = panels_of(net.stages[0].rows)
        self.width = self.panels * PANEL
        for l in range(net.depth):
            self.u[l] = arena.reals(f"u{l}", "influence", pairs * net.stages[l].m)
            self.A[l] = arena.reals(f"A{l}", "influence", pairs * kn * self.width)
            self.v[l] = arena.reals(f"v{l}", "influence", pairs * kn)
            self.w[l] = arena.reals(f"w{l}", "influence", <double>net.lanes * self.width)
        self.kappa = arena.doubles("kappa", "influence", net.depth * pairs * (self.block + 1.0))
        self.span.layout(arena, net.stages, net.records, net.depth, net.lanes, net.threads, self.block)
        sweep_layout(&self.back, arena, net.stages, net.lanes)
        self.y = arena.reals("yA", "workspace", net.depth * pairs * self.width)
        self.pushed = arena.reals("pushed", "workspace", net.depth * pairs * kn)
        self.z = arena.reals("z", "workspace", pairs * rows)
        self.squares = arena.doubles("squares", "workspace", groups * net.depth * self.average * self.panels)
        self.signs = arena.reals("signs", "workspace", threads * (2.0 * self.average + rows))
        self.h_hat = arena.reals("h_hat", "workspace", threads * net.stages[0].m)

    cdef layout_dense(self, Arena arena):
        self.span.layout_dense(arena)

    def __dealloc__(self):
        free(self.u)
        free(self.A)
        free(self.v)
        free(self.w)

    cdef inline real *factor_A(self, int l, long pair) noexcept nogil:
        return self.A[l] + pair * self.net.k * self.net.n * self.width

    cdef inline double *weights(self, int l, long pair) noexcept nogil:
        """kappa of one pair: of A, and of the D of every step."""
        return self.kappa + (l * self.net.lanes * self.average + pair) * (self.block + 1)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef Team crew = share.team
        cdef long n = self.net.n, kn = self.net.k * n, lane, pair, t = self.span.fill[0], first = share.first * self.average
        cdef long count = share.last - share.first, pairs = self.net.lanes * self.average
        cdef int l, b
        for lane in range(share.first, share.last if t == 0 else share.first):
            self.open(crew, team.rank, lane)
        for l in range(self.net.depth):
            for b in range(self.net.depth):
                push(&self.net.stages[l], &self.net.records[l], share.first, count, self.average, self.v[b] + first * kn,
                     self.z + first * self.net.stages[0].rows, self.net.stages[0].rows, self.pushed + (b * pairs + first) * kn,
                     unit_first(crew, n), unit_last(crew, n))
            team_barrier(crew)
            for lane in range(share.first, share.last if crew.rank == 0 else share.first):
                self.net.signs(lane, l, 2 * self.average, self.signs_of(team.rank))
                for b in range(self.net.depth):
                    for pair in range(lane * self.average, (lane + 1) * self.average):
                        self.reduce(lane, pair, b, l, t, self.signs_of(team.rank) + pair % self.average * 2,
                                    self.h_hat + team.rank * self.net.stages[0].m)
            team_barrier(crew)
        for lane in range(share.first, share.last if self.span.ends() else share.first):
            self.close(crew, team.rank if crew.size == 1 else 0, team.rank, lane)
        self.span.step(team)

    cdef inline real *signs_of(self, int thread) noexcept nogil:
        return self.signs + thread * (2 * self.average + self.net.stages[0].rows)

    cdef void open(self, Team crew, long thread, long lane) noexcept nogil:
        """The start of a block for one lane: new w, and v = A w."""
        cdef long kn = self.net.k * self.net.n, first = unit_first(crew, kn), last = unit_last(crew, kn), pair
        cdef long rows = self.net.stages[0].rows
        cdef real *signs = self.signs_of(thread)
        cdef real *w
        cdef real *v
        cdef int l
        for l in range(self.net.depth):
            w = self.w[l] + lane * self.width
            if crew.rank == 0:
                self.net.signs(lane, l, 2 * self.average + rows, signs)
                memcpy(w, signs + 2 * self.average, rows * sizeof(real))
            team_barrier(crew)
            for pair in range(lane * self.average, (lane + 1) * self.average):
                v = self.v[l] + pair * kn
                memset(v + first, 0, (last - first) * sizeof(real))
                if self.weights(l, pair)[0] != 0:
                    panel_dots(last - first, self.panels, self.factor_A(l, pair) + first * PANEL, kn * PANEL, w, v + first)
                scale(last - first, <real>self.weights(l, pair)[0], v + first)
        team_barrier(crew)

    cdef void reduce(self, long lane, long pair, int b, int l, long t, const real *signs, real *h_hat) noexcept nogil:
        """The new factors of the influence of stage b, after its A was multiplied by H_l of step t; only that of stage l gains F_l."""
        cdef const Stage *stage = &self.net.stages[b]
        cdef const real *D = self.net.records[l].D + lane * stage.k * stage.rows
        cdef long kn = stage.k * stage.n, i
        cdef real *u = self.u[b] + pair * stage.m
        cdef real *v = self.v[b] + pair * kn
        cdef real *pushed = self.pushed + (b * self.net.lanes * self.average + pair) * kn
        cdef double *kappa = self.weights(b, pair)
        cdef double norm_v = sqrt(norm2(kn, pushed)), norm_u = sqrt(norm2(stage.m, u)), carried, p1 = 0, q1 = 0, p2, q2 = 0
        carried = self.guard(lane, norm_v * norm_u)
        if carried == 0:
            self.clear_pair(b, pair)
            norm_u = 0
        if b == l:
            extend(stage, &self.net.records[l], lane, h_hat)
            balance(sqrt(norm2(stage.k * stage.rows, D)), sqrt(norm2(stage.m, h_hat)), &p2, &q2)
            if norm_u > 0:
                p1 = max(1.0 / 1024, sqrt(norm_v * carried) / sqrt(norm_u))
                q1 = 1 / p1
            axpby_norm2(stage.m, <real>(signs[1] * p2), h_hat, <real>(signs[0] * p1), u)
            carried *= signs[0] * q1
        for i in range(t + 2):  # that of D_t as well, once a later stage moves it
            kappa[i] *= carried
        for i in range(kn):
            v[i] = <real>carried * pushed[i] if carried != 0 else 0
        if b == l:
            kappa[t + 1] = signs[1] * q2
            add_maps(stage, D, <real>kappa[t + 1], self.w[b] + lane * self.width, v)

    cdef void close(self, Team crew, long group, int thread, long lane) noexcept nogil:
        """The end of a block for one lane: A panel by panel, and then kappa."""
        cdef long each = self.panels * self.average, task, pair
        cdef double *squares = self.squares + group * self.net.depth * each
        cdef int l
        self.span.suffixes(crew, group, thread, lane)
        for task in range(team_first(crew, self.net.depth * each), team_last(crew, self.net.depth * each)):
            l, pair = <int>(task // each), lane * self.average + task % each // self.panels
            squares[task] = self.span.carry_panel(
                group, thread, lane, l, panel_in_order(&self.net.stages[0], task % self.panels), self.weights(l, pair),
                self.panel_of(lane, task), self.panel_of(lane, min(task + 1, self.net.depth * each - 1)))
        team_barrier(crew)
        for task in range(self.net.depth * self.average if crew.rank == 0 else 0):
            self.settle_pair(lane, lane * self.average + task % self.average, <int>(task // self.average), squares + task * self.panels)
        team_barrier(crew)

    cdef inline real *panel_of(self, long lane, long task) noexcept nogil:
        """The panel of A that is the task-th to be carried in one lane."""
        cdef long each = self.panels * self.average, pair = lane * self.average + task % each // self.panels
        return (self.factor_A(<int>(task // each), pair)
                + panel_in_order(&self.net.stages[0], task % self.panels) * self.net.k * self.net.n * PANEL)

    cdef void settle_pair(self, long lane, long pair, int l, const double *squares) noexcept nogil:
        """A new block begins for one pair: its A under the guard, and nothing beside it."""
        cdef double *kappa = self.weights(l, pair)
        memset(kappa, 0, (self.block + 1) * sizeof(double))
        kappa[0] = self.guard(lane, sqrt(total_of(self.panels, squares)) * sqrt(norm2(self.net.stages[l].m, self.u[l] + pair * self.net.stages[l].m)))
        if kappa[0] == 0:
            self.clear_pair(l, pair)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long kn = self.net.k * self.net.n, pairs = self.net.lanes * self.average, count = share.last - share.first
        cdef int l
        if share.team.rank == 0:
            memcpy(self.back.delta + share.first * kn, delta + share.first * kn, count * kn * sizeof(real))
            for l in range(self.net.depth):
                memset(self.y + (l * pairs + share.first * self.average) * self.width, 0,
                       count * self.average * self.width * sizeof(real))
        delta = self.span.pull(share, &self.back, self.kappa, self.average, self.y, self.width)
        team_barrier(team)
        self.credit_factors(team, delta)

    cdef void credit_factors(self, Team team, const real *delta) noexcept nogil:
        """gradient += u (x) (y + kappa_0 delta A), delta at the start of the block."""
        cdef long kn = self.net.k * self.net.n, pairs = self.net.lanes * self.average, p, pair, count
        cdef long tasks = self.net.depth * pairs * self.panels, task = team_first(team, tasks), end = team_last(team, tasks)
        cdef real *room = self.span.room_of(team.rank)
        cdef const Stage *stage
        cdef double kappa
        cdef int l
        while task < end:
            l, pair, p = <int>(task // (pairs * self.panels)), task // self.panels % pairs, task % self.panels
            count = min(self.panels - p, end - task)
            kappa = self.weights(l, pair)[0] / self.average
            if kappa != 0:
                memset(room, 0, count * PANEL * sizeof(real))
                panels_pull(kn, count, delta + pair // self.average * kn, self.factor_A(l, pair) + p * kn * PANEL, room)
                axpy(count * PANEL, <real>kappa, room, self.y + task * PANEL)
            task += count
        team_barrier(team)
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            outers(team_last(team, stage.rows) - team_first(team, stage.rows), stage.m, pairs,
                   self.y + l * pairs * self.width + team_first(team, stage.rows), self.width, self.u[l], stage.m,
                   self.gradient + stage.offset + team_first(team, stage.rows) * stage.ldw, stage.ldw)
        team_barrier(team)

    cdef void clear_pair(self, int l, long pair) noexcept nogil:
        cdef long kn = self.net.k * self.net.n
        memset(self.u[l] + pair * self.net.stages[l].m, 0, self.net.stages[l].m * sizeof(real))
        memset(self.v[l] + pair * kn, 0, kn * sizeof(real))
        memset(self.factor_A(l, pair), 0, kn * self.width * sizeof(real))
        memset(self.weights(l, pair), 0, (self.block + 1) * sizeof(double))

    cdef void clear(self, long lane) noexcept nogil:
        cdef long pair
        cdef int l
        for l in range(self.net.depth):
            for pair in range(lane * self.average, (lane + 1) * self.average):
                self.clear_pair(l, pair)
        self.span.cut(lane)
