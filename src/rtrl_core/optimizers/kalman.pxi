# A Kalman-like filter of the weights: natural gradient in a running Fisher information (Ollivier 2018,
# arXiv:1703.00209: the extended Kalman filter of a static parameter is the online natural gradient).
#
#     J <- (1 - gamma) J + gamma F      gamma = max(decay, 1 / t), t observations so far
#     w <- w - eta (J + J0)^-1 g        eta = min(lr, trust / sqrt(g . (J + J0)^-1 g)), J0 = prior I
#
# F is g g' ("outer"), or the sum over lanes and over the factors of the outputs' Fisher information of the
# outer product of the gradients that they cause ("exact": the mean of g g' over the targets that the model
# expects, without their noise).  Of J the diagonal is kept, and for the quasi-diagonal metric the products
# of each weight with the bias of its row as well; then, with a = J_qq, x = J_bq, beta = J_bb (prior added),
#
#     slope = x / beta      inverse = 1 / max(a - x^2 / beta, floor a)      inverse_b = 1 / beta
#     step_q = inverse_q (g_q - slope_q g_b)      step_b = inverse_b g_b - sum_q slope_q step_q
#
# which no affine change of the units or inputs can alter (floor 0).  The algebra is double.  Without an
# observation (g = 0) nothing changes.  The first `warm_up` observations teach J and leave w alone.
#
# Time about 10 flops and one or two divisions a parameter and update; memory 2 (diagonal) or 4 numbers a
# parameter, 1 or 2 more for "exact", which also costs one credit per lane and output at every step.

cdef double LARGEST = 1e30           # entries of J stay representable in float32

