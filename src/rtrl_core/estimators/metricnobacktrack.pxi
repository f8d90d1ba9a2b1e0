# NoBackTrack in the metrics of weights and state: rtrl.NoBackTrack(metric="kalman").
#
#     v <- rho0 H v + sum_i eps_i rho_i e_i          rho0 = sqrt((|w| + eps) / (|H v| + eps))
#     w <- w / rho0 + sum_i eps_i F_i / rho_i        rho_i = (|F_i|^2 P_i)^(1/4), dropped where F_i = 0
#
# |w| and |F_i| are taken in the metric that the optimizer keeps (contracts/metric.pxi), and
# |H v|^2 = sum_i (H v)_i^2 / P_i, where P_i stands for the squared length of row i of G:
#
#     propagated   P <- (H o H) P + |F_i|^2       without noise
#     local        P = max(|F_i|^2, (H v)_i^2 |w|^2 / 100)
#     literal      P = (H v)_i^2 |w|^2 + |F_i|^2  as published, noisy
#
# Then no rescaling of weights, units or inputs changes anything, nor a shift of them where the metric is
# quasi-diagonal.  The metric changes between steps, so the lengths of w are measured anew: on top of
# NoBackTrack one more read of w and of the metric, 6 r n m, and (r + 2) k n^2 for P.  Memory k n more.

# Why local has a second part: at a unit whose gates are saturated F_i all but vanishes while it keeps what it has, and with
# P = |F_i|^2 alone |H v| is then as large as F_i is small.  rho0 shrinks v for all units and w grows in turn, so that the next
# terms of all other units meet a w without bound: the error of the gradient went from 0.1 to 10^2 in one step, and to 10^4 at
# gates that are saturated further.

cdef double LOCAL_SHARE = 0.01       # of the squared length of what is carried

