# Reversed KF-RTRL: the Kronecker product of KF-RTRL with the roles of its sides exchanged (Marschall, Cho
# and Savin 2020, JMLR 21(135), arXiv:1907.02649).
#
#     G ~ a (x) B        a [rn], B [kn, m]           gradient += a (x) (delta B)
#     B' = H B                           p0 = balance(|B'|, |a|)
#     a <- p0 a + sum_i nu_i p_i D_i     B <- B' / p0 + sum_i nu_i e_i (x) h_hat / p_i
#
# nu [kn] are fair signs, D_i [rn] is row i of D as a matrix and p_i = balance(|h_hat|, |D_i|), the product
# dropped where D_i = 0: F = sum_i e_i (x) D_i (x) h_hat.  Signs for the rn rows of W would be unbiased as well,
# with more noise.  Time 2 k n^2 m a step, lane and stage, 1 / r of KF-RTRL; memory rn + k n m.  As there, the
# factor of B is kept apart ("lazy") and folded into the next product.

cdef class ReversedKFRTRL(Estimator):
    options = {"fresh": True}
    kind = "unbiased"
    cdef real **a                    # [depth][lanes, rows]
    cdef real **B                    # [depth][lanes, panels, kn, PANEL], to be multiplied by lazy
    cdef double *lazy                # [depth, lanes]
    cdef real *H                     # [threads, k, n, n]
    cdef real *room                  # [threads, kn, PANEL]
    cdef real *nu                    # [threads, kn]: nu p, and then nu / p scaled for the panels
    cdef real *nu_D                  # [threads, rows]: (nu p) D
    cdef double *sizes               # [threads, kn]: |D_i|, and then nu_i / p_i
    cdef real *h_hat                 # [threads, PANEL * panels], 0 beyond m
    cdef real *y                     # [lanes, PANEL * panels]: delta B
    cdef double *squares             # [threads, panels]
    cdef long most                   # panels of the first stage, which has the most

    def __init__(self, fresh=True):
        self.fresh = fresh

    def flops(self):
        cdef double kn = self.net.k * self.net.n, columns = 0
        for l in range(self.net.depth):
            columns += self.net.stages[l].m
        return self.net.depth * 2 * kn * self.net.n * columns

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, threads = net.threads, lanes = net.lanes, rows = net.stages[0].rows
        cdef int l
        if self.a is NULL:
            self.a = <real **>zeroed(net.depth, sizeof(real *))
            self.B = <real **>zeroed(net.depth, sizeof(real *))
        for l in range(net.depth):
            self.a[l] = arena.reals(f"a{l}", "influence", lanes * rows)
            self.B[l] = arena.reals(f"B{l}", "influence", lanes * kn * PANEL * panels_of(net.stages[l].m))
        self.lazy = arena.doubles("lazy", "influence", lanes * net.depth)
        self.most = panels_of(net.stages[0].m)
        self.H = arena.reals("H", "workspace", threads * factor_reals(<long>kn, net.n))
        self.room = arena.reals("room", "workspace", threads * kn * PANEL)
        self.nu = arena.reals("nu", "workspace", threads * kn)
        self.nu_D = arena.reals("nu_D", "workspace", threads * rows)
        self.sizes = arena.doubles("sizes", "workspace", threads * kn)
        self.h_hat = arena.reals("h_hat", "workspace", threads * PANEL * self.most)
        self.y = arena.reals("y", "workspace", lanes * PANEL * self.most)
        self.squares = arena.doubles("squares", "workspace", threads * self.most)

    def __dealloc__(self):
        free(self.a)
        free(self.B)

    cdef inline real *factor_B(self, int l, long lane) noexcept nogil:
        return self.B[l] + lane * panels_of(self.net.stages[l].m) * self.net.k * self.net.n * PANEL

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef Team crew = share.team
        cdef int slot = team.rank if crew.size == 1 else 0, l, block
        cdef long n = self.net.n, kn = self.net.k * n, lane, p, panels
        cdef real *H = self.H + slot * factor_reals(kn, n)
        cdef double *squares = self.squares + slot * self.most
        cdef real *B
        for lane in range(share.first, share.last):
            for l in range(self.net.depth):
                form_factor(&self.net.stages[l], &self.net.records[l], lane, H, self.room + team.rank * kn * PANEL,
                            unit_first(crew, n), unit_last(crew, n))
                team_barrier(crew)
                for block in range(self.net.depth):
                    panels, B = panels_of(self.net.stages[block].m), self.factor_B(block, lane)
                    for p in range(team_first(crew, panels), team_last(crew, panels)):
                        squares[p] = push_panel(&self.net.stages[l], &self.net.records[l], lane, H,
                                                <real>self.lazy[block * self.net.lanes + lane],
                                                B + p * kn * PANEL, self.room + team.rank * kn * PANEL, 1)
                    team_barrier(crew)
                    if crew.rank == 0:
                        self.reduce(lane, block, l, slot, squares)
                    team_barrier(crew)
                    if block == l:
                        self.add_new(crew, lane, l, slot)
                        team_barrier(crew)

    cdef void reduce(self, long lane, int block, int l, int slot, const double *squares) noexcept nogil:
        """Scales and the new a of one block, after its B was multiplied by H_l; only block l gains F_l."""
        cdef const Stage *stage = &self.net.stages[block]
        cdef real *a = self.a[block] + lane * stage.rows
        cdef real *nu_D = self.nu_D + slot * stage.rows
        cdef real *h_hat = self.h_hat + slot * PANEL * self.most
        cdef double *lazy = self.lazy + block * self.net.lanes + lane
        cdef double norm_B = 0, norm_a = sqrt(norm2(stage.rows, a)), guard, p0, q0
        cdef long p
        for p in range(panels_of(stage.m)):
            norm_B += squares[p]
        norm_B = sqrt(norm_B) * abs(lazy[0])
        guard = self.guard(lane, norm_B * norm_a)
        if guard == 0:
            self.clear_block(block, lane)
            norm_B = norm_a = 0
        lazy[0] = guard if guard > 0 else 1
        if block != l:
            return
        balance(norm_B * guard, norm_a, &p0, &q0)
        if p0 == 0 and norm_B > 0:
            self.clear_block(block, lane)
        extend(stage, &self.net.records[l], lane, h_hat)
        memset(h_hat + stage.m, 0, (PANEL * panels_of(stage.m) - stage.m) * sizeof(real))
        lazy[0] = q0 * guard if p0 > 0 else 1
        self.new_product(lane, l, slot, sqrt(norm2(stage.m, h_hat)), lazy[0])
        axpby_norm2(stage.rows, 1, nu_D, <real>p0, a)

    cdef void new_product(self, long lane, int l, int slot, double norm_h, double lazy) noexcept nogil:
        """nu_D = (nu p) D, and nu / p of one block."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n, i
        cdef real *nu = self.nu + slot * kn
        cdef double *sizes = self.sizes + slot * kn
        cdef double p, inverse
        self.net.signs(lane, l, kn, nu)
        row_norms(stage, &self.net.records[l], lane, sizes)
        for i in range(kn):
            balance(norm_h, sizes[i], &p, &inverse)
            sizes[i] = inverse * nu[i]
            nu[i] *= <real>p
        pull_maps(stage, &self.net.records[l], lane, nu, self.nu_D + slot * stage.rows)
        for i in range(kn):
            nu[i] = <real>(sizes[i] / lazy)

    cdef void add_new(self, Team crew, long lane, int l, int slot) noexcept nogil:
        """B += (nu / p) (x) h_hat, panel by panel."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n, panels = panels_of(stage.m), p, i
        cdef const real *nu = self.nu + slot * kn
        cdef const real *h_hat = self.h_hat + slot * PANEL * self.most
        cdef real *B = self.factor_B(l, lane)
        for p in range(team_first(crew, panels), team_last(crew, panels)):
            for i in range(kn):
                axpy(PANEL, nu[i], h_hat + p * PANEL, B + (p * kn + i) * PANEL)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, width = self.most * PANEL, panels, p, lane, task
        cdef Stage *stage
        cdef real *y
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            panels = panels_of(stage.m)
            for task in range(team_first(team, self.net.lanes * panels), team_last(team, self.net.lanes * panels)):
                lane, p = task // panels, task % panels
                y = self.y + lane * width + p * PANEL
                memset(y, 0, PANEL * sizeof(real))
                panels_pull(kn, 1, delta + lane * kn, self.factor_B(l, lane) + p * kn * PANEL, y)
                scale(PANEL, <real>self.lazy[l * self.net.lanes + lane], y)
            team_barrier(team)
            outers(team_last(team, stage.rows) - team_first(team, stage.rows), stage.m, self.net.lanes,
                   self.a[l] + team_first(team, stage.rows), stage.rows, self.y, width,
                   self.gradient + stage.offset + team_first(team, stage.rows) * stage.ldw, stage.ldw)
            team_barrier(team)

    cdef void clear_block(self, int l, long lane) noexcept nogil:
        cdef long panels = panels_of(self.net.stages[l].m)
        memset(self.a[l] + lane * self.net.stages[l].rows, 0, self.net.stages[l].rows * sizeof(real))
        memset(self.factor_B(l, lane), 0, panels * self.net.k * self.net.n * PANEL * sizeof(real))
        self.lazy[l * self.net.lanes + lane] = 1

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            self.clear_block(l, lane)