cdef class Kalman(Optimizer):
    options = {"lr": REQUIRED, "metric": "diagonal", "fisher": "outer", "decay": 1e-3, "prior": 1e-3, "floor": 0.1,
               "trust": 0.3, "warm_up": 100, "clip_norm": None, "clip_outliers": None}
    cdef double decay, prior, floor, trust
    cdef long warm_up, rows
    cdef bint quasi
    cdef real rate                   # eta of this update
    cdef real *J                     # flat: J_qq
    cdef real *J_bias                # flat: J_bq, quasi-diagonal only
    cdef real *F                     # flat: the same of F since the last update, exact only
    cdef real *F_bias
    cdef double *partial             # [rows]: g . step
    cdef int64_t *seen               # [2]: observations, factors absorbed since the last update

    def __init__(self, metric="diagonal", fisher="outer", decay=1e-3, prior=1e-3, floor=0.1, trust=0.3, warm_up=100, clip_norm=None,
                 clip_outliers=None):
        super().__init__(clip_norm=clip_norm, clip_outliers=clip_outliers)
        self.metric = Metric()
        self.whole, self.quasi, self.absorbs = True, metric == "quasi-diagonal", fisher == "exact"
        self.decay, self.prior, self.floor, self.warm_up = decay, prior, floor, warm_up
        self.trust = INFINITY if trust is None else trust

    cdef layout(self, Arena arena, double count):
        cdef double bias = count if self.quasi else 0, exact = count if self.absorbs else 0
        cdef long row
        cdef Block block
        cdef int i
        Optimizer.layout(self, arena, count)
        self.rows = 0
        for i in range(self.block_count):
            self.rows += self.blocks[i].rows
        self.J = arena.reals("J", "optimizer", count, 0)
        self.J_bias = arena.reals("J_bias", "optimizer", bias)
        self.F = arena.reals("F", "optimizer", exact, 0)
        self.F_bias = arena.reals("F_bias", "optimizer", min(bias, exact))
        self.metric.inverse = arena.reals("inverse", "optimizer", count, 0)
        self.metric.slope = arena.reals("slope", "optimizer", bias) if self.quasi else NULL
        self.seen = arena.integers("seen", "optimizer", 2, (ENDLESS, ENDLESS if self.absorbs else 0))
        self.partial = arena.doubles("partial", "workspace", self.rows)
        if self.J is not NULL:
            for i in range(self.block_count):
                block = self.blocks[i]
                for row in range(block.rows):
                    self.invert(block.offset + row * block.stride, block.columns)

    cdef void absorb(self, Team team, const real *g, double weight) noexcept nogil:
        cdef Block block
        cdef long row, first = team_first(team, self.rows), last = team_last(team, self.rows), start, above = 0
        cdef int i
        for i in range(self.block_count):
            block = self.blocks[i]
            for row in range(max(0, first - above), min(block.rows, last - above)):
                start = block.offset + row * block.stride
                self.add_outer(block.columns, g + start, weight, 1, self.F + start, self.F_bias + start if self.quasi else NULL)
            above += block.rows
        if team.rank == 0:
            self.seen[1] += 1

    cdef inline void add_outer(self, long columns, const real *g, double weight, double keep, real *F, real *F_bias) noexcept nogil:
        """F <- keep F + weight g g' in one row; what is not finite does not count."""
        cdef double square, product, bias = weight * g[columns - 1]
        cdef long q
        for q in range(columns):
            square = weight * g[q] * g[q]
            F[q] = <real>min(LARGEST, keep * F[q] + (square if isfinite(square) else 0))
        if F_bias is not NULL:
            for q in range(columns):
                product = bias * g[q]
                F_bias[q] = <real>max(-LARGEST, min(LARGEST, keep * F_bias[q] + (product if isfinite(product) else 0)))

    cdef void invert(self, long start, long columns) noexcept nogil:
        """The metric of one row from its J: inverse and slope, 0 where there is no weight."""
        cdef long q, bias = columns - 1
        cdef double a, slope, beta = self.J[start + bias] + self.prior
        for q in range(start, start + columns):
            a = self.J[q] + self.prior
            if self.quasi:
                slope = self.J_bias[q] / beta if q < start + bias else 0
                self.metric.slope[q] = <real>slope
                if q < start + bias:
                    a = max(a - slope * self.J_bias[q], self.floor * a)
            self.metric.inverse[q] = <real>(1 / a if self.mask is NULL else self.mask[q] / a)

    cdef double solve(self, long columns, const real *inverse, const real *slope, double clip, real *g) noexcept nogil:
        """g <- step in one row; returns g . step."""
        cdef double bias = clip * g[columns - 1], rest, step, last = bias * inverse[columns - 1], total = bias * last
        cdef long q
        for q in range(columns - 1):
            rest = clip * g[q]
            if slope is not NULL:
                rest -= slope[q] * bias
            step = rest * inverse[q]
            total += rest * step
            if slope is not NULL:
                last -= slope[q] * step
            g[q] = <real>step
        g[columns - 1] = <real>last
        return total if all_finite(columns, g) else INFINITY

    cdef double reach(self, const real *w, const real *g, long first, long last, real clip) noexcept nogil:
        return square_reach(last - first, clip, g + first)

    cdef void prepare(self, Team team, real *g, double clip) noexcept nogil:
        """J takes in the observation, and g becomes the step."""
        cdef double gamma = max(self.decay, 1.0 / (self.seen[0] + 1)), total = 0
        cdef long row, first = team_first(team, self.rows), last = team_last(team, self.rows), start, above = 0
        cdef bint idle = self.norm == 0 and self.seen[1] == 0
        cdef Block block
        cdef int i
        for i in range(0 if idle else self.block_count):
            block = self.blocks[i]
            for row in range(max(0, first - above), min(block.rows, last - above)):
                start = block.offset + row * block.stride
                self.learn(start, block.columns, g + start, gamma, clip)
                self.invert(start, block.columns)
                self.partial[above + row] = self.solve(block.columns, self.metric.inverse + start,
                                                       self.metric.slope + start if self.quasi else NULL, clip, g + start)
            above += block.rows
        team_barrier(team)
        if team.rank == 0:
            self.rate, self.refused = 0, False
            if not idle:
                for row in range(self.rows):
                    total += self.partial[row]
                self.seen[0] += 1
                self.seen[1] = 0
                self.refused = not isfinite(total)
                if self.seen[0] > self.warm_up and not self.refused:
                    self.rate = <real>(self.lr if self.lr * sqrt(total) <= self.trust else self.trust / sqrt(total))
        team_barrier(team)

    cdef inline void learn(self, long start, long columns, const real *g, double gamma, double clip) noexcept nogil:
        """J <- (1 - gamma) J + gamma F in one row.  A gradient that came from outside has no factors: then F = g g'.  The factors
        of an outlier are scaled down as it is."""
        cdef real *J = self.J + start
        cdef real *J_bias = self.J_bias + start if self.quasi else NULL
        cdef double share = (self.usual / self.norm) ** 2 if self.norm > self.usual else 1
        cdef long q
        if self.seen[1] == 0:
            self.add_outer(columns, g, gamma * clip * clip, 1 - gamma, J, J_bias)
            return
        for q in range(columns):
            J[q] = <real>(gamma * share * self.F[start + q] + (1 - gamma) * J[q])
            self.F[start + q] = 0
        if J_bias is not NULL:
            for q in range(columns):
                J_bias[q] = <real>(gamma * share * self.F_bias[start + q] + (1 - gamma) * J_bias[q])
                self.F_bias[start + q] = 0

    cdef void update(self, real *w, const real *g, long first, long last, real clip) noexcept nogil:
        cdef real rate = self.rate
        cdef long i
        if rate == 0:
            return
        for i in range(first, last):
            w[i] -= rate * g[i]