cdef class MetricNoBackTrack(Estimator):
    options = {"state": "propagated", "eps": 1e-6, "fresh": True}
    kind = "unbiased"
    cdef RankOne pair
    cdef bint propagated, literal
    cdef double eps
    cdef double **P                  # [depth][lanes, kn]: propagated only
    cdef double *carried             # [lanes, kn]: (H o H) P, then P of the block in hand
    cdef double *rho                 # [lanes, kn]
    cdef double *lengths             # [lanes, 2, rows]: squares of the rows of w, and of h_hat as a row, in the metric
    cdef double *scales              # [lanes, 2]: rho0, 1 / rho0
    cdef real *room                  # [threads, n]: a row of H

    def __init__(self, state="propagated", eps=1e-6, fresh=True):
        self.propagated, self.literal = state == "propagated", state == "literal"
        self.eps, self.fresh = eps, fresh
        self.pair = RankOne()

    def __dealloc__(self):
        free(self.P)

    def flops(self):
        cdef double n = self.net.n, depth = self.net.depth, rows = self.net.stages[0].rows
        cdef double squares = (2 * self.net.stages[0].r + 3) * self.net.k * n * n if self.propagated else 0
        return depth * depth * (2 * rows * n + squares) + depth * 12 * rows * self.net.stages[0].m

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double lanes = net.lanes, kn = net.k * net.n
        cdef int l
        if self.metric is None:
            raise ValueError('estimator: NoBackTrack(metric="kalman") needs an optimizer that keeps a metric, such as rtrl.Kalman(3e-4)')
        if self.P is NULL:
            self.P = <double **>zeroed(net.depth, sizeof(double *))
        self.pair.layout(arena, net.stages, net.depth, net.lanes, net.threads, 1)
        for l in range(net.depth):
            self.P[l] = arena.doubles(f"P{l}", "influence", lanes * kn if self.propagated else 0, 0)
        self.carried = arena.doubles("carried", "workspace", lanes * kn)
        self.rho = arena.doubles("rho", "workspace", lanes * kn)
        self.lengths = arena.doubles("lengths", "workspace", lanes * 2 * net.stages[0].rows)
        self.scales = arena.doubles("scales", "workspace", lanes * 2)
        self.room = arena.reals("room", "workspace", <double>net.threads * net.n)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef Team crew = share.team
        cdef long n = self.net.n, first = unit_first(crew, n), last = unit_last(crew, n), lane, c
        cdef double *carried
        cdef int l, block
        for l in range(self.net.depth):
            for block in range(self.net.depth):
                self.pair.push(share, l, &self.net.records[l], block)
                for lane in range(share.first, share.last):
                    carried = self.carried + lane * self.pair.kn
                    if self.propagated:
                        push_squares(&self.net.stages[l], &self.net.records[l], lane, self.P[block] + lane * self.pair.kn,
                                     self.room + team.rank * n, carried, first, last)
                        team_barrier(crew)
                    if block == l:
                        self.reduce(crew, lane, l)
                    else:
                        self.pair.keep(crew, block, lane)
                    for c in range(self.net.k if self.propagated else 0):
                        memcpy(self.P[block] + lane * self.pair.kn + c * n + first, carried + c * n + first, (last - first) * sizeof(double))
                team_barrier(crew)

    cdef void reduce(self, Team crew, long lane, int l) noexcept nogil:
        """The new v and w of one block, and P in `carried`."""
        cdef double *scales = self.scales + 2 * lane
        cdef double guard
        self.pair.settle(crew, l, lane)
        if crew.rank == 0:
            extend(&self.net.stages[l], &self.net.records[l], lane, self.pair.h_hat_of(lane))
        team_barrier(crew)
        self.measure(crew, lane, l)
        team_barrier(crew)
        if crew.rank == 0:
            guard = self.guard(lane, self.pair.norm_w(l, lane) * self.pair.norm_pushed(lane))
            if guard == 0:
                self.pair.drop(l, lane)
                memset(self.lengths + lane * 2 * self.pair.rows, 0, self.net.stages[l].rows * sizeof(double))
            self.choose_scales(lane, l, guard)
            self.new_product(lane, l)
            self.pair.mix_v(l, lane, <real>(scales[0] * guard), 1)
        team_barrier(crew)
        self.pair.mix_w(crew, l, lane, <real>scales[1], 1, 1)

    cdef void measure(self, Team crew, long lane, int l) noexcept nogil:
        """Squared lengths of the rows of w and of h_hat, in the metric as it is now."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef double *lengths = self.lengths + lane * 2 * self.pair.rows
        cdef long row, start
        for row in range(team_first(crew, stage.rows), team_last(crew, stage.rows)):
            start = stage.offset + row * stage.ldw
            lengths[row] = self.metric.norm2(start, stage.m, self.pair.w[l] + (lane * stage.rows + row) * stage.m)
            lengths[self.pair.rows + row] = self.metric.norm2(start, stage.m, self.pair.h_hat_of(lane))

    cdef void choose_scales(self, long lane, int l, double guard) noexcept nogil:
        """P, rho0 and the rho_i."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef const real *D = self.net.records[l].D + lane * stage.k * stage.rows
        cdef const real *pushed = self.pair.pushed + lane * self.pair.kn
        cdef double *of_w = self.lengths + lane * 2 * self.pair.rows
        cdef double *of_h = of_w + self.pair.rows
        cdef double *P = self.carried + lane * self.pair.kn
        cdef double norm_w = 0, norm_v = 0, size, v, top = self.cap * self.cap
        cdef long n = stage.n, a, c, i, row
        cdef bint lost = False
        for row in range(stage.rows):
            norm_w += of_w[row]
        norm_w = sqrt(norm_w)
        for c in range(stage.k):
            for i in range(n):
                row = c * n + i
                size = 0
                for a in range(stage.r):
                    size += <double>D[c * stage.rows + a * n + i] * D[c * stage.rows + a * n + i] * of_h[a * n + i]
                if not isfinite(size):
                    size, lost = 0, True
                v = guard * pushed[row]
                if not self.propagated:
                    P[row] = (v * norm_w) * (v * norm_w)
                P[row] = P[row] if P[row] < top else top
                if self.propagated or self.literal:
                    P[row] += size
                else:
                    P[row] = max(size, LOCAL_SHARE * P[row])
                if P[row] > 0:
                    norm_v += v / P[row] * v
                self.rho[lane * self.pair.kn + row] = sqrt(sqrt(size) * sqrt(P[row]))
        if lost:
            self.guard(lane, INFINITY)
        balance(norm_w + self.eps, sqrt(norm_v) + self.eps, &self.scales[2 * lane], &self.scales[2 * lane + 1])

    cdef void new_product(self, long lane, int l) noexcept nogil:
        """nu = eps rho, y = (eps / rho) D, of one block."""
        cdef real *nu = self.pair.nu + lane * self.pair.kn
        cdef double *rho = self.rho + lane * self.pair.kn
        cdef long i
        self.net.signs(lane, l, self.pair.kn, nu)
        for i in range(self.pair.kn):
            nu[i] *= <real>(1 / rho[i]) if rho[i] > 0 else 0
        self.pair.seed(l, &self.net.records[l], lane)
        # rho^2 may be beyond float32 where rho is not.
        for i in range(self.pair.kn):
            nu[i] = <real>(nu[i] * rho[i] * rho[i])

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        self.pair.credit(team, delta, self.gradient)

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        self.pair.clear(lane)
        for l in range(self.net.depth if self.propagated else 0):
            memset(self.P[l] + lane * self.pair.kn, 0, self.pair.kn * sizeof(double))
