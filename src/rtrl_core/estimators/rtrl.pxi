# Exact real-time recurrent learning (Williams and Zipser 1989, doi:10.1162/neco.1989.1.2.270).
#
#     G_t = H_t G_{t-1} + F_t          gradient += delta G          G [kn, rn, m] for every stage
#
# Time 2 k n^2 r n m a step, lane and stage; memory k r n^2 m.  G is stored as panels over its r n m
# columns, so the product is the one of KF-RTRL.

cdef class RTRL(Estimator):
    options = {"fresh": True}
    kind = "exact"
    cdef real **G                    # [depth][lanes, panels, kn, PANEL]
    cdef real *H                     # [threads, k, n, n]
    cdef real *room                  # [threads, kn, PANEL]
    cdef real *h_hat                 # [threads, m]
    cdef double *squares             # [threads, panels]: of each panel, added up in panel order
    cdef long most                   # panels of the largest stage

    def __init__(self, fresh=True):
        self.fresh = fresh

    def flops(self):
        cdef double kn = self.net.k * self.net.n, columns = 0
        for l in range(self.net.depth):
            columns += <double>self.net.stages[l].rows * self.net.stages[l].m
        return self.net.depth * 2 * kn * self.net.n * columns

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, columns
        cdef int l
        if self.G is NULL:
            self.G = <real **>zeroed(net.depth, sizeof(real *))
        self.most = 0
        for l in range(net.depth):
            columns = <double>net.stages[l].rows * net.stages[l].m
            columns = PANEL * ceil(columns / PANEL)
            self.G[l] = arena.reals(f"G{l}", "influence", net.lanes * kn * columns)
            self.most = max(self.most, <long>(columns / PANEL))
        self.H = arena.reals("H", "workspace", net.threads * <double>factor_reals(<long>kn, net.n))
        self.room = arena.reals("room", "workspace", net.threads * kn * PANEL)
        self.h_hat = arena.reals("h_hat", "workspace", net.threads * <double>net.stages[0].m)
        self.squares = arena.doubles("squares", "workspace", net.threads * <double>self.most)

    def __dealloc__(self):
        free(self.G)

    cdef inline real *block(self, int stage, long lane) noexcept nogil:
        return self.G[stage] + lane * panels_of(self.net.stages[stage].rows * self.net.stages[stage].m) * self.net.k * self.net.n * PANEL

    cdef inline real *factor_H(self, int slot) noexcept nogil:
        return self.H + slot * factor_reals(self.net.k * self.net.n, self.net.n)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lane
        cdef int l, block
        cdef int slot = team.rank if share.team.size == 1 else 0
        for lane in range(share.first, share.last):
            for l in range(self.net.depth):
                form_factor(&self.net.stages[l], &self.net.records[l], lane, self.factor_H(slot), self.room + team.rank * self.net.k * self.net.n * PANEL,
                            unit_first(share.team, self.net.n), unit_last(share.team, self.net.n))
                team_barrier(share.team)
                for block in range(self.net.depth):
                    self.push_block(share.team, team.rank, slot, lane, l, block)
                self.add_immediate(share.team, lane, l, team.rank)
                team_barrier(share.team)

    cdef void push_block(self, Team team, int rank, int slot, long lane, int l, int block) noexcept nogil:
        """Block of G <- H_l times it, under the guard."""
        cdef long kn = self.net.k * self.net.n, p
        cdef long panels = panels_of(self.net.stages[block].rows * self.net.stages[block].m)
        cdef real *G = self.block(block, lane)
        cdef double *squares = self.squares + slot * self.most
        cdef double total = 0, factor = 1
        for p in range(team_first(team, panels), team_last(team, panels)):
            squares[p] = push_panel(&self.net.stages[l], &self.net.records[l], lane, self.factor_H(slot), 1,
                                    G + p * kn * PANEL, self.room + rank * kn * PANEL, 1)
        team_barrier(team)
        if team.rank == 0:
            for p in range(panels):
                total += squares[p]
            factor = self.guard(lane, sqrt(total))
            if factor == 0:
                memset(G, 0, panels * kn * PANEL * sizeof(real))
            elif factor < 1:
                scale(panels * kn * PANEL, <real>factor, G)
        team_barrier(team)

    cdef void add_immediate(self, Team team, long lane, int l, int rank) noexcept nogil:
        """G[(c,i),(a,i),:] += D[c,a,i] h_hat."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef const real *D = self.net.records[l].D + lane * stage.k * stage.rows
        cdef real *h_hat = self.h_hat + rank * self.net.stages[0].m
        cdef long n = stage.n, a, c, i
        extend(stage, &self.net.records[l], lane, h_hat)
        for i in range(unit_first(team, n), unit_last(team, n)):
            for c in range(stage.k):
                for a in range(stage.r):
                    panel_axpy(self.block(l, lane), stage.k * n, c * n + i, (a * n + i) * stage.m, stage.m,
                               D[c * stage.rows + a * n + i], h_hat)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, panels, p, lane, column, row, q, j
        cdef real y[32]                  # PANEL at most
        cdef Stage *stage
        cdef real *gradient
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            gradient = self.gradient + stage.offset
            panels = panels_of(stage.rows * stage.m)
            for p in range(team_first(team, panels), team_last(team, panels)):
                memset(y, 0, PANEL * sizeof(real))
                for lane in range(self.net.lanes):
                    panels_pull(kn, 1, delta + lane * kn, self.block(l, lane) + p * kn * PANEL, y)
                row, q = p * PANEL // stage.m, p * PANEL % stage.m
                for j in range(min(PANEL, stage.rows * stage.m - p * PANEL)):
                    gradient[row * stage.ldw + q] += y[j]
                    q += 1
                    if q == stage.m:
                        row, q = row + 1, 0

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            memset(self.block(l, lane), 0, (self.block(l, 1) - self.block(l, 0)) * sizeof(real))
