# UORO: the influence as one random outer product (Tallec and Ollivier 2017, arXiv:1702.05043).
#
#     G ~ v (x) w        v [kn], w [rn, m]           gradient += (delta v) w
#     v <- rho0 H v + rho1 nu                        rho0 = balance(|w|, |H v|)
#     w <- w / rho0 + (nu F) / rho1                  rho1 = balance(|nu F|, |nu|)
#
# nu F = (nu D) (x) h_hat, so its norm is a product of two.  Time about 2 r n^2 + 4 r n m a step, lane
# and stage, bound by one read and one write of w; memory kn + r n m.

cdef class UORO(Estimator):
    options = {"fresh": True}
    kind = "unbiased"
    cdef real **v                    # [depth][lanes, kn]
    cdef real **w                    # [depth][lanes, rows, m]
    cdef double **squares            # [depth][lanes, rows]: of each row of w
    cdef real *pushed                # [lanes, kn]: H v
    cdef real *nu                    # [lanes, kn]
    cdef real *nuD                   # [lanes, rows]
    cdef real *h_hat                 # [lanes, m]
    cdef double *scales              # [lanes, 4]: rho0, 1/rho0, rho1, 1/rho1

    def __init__(self, fresh=True):
        self.fresh = fresh

    def flops(self):
        cdef double n = self.net.n, depth = self.net.depth, rows = self.net.stages[0].rows
        return depth * depth * 2 * rows * n + depth * 4 * rows * self.net.stages[0].m

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, lanes = net.lanes
        cdef int l
        if self.v is NULL:
            self.v = <real **>calloc(net.depth, sizeof(real *))
            self.w = <real **>calloc(net.depth, sizeof(real *))
            self.squares = <double **>calloc(net.depth, sizeof(double *))
        for l in range(net.depth):
            self.v[l] = arena.reals(f"v{l}", "influence", lanes * kn)
            self.w[l] = arena.reals(f"w{l}", "influence", lanes * net.stages[l].rows * net.stages[l].m)
            self.squares[l] = arena.doubles(f"squares{l}", "influence", lanes * net.stages[l].rows)
        self.pushed = arena.reals("pushed", "workspace", lanes * kn)
        self.nu = arena.reals("nu", "workspace", lanes * kn)
        self.nuD = arena.reals("nuD", "workspace", lanes * net.stages[0].rows)
        self.h_hat = arena.reals("h_hat", "workspace", lanes * net.stages[0].m)
        self.scales = arena.doubles("scales", "workspace", lanes * 4)

    def __dealloc__(self):
        free(self.v)
        free(self.w)
        free(self.squares)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef Team crew = share.team
        cdef long n = self.net.n, kn = self.net.k * n, lane, first = unit_first(crew, n), last = unit_last(crew, n), c
        cdef real *v
        cdef int l, block
        for lane in range(share.first, share.last):
            for l in range(self.net.depth):
                for block in range(self.net.depth):
                    v = self.v[block] + lane * kn
                    push(&self.net.stages[l], &self.net.records[l], lane, v, self.nuD + lane * self.net.stages[l].rows,
                         self.pushed + lane * kn, first, last)
                    team_barrier(crew)
                    if block == l:
                        if crew.rank == 0:
                            self.reduce_v(lane, l)
                        team_barrier(crew)
                        self.reduce_w(crew, lane, l)
                    else:
                        for c in range(self.net.k):
                            memcpy(v + c * n + first, self.pushed + lane * kn + c * n + first, (last - first) * sizeof(real))
                    team_barrier(crew)

    cdef void reduce_v(self, long lane, int l) noexcept nogil:
        """Scales, nu and the new v of one block."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n, rows = stage.rows, c, a, i
        cdef const real *D = self.net.records[l].D + lane * stage.k * rows
        cdef real *v = self.v[l] + lane * kn
        cdef real *pushed = self.pushed + lane * kn
        cdef real *nu = self.nu + lane * kn
        cdef real *nuD = self.nuD + lane * rows
        cdef real *h_hat = self.h_hat + lane * self.net.stages[0].m
        cdef double *scales = self.scales + 4 * lane
        cdef double norm_w = 0, norm_v = sqrt(norm2(kn, pushed)), guard
        for i in range(rows):
            norm_w += self.squares[l][lane * rows + i]
        norm_w = sqrt(norm_w)
        guard = self.guard(lane, norm_w * norm_v)
        if guard == 0:
            self.clear_block(l, lane)
            memset(pushed, 0, kn * sizeof(real))
        balance(norm_w, norm_v * guard, &scales[0], &scales[1])
        extend(stage, &self.net.records[l], lane, h_hat)
        self.net.signs(lane, l, kn, nu)
        memset(nuD, 0, rows * sizeof(real))
        for c in range(stage.k):
            for a in range(stage.r):
                for i in range(stage.n):
                    nuD[a * stage.n + i] += nu[c * stage.n + i] * D[c * rows + a * stage.n + i]
        balance(sqrt(norm2(rows, nuD) * norm2(stage.m, h_hat)), sqrt(<double>kn), &scales[2], &scales[3])
        for i in range(kn):
            v[i] = <real>(scales[0] * guard) * pushed[i] + <real>scales[2] * nu[i]

    cdef void reduce_w(self, Team crew, long lane, int l) noexcept nogil:
        """w <- w / rho0 + (nu D / rho1) (x) h_hat, one pass that also keeps the squares of the rows."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef long row, rows = stage.rows
        cdef double *scales = self.scales + 4 * lane
        cdef real *w = self.w[l] + lane * rows * stage.m
        for row in range(team_first(crew, rows), team_last(crew, rows)):
            self.squares[l][lane * rows + row] = axpby_norm2(
                stage.m, <real>(scales[3] * self.nuD[lane * rows + row]), self.h_hat + lane * self.net.stages[0].m,
                <real>scales[1], w + row * stage.m)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, lane, row
        cdef Stage *stage
        cdef real alpha
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            for lane in range(self.net.lanes):
                alpha = <real>dot(kn, delta + lane * kn, self.v[l] + lane * kn)
                for row in range(team_first(team, stage.rows), team_last(team, stage.rows)):
                    axpy(stage.m, alpha, self.w[l] + (lane * stage.rows + row) * stage.m,
                         self.gradient + stage.offset + row * stage.ldw)

    cdef void clear_block(self, int l, long lane) noexcept nogil:
        cdef Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n
        memset(self.v[l] + lane * kn, 0, kn * sizeof(real))
        memset(self.w[l] + lane * stage.rows * stage.m, 0, stage.rows * stage.m * sizeof(real))
        memset(self.squares[l] + lane * stage.rows, 0, stage.rows * sizeof(double))

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            self.clear_block(l, lane)
