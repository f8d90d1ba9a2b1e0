# OK and BlockOK: the influence as a sum of `rank` Kronecker products, reduced with the least possible variance once a
# block of steps, and exact inside the block (OK: Benzing, Gauy, Mujika, Martinsson, Steger 2019, arXiv:1902.03993; one step a block).
#
#     G at the start of a block ~ sum_i u_i (x) A_i          u [rank, m], A [rank, kn, rn]
#     in a block: delta is pulled back through its records, then gradient += sum_i u_i (x) (delta A_i)
#     at its end: P_t = H_last ... H_{t+1};  sum_i u_i (x) (P_0 A_i) + sum_t h_hat_t (x) (P_t D_t) is reduced to rank
#                 terms (jacobian/reduction.pxi)
#
# The records of a block are kept with the W of their own forward pass, which an update may change before the block ends.
# A reset forgets the terms of a lane before it; blocks are those of the session.  Time a block, lane and stage:
# 2 k^2 n^3 (block - 1) for P, 2 rank k^2 r n^3 for P_0 A (OK: 2 rank k r n^3), (rank + block)(block + 3 rank) k r n^2 for
# the reduction.  Credits are owed (jacobian/debts.pxi) until a gradient is asked for, which costs 2 rank k r n^2 for delta A
# and up to block pulls: with an update a block, once a block.  Memory rank (m + k r n^2), block - 1 records, and their W.

