# OK and BlockOK: the influence as a sum of `rank` Kronecker products, reduced with the least possible variance once a
# block of steps, and exact inside the block (OK: Benzing, Gauy, Mujika, Martinsson, Steger 2019, arXiv:1902.03993; it is
# the case of one step a block).
#
#     G at the start of a block ~ sum_i u_i (x) A_i          u [rank, m], A [rank, kn, rn]
#     in a block: delta is pulled back through its records, then gradient += sum_i u_i (x) (delta A_i)
#     at its end: P_t = H_last ... H_{t+1};  sum_i u_i (x) (P_0 A_i) + sum_t h_hat_t (x) (P_t D_t) is reduced to rank
#                 terms (jacobian/reduction.pxi)
#
# The records of a block are kept with the W of their own forward pass, which an update may change before the block ends.
# A reset forgets the terms of a lane before it; blocks are those of the session.  Time a block, lane and stage:
# 2 k^3 n^3 (block - 1) for P, 2 rank k^2 r n^3 for P_0 A, (rank + block)(block + 3 rank) k r n^2 for the reduction; a step
# adds 2 rank k r n^2 for delta A and on average block / 2 pulls.  Memory rank (m + k r n^2), and block - 1 records and W.

cdef class BlockOK(Estimator):
    options = {"rank": REQUIRED, "block": REQUIRED, "fresh": True}
    kind = "unbiased"
    cdef long rank
    cdef long block
    cdef real **u                    # [depth][lanes, rank, m]
    cdef real **A                    # [depth][lanes, rank, panels, kn, PANEL]
    cdef Tape tape                   # of the block, but for its last step, with which it ends
    cdef int64_t *fill               # [1]: records on the tape
    cdef int32_t *start              # [lanes]: records before this one are from before a reset
    cdef Sweep back
    cdef real *y                     # [lanes, rank, PANEL * panels]: delta A
    cdef long panels
    cdef long size                   # of one A, padding included
    cdef long stride                 # of terms: not a multiple of 4 KiB, which would put all of them in one place of a cache
    # For each group of threads that works on one lane:
    cdef real *H                     # [groups, kn, n]
    cdef real *P                     # [groups, 2, kn, kn]
    cdef real *terms                 # [groups, depth, rank + block, stride]
    cdef double *inner               # [groups, panels, terms, terms + 3]
    cdef double *small               # [groups, reduction_room]
    cdef real *mix                   # [groups, rank, rank + block], then as many signs as terms
    cdef real *h_hat                 # [groups, m]
    cdef double *piece               # [threads, terms + 3, GRAM_PIECE]

    def __init__(self, rank, block, fresh=True):
        self.rank, self.block, self.fresh = rank, block, fresh

    def flops(self):
        cdef double n = self.net.n, kn = self.net.k * n, rows = self.net.stages[0].rows, depth = self.net.depth
        cdef double product = 2 * kn * kn * n * (self.block * depth - 1), carry = 2 * depth * self.rank * kn * kn * rows
        cdef double terms = self.rank + self.block
        return ((product + carry + depth * terms * (terms + 2 * self.rank) * kn * rows) / self.block
                + depth * (2 * self.rank * kn * rows + 2 * (self.block - 1) * rows * n))

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double lanes = net.lanes, kn = net.k * net.n, terms = self.rank + self.block, groups = min(net.threads, net.lanes)
        cdef double m = net.stages[0].m
        cdef int l
        if self.u is NULL:
            self.u = <real **>calloc(net.depth, sizeof(real *))
            self.A = <real **>calloc(net.depth, sizeof(real *))
        self.panels = panels_of(net.stages[0].rows)
        self.size = self.panels * net.k * net.n * PANEL
        self.stride = self.size + PANEL
        for l in range(net.depth):
            self.u[l] = arena.reals(f"u{l}", "influence", lanes * self.rank * net.stages[l].m)
            self.A[l] = arena.reals(f"A{l}", "influence", lanes * self.rank * self.size)
        tape_layout(&self.tape, arena, net.stages, net.depth, net.lanes, self.block - 1)
        self.fill = arena.integers("fill", "tape", 1)
        self.start = arena.ids("start", "tape", lanes)
        sweep_layout(&self.back, arena, net.stages, lanes)
        self.y = arena.reals("yA", "workspace", lanes * self.rank * PANEL * self.panels)
        self.H = arena.reals("H", "workspace", groups * kn * net.n)
        self.P = arena.reals("P", "workspace", groups * 2 * kn * kn)
        self.terms = arena.reals("terms", "workspace", groups * net.depth * terms * self.stride)
        self.inner = arena.doubles("inner", "workspace", groups * self.panels * terms * (terms + 3))
        self.small = arena.doubles("small", "workspace", groups * reduction_room(terms, self.rank, m))
        self.mix = arena.reals("mix", "workspace", groups * (self.rank + 1) * terms)
        self.h_hat = arena.reals("h_hat", "workspace", groups * m)
        self.piece = arena.doubles("piece", "workspace", net.threads * (terms + 3) * GRAM_PIECE)

    cdef layout_dense(self, Arena arena):
        tape_layout_dense(&self.tape, arena)

    def __dealloc__(self):
        free(self.u)
        free(self.A)
        tape_free(&self.tape)

    cdef inline Record record_of(self, long t, int l) noexcept nogil:
        if t < self.tape.length:
            return record_from(&self.net.stages[l], &self.tape.records[l], t * self.net.lanes)
        return self.net.records[l]

    cdef inline Stage stage_of(self, long t, int l) noexcept nogil:
        return tape_stage(&self.tape, t, l) if t < self.tape.length else self.net.stages[l]

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lane, t = self.fill[0]
        if t < self.tape.length:
            tape_keep(team, &self.tape, t, self.net.records)
        else:
            for lane in range(share.first, share.last):
                self.close(share.team, team.rank if share.team.size == 1 else 0, team.rank, lane)
        team_barrier(team)
        if team.rank == 0:
            self.fill[0] = (t + 1) % self.block
            if self.fill[0] == 0:
                memset(self.start, 0, self.net.lanes * sizeof(int32_t))

    cdef inline real *term(self, long group, int l, long index) noexcept nogil:
        return self.terms + ((group * self.net.depth + l) * (self.rank + self.block) + index) * self.stride

    cdef void close(self, Team crew, long group, long thread, long lane) noexcept nogil:
        """The end of a block for one lane: all terms in one sweep from its last record, then the reductions."""
        cdef long n = self.net.n, kn = self.net.k * n, t, start = self.start[lane]
        cdef long first = unit_first(crew, kn), last = unit_last(crew, kn)
        cdef real *H = self.H + group * kn * n
        cdef real *P = NULL          # the identity
        cdef real *other = self.P + group * 2 * kn * kn
        cdef Stage stage
        cdef Record record
        cdef int l
        for t in range(self.block - 1, start - 1, -1):
            for l in range(self.net.depth - 1, -1, -1):
                stage, record = self.stage_of(t, l), self.record_of(t, l)
                suffix_times_D(&stage, &record, lane, P, self.term(group, l, self.rank + t),
                               team_first(crew, self.panels), team_last(crew, self.panels))
                if start > 0 and t == start and l == 0:
                    break  # nothing lies before
                form_jacobian(&stage, &record, lane, H, unit_first(crew, n), unit_last(crew, n))
                team_barrier(crew)
                if P is NULL:
                    begin_suffix(&stage, &record, lane, H, other, first, last)
                    P, other = other, other + kn * kn
                else:
                    extend_suffix(&stage, &record, lane, H, P, other, first, last)
                    P, other = other, P
                team_barrier(crew)
        for l in range(self.net.depth):
            self.reduce(crew, group, thread, lane, l, P)

    cdef void reduce(self, Team crew, long group, long thread, long lane, int l, const real *P) noexcept nogil:
        """The new factors of stage l.  After a reset in the block, A and the records before it are no terms."""
        cdef long kn = self.net.k * self.net.n, p, i, start = self.start[lane], most = self.rank + self.block
        cdef long first = self.rank + start if start > 0 else 0, count = most - first, pair = count * (count + 3)
        cdef real *A = self.A[l] + lane * self.rank * self.size
        cdef real *terms = self.term(group, l, first)
        cdef real *mix = self.mix + group * (self.rank + 1) * most
        cdef double *inner = self.inner + group * self.panels * most * (most + 3)
        cdef Reduction r = reduction_at(self.small + group * <long>reduction_room(most, self.rank, self.net.stages[0].m),
                                        count, self.rank, self.net.stages[l].m)
        cdef int again, passes = 2 if RTRL_WIDTH == 64 else 1  # float32 numbers are no better than one pass
        for p in range(team_first(crew, self.panels), team_last(crew, self.panels)):
            for i in range(self.rank if first == 0 else 0):
                panel_product(kn, kn, P, kn, A + i * self.size + p * kn * PANEL, terms + i * self.stride + p * kn * PANEL, False)
        for again in range(passes):
            for p in range(team_first(crew, self.panels), team_last(crew, self.panels)):
                gram(count, kn * PANEL, terms + p * kn * PANEL, self.stride, r.R2 if again else NULL,
                     self.piece + thread * (most + 3) * GRAM_PIECE, inner + p * pair)
            team_barrier(crew)
            if crew.rank == 0:
                memset(r.K, 0, pair * sizeof(double))
                for p in range(self.panels):
                    axpy8(pair, 1, inner + p * pair, r.K)
                triangle(count, count + 3, r.K, r.C if again else r.R2)
                if again:
                    triangle_product(count, r.C, r.R2)
            team_barrier(crew)
        if crew.rank == 0:
            self.mix_terms(&r, group, lane, l, first, mix)
        team_barrier(crew)
        for p in range(team_first(crew, self.panels), team_last(crew, self.panels)):
            mixes(self.rank, count, kn * PANEL, mix, count, terms + p * kn * PANEL, self.stride, A + p * kn * PANEL, self.size)
        team_barrier(crew)

    cdef void mix_terms(self, Reduction *r, long group, long lane, int l, long first, real *mix) noexcept nogil:
        """The new u of one stage, and the matrix that makes the new A from the terms."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long i, p, most = self.rank + self.block
        cdef real *u = self.u[l] + lane * self.rank * stage.m
        cdef real *h_hat = self.h_hat + group * self.net.stages[0].m
        cdef double factor
        cdef Record record
        for i in range(first, most):
            if i >= self.rank:
                record = self.record_of(i - self.rank, l)
                extend(stage, &record, lane, h_hat)
            for p in range(stage.m):
                r.Q[(i - first) * stage.m + p] = h_hat[p] if i >= self.rank else u[i * stage.m + p]
        for p in range(stage.m):
            r.newest[p] = h_hat[p]
        factor = self.guard(lane, reduction_core(r))
        if factor == 0:
            memset(u, 0, self.rank * stage.m * sizeof(real))
            memset(mix, 0, self.rank * r.count * sizeof(real))
            for i in range(r.count):
                memset(self.term(group, l, first + i), 0, self.size * sizeof(real))
            return
        reduction_order(r)
        self.net.signs(lane, l, most, mix + self.rank * most)
        reduction_mix(r, mix + self.rank * most)
        reduction_factors(r, factor, u, mix)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lanes = self.net.lanes, kn = self.net.k * self.net.n, t, b
        cdef Stage stage
        cdef Record record
        cdef int l
        if self.fill[0] == 0:
            self.credit_sum(team, delta)
            return
        if share.team.rank == 0:
            memcpy(self.back.delta + share.first * kn, delta + share.first * kn, (share.last - share.first) * kn * sizeof(real))
        for t in range(self.fill[0] - 1, -1, -1):
            if share.team.rank == 0:
                for b in range(share.first, share.last):
                    if t < self.start[b]:
                        memset(self.back.delta + b * kn, 0, kn * sizeof(real))
            for l in range(self.net.depth - 1, -1, -1):
                stage, record = self.stage_of(t, l), self.record_of(t, l)
                sweep_stage(team, share, &stage, &record, lanes, &self.back, self.gradient + stage.offset)
        self.credit_sum(team, self.back.delta)

    cdef void credit_sum(self, Team team, const real *delta) noexcept nogil:
        """gradient += sum_i u_i (x) (delta A_i), delta at the start of the block."""
        cdef long kn = self.net.k * self.net.n, width = self.panels * PANEL, each = self.rank * self.panels, p, lane, task
        cdef Stage *stage
        cdef real *y
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            for task in range(team_first(team, self.net.lanes * each), team_last(team, self.net.lanes * each)):
                lane, p = task // each, task % self.panels
                y = self.y + task // self.panels * width + p * PANEL
                memset(y, 0, PANEL * sizeof(real))
                panel_pull(kn, delta + lane * kn, self.A[l] + task // self.panels * self.size + p * kn * PANEL, y)
            team_barrier(team)
            outers(team_last(team, stage.rows) - team_first(team, stage.rows), stage.m, self.net.lanes * self.rank,
                   self.y + team_first(team, stage.rows), width, self.u[l], stage.m,
                   self.gradient + stage.offset + team_first(team, stage.rows) * stage.ldw, stage.ldw)
            team_barrier(team)

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            memset(self.u[l] + lane * self.rank * self.net.stages[l].m, 0, self.rank * self.net.stages[l].m * sizeof(real))
            memset(self.A[l] + lane * self.rank * self.size, 0, self.rank * self.size * sizeof(real))
        self.start[lane] = <int32_t>self.fill[0]