cdef class BlockOK(Estimator):
    options = {"rank": REQUIRED, "block": REQUIRED, "fresh": True}
    kind = "unbiased"
    cdef long rank, block
    cdef real **u                    # [depth][lanes, rank, m]
    cdef real **A                    # [depth][lanes, rank, panels, kn, PANEL]
    cdef Tape tape                   # of the block, but for its last step, with which it ends
    cdef Debts debts
    cdef int64_t *fill               # [2]: records on the tape, whether credits are owed
    cdef real *y                     # [lanes, rank, PANEL * panels]: delta A
    cdef long panels, size           # size of one A, padding included
    # For each group of threads that works on one lane:
    cdef real *H                     # [groups, panels of n, kn, PANEL]
    cdef real *P                     # [groups, depth * block, kn, suffix_row]: slots, see jacobian/blocks.pxi
    cdef real *tiles                 # [groups, suffix_tiles]: of the last P that was made
    cdef double *inner               # [groups, panels of n, terms, terms], terms = rank + block
    cdef double *small               # [groups, reduction_room]
    cdef real *mix                   # [groups, rank, rank + block], then as many signs as terms
    cdef real *h_hat                 # [groups, m]
    # For each thread:
    cdef real *panel                 # [threads, kn, PANEL]
    cdef real *slopes                # [threads, mix_room]
    cdef double *room                # [threads, gram_room]

    def __init__(self, rank, block, fresh=True):
        self.rank, self.block, self.fresh = rank, block, fresh

    def flops(self):
        cdef double n = self.net.n, kn = self.net.k * n, rows = self.net.stages[0].rows, depth = self.net.depth
        cdef double product = 2 * kn * kn * n * (self.block * depth - 1)
        cdef double carry = 2 * depth * self.rank * kn * rows * (n if self.block * depth == 1 else kn)
        cdef double terms = self.rank + self.block, reductions = depth * terms * (terms + 2 * self.rank) * kn * rows
        return (product + carry + reductions) / self.block + depth * (2 * self.rank * kn * rows + 2 * (self.block - 1) * rows * n)

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double lanes = net.lanes, kn = net.k * net.n, terms = self.rank + self.block, groups = min(net.threads, net.lanes)
        cdef double m = net.stages[0].m
        cdef int l
        if self.u is NULL:
            self.u = <real **>zeroed(net.depth, sizeof(real *))
            self.A = <real **>zeroed(net.depth, sizeof(real *))
        self.panels = panels_of(net.stages[0].rows)
        self.size = self.panels * net.k * net.n * PANEL
        for l in range(net.depth):
            self.u[l] = arena.reals(f"u{l}", "influence", lanes * self.rank * net.stages[l].m)
            self.A[l] = arena.reals(f"A{l}", "influence", lanes * self.rank * self.size)
        tape_layout(&self.tape, arena, net.stages, net.depth, net.lanes, self.block - 1)
        debts_layout(&self.debts, arena, &self.tape)
        self.fill = arena.integers("fill", "tape", 2, (self.block - 1, 1))
        self.y = arena.reals("yA", "workspace", lanes * self.rank * PANEL * self.panels)
        self.H = arena.reals("H", "workspace", groups * kn * PANEL * panels_of(net.n))
        self.P = arena.reals("P", "workspace", groups * net.depth * self.block * kn * suffix_row(<long>kn))
        self.tiles = arena.reals("tiles", "workspace", groups * suffix_tiles(<long>kn))
        self.inner = arena.doubles("inner", "workspace", groups * panels_of(net.n) * terms * terms)
        self.small = arena.doubles("small", "workspace", groups * reduction_room(terms, self.rank, m))
        self.mix = arena.reals("mix", "workspace", groups * (self.rank + 1) * terms)
        self.h_hat = arena.reals("h_hat", "workspace", groups * m)
        self.panel = arena.reals("panel", "workspace", net.threads * kn * PANEL)
        self.slopes = arena.reals("slopes", "workspace", net.threads * mix_room(net.k, self.rank, self.block))
        self.room = arena.doubles("room", "workspace", net.threads * gram_room(kn, net.stages[0].r, self.rank, self.block))

    cdef layout_dense(self, Arena arena):
        tape_layout_dense(&self.tape, arena)

    def __dealloc__(self):
        free(self.u)
        free(self.A)
        tape_free(&self.tape)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lane, t = self.fill[0]
        if t < self.tape.length:
            tape_keep(team, &self.tape, t, self.net.records)
        else:
            self.settle(team)
            for lane in range(share.first, share.last):
                self.close(share.team, team.rank if share.team.size == 1 else 0, team.rank, lane)
        team_barrier(team)
        if team.rank == 0:
            self.fill[0] = (t + 1) % self.block
            if self.fill[0] == 0:
                memset(self.debts.cuts, 0, self.block * self.net.lanes * sizeof(int32_t))

    cdef void close(self, Team crew, long group, long thread, long lane) noexcept nogil:
        """The end of a block for one lane: products of Jacobians from its last record back, then the reductions."""
        cdef long n = self.net.n, kn = self.net.k * n, t, start = debts_start(&self.debts, self.net.lanes, self.fill[0], lane)
        cdef long square = kn * suffix_row(kn), slots = self.net.depth * self.block, slot
        cdef real *H = self.H + group * panels_of(n) * kn * PANEL
        cdef real *P = self.P + group * slots * square
        cdef Stage stage
        cdef Record record
        cdef int l
        for slot in range(slots - 1, max(start, 0) * self.net.depth - (start < 0), -1):  # after a reset nothing lies before
            t, l = slot // self.net.depth, <int>(slot % self.net.depth)
            stage, record = stage_at(&self.tape, t, l), record_at(&self.tape, self.net.records, t, l)
            form_panels(&stage, &record, lane, H, self.panel + thread * kn * PANEL, unit_first(crew, n), unit_last(crew, n))
            team_barrier(crew)
            step_suffix(&stage, &record, lane, H, P + (slot + 1) * square if slot + 1 < slots else NULL,
                        self.tiles + group * suffix_tiles(kn), P + slot * square, unit_first(crew, kn), unit_last(crew, kn))
            team_barrier(crew)
        for l in range(self.net.depth):
            self.reduce(crew, group, thread, lane, l)

    cdef inline Terms terms_of(self, long group, long lane, int l) noexcept nogil:
        """After a reset in the block, even at its start, A and the records before it are no terms."""
        cdef long kn = self.net.k * self.net.n, start = debts_start(&self.debts, self.net.lanes, self.fill[0], lane)
        cdef long place = lane * self.net.k * self.net.stages[l].rows
        cdef Terms terms
        terms.stage, terms.l, terms.depth = &self.net.stages[l], l, self.net.depth
        terms.block, terms.start, terms.products = self.block, max(start, 0), self.rank if start < 0 else 0
        terms.count = terms.products + self.block - terms.start
        terms.dense = terms.count - terms.products - (l == self.net.depth - 1)
        terms.A, terms.size = self.A[l] + lane * self.rank * self.size, self.size
        terms.P = self.P + group * self.net.depth * self.block * kn * suffix_row(kn)
        terms.tiles = self.tiles + group * suffix_tiles(kn)
        terms.step = self.net.lanes * self.net.k * terms.stage.rows
        terms.D, terms.D_last = self.tape.records[l].D + place, self.net.records[l].D + place
        return terms

    cdef void reduce(self, Team crew, long group, long thread, long lane, int l) noexcept nogil:
        """The new factors of stage l."""
        cdef Terms terms = self.terms_of(group, lane, l)
        cdef long most = self.rank + self.block, square = terms.count * terms.count, unit, units = panels_of(self.net.n), p
        cdef real *mix = self.mix + group * (self.rank + 1) * most
        cdef real *panel = self.panel + thread * self.net.k * self.net.n * PANEL
        cdef real *slopes = self.slopes + thread * <long>mix_room(self.net.k, self.rank, self.block)
        cdef double *room = self.room + thread * <long>gram_room(self.net.k * self.net.n, terms.stage.r, self.rank, self.block)
        cdef double *inner = self.inner + group * units * most * most
        cdef Reduction r = reduction_at(self.small + group * <long>reduction_room(most, self.rank, self.net.stages[0].m),
                                        terms.count, self.rank, self.net.stages[l].m)
        cdef int again, passes = 2 if RTRL_WIDTH == 64 else 1  # float32 numbers are no better than one pass
        cdef long together = terms.stage.r if terms.stage.n % PANEL == 0 else 0  # whole panels meet while they are in the cache
        if together == 0:
            terms_multiply(&terms, team_first(crew, self.panels), team_last(crew, self.panels), panel)
        team_barrier(crew)
        for again in range(passes):
            for unit in range(team_first(crew, units), team_last(crew, units)):
                if again == 0:
                    terms_multiply(&terms, unit * together, (unit + 1) * together, panel)
                terms_gram(&terms, unit * PANEL, min(self.net.n, (unit + 1) * PANEL), r.R2 if again else NULL, room,
                           inner + unit * square)
            team_barrier(crew)
            if crew.rank == 0:
                for unit in range(1, units):
                    axpy8(square, 1, inner + unit * square, inner)
                triangle(terms.count, inner, r.C if again else r.R2)
                if again:
                    triangle_product(terms.count, r.C, r.R2)
            team_barrier(crew)
        if crew.rank == 0:
            self.mix_terms(&r, group, lane, l, most - terms.count, mix)
        team_barrier(crew)
        for p in range(team_first(crew, self.panels), team_last(crew, self.panels)):
            terms_mix(&terms, panel_in_order(terms.stage, p), self.rank, mix, slopes)
        team_barrier(crew)

    cdef void mix_terms(self, Reduction *r, long group, long lane, int l, long first, real *mix) noexcept nogil:
        """The new u of one stage, and the matrix that makes the new A from the terms, 0 where they are dropped."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long i, p, most = self.rank + self.block
        cdef real *u = self.u[l] + lane * self.rank * stage.m
        cdef real *h_hat = self.h_hat + group * self.net.stages[0].m
        cdef double factor
        cdef Record record
        for i in range(first, most):
            if i >= self.rank:
                record = record_at(&self.tape, self.net.records, i - self.rank, l)
                extend(stage, &record, lane, h_hat)
            for p in range(stage.m):
                r.Q[(i - first) * stage.m + p] = h_hat[p] if i >= self.rank else u[i * stage.m + p]
        for p in range(stage.m):
            r.newest[p] = h_hat[p]
        factor = self.guard(lane, reduction_core(r))
        if factor == 0:
            memset(u, 0, self.rank * stage.m * sizeof(real))
            memset(mix, 0, self.rank * r.count * sizeof(real))
            return
        reduction_order(r)
        self.net.signs(lane, l, most, mix + self.rank * most)
        reduction_mix(r, mix + self.rank * most)
        reduction_factors(r, factor, u, mix)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        if self.probing:
            self.sweep(team, delta)
            return
        debts_add(team, &self.tape, &self.debts, self.fill[0], delta)
        if team.rank == 0:
            self.fill[1] = 1

    cdef void settle(self, Team team) noexcept nogil:
        if self.fill[1] == 0:
            return
        team_barrier(team)
        self.sweep(team, NULL)
        if team.rank == 0:
            self.fill[1] = 0
        team_barrier(team)

    cdef void sweep(self, Team team, const real *seed) noexcept nogil:
        """gradient += sum_i u_i (x) (delta A_i), once delta is back at the start of the block."""
        cdef long kn = self.net.k * self.net.n, width = self.panels * PANEL, pairs = self.net.lanes * self.rank, pair, p, count
        cdef long task, end = team_last(team, pairs * self.panels)
        cdef const real *delta = debts_sweep(team, &self.tape, &self.debts, self.fill[0], seed, self.gradient)
        cdef Stage *stage
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            task = team_first(team, pairs * self.panels)
            memset(self.y + task * PANEL, 0, (end - task) * PANEL * sizeof(real))
            while task < end:
                pair, p = task // self.panels, task % self.panels
                count = min(self.panels - p, end - task)
                panels_pull(kn, count, delta + pair // self.rank * kn, self.A[l] + pair * self.size + p * kn * PANEL,
                            self.y + task * PANEL)
                task += count
            team_barrier(team)
            outers(team_last(team, stage.rows) - team_first(team, stage.rows), stage.m, pairs,
                   self.y + team_first(team, stage.rows), width, self.u[l], stage.m,
                   self.gradient + stage.offset + team_first(team, stage.rows) * stage.ldw, stage.ldw)
            team_barrier(team)

    cdef void clear(self, long lane) noexcept nogil:
        """What is owed still needs A, which is no term of the next reduction in any case."""
        cdef int l
        for l in range(self.net.depth if self.fill[1] == 0 else 0):
            memset(self.u[l] + lane * self.rank * self.net.stages[l].m, 0, self.rank * self.net.stages[l].m * sizeof(real))
            memset(self.A[l] + lane * self.rank * self.size, 0, self.rank * self.size * sizeof(real))
        self.debts.cuts[self.fill[0] * self.net.lanes + lane] = 1
