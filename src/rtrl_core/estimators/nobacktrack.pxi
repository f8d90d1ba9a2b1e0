# NoBackTrack: the influence as one random outer product, with one sign and one scale for every state
# component (Ollivier, Tallec and Charpiat 2015, arXiv:1507.07680).
#
#     G ~ v (x) w        v [kn], w [rn, m]           gradient += (delta v) w
#     v <- rho0 H v + sum_i eps_i rho_i e_i          rho0 = balance(|w|, |H v|)
#     w <- w / rho0 + sum_i eps_i F_i / rho_i        rho_i = sqrt(|F_i|), the product dropped where F_i = 0
#
# Row i = (c, j) of F is D[c,:,j] (x) h_hat in the rows (a, j), so |F_i| = |D[c,:,j]| |h_hat|, and the second
# sum is one outer product, (eps / rho) D (x) h_hat.  Time and memory are those of UORO: about
# 2 r n^2 + 4 r n m a step, lane and stage, bound by one read and one write of w; kn + r n m.

cdef class NoBackTrack(Estimator):
    options = {"fresh": True}
    kind = "unbiased"
    cdef RankOne pair
    cdef double *sizes               # [lanes, kn]: |F_i|
    cdef double *scales              # [lanes, 2]: rho0, 1/rho0

    def __init__(self, fresh=True):
        self.fresh = fresh
        self.pair = RankOne()

    def flops(self):
        cdef double n = self.net.n, depth = self.net.depth, rows = self.net.stages[0].rows
        return depth * depth * 2 * rows * n + depth * 4 * rows * self.net.stages[0].m

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        self.pair.layout(arena, net.stages, net.depth, net.lanes, net.threads, 1)
        self.sizes = arena.doubles("sizes", "workspace", <double>net.lanes * net.k * net.n)
        self.scales = arena.doubles("scales", "workspace", <double>net.lanes * 2)

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lane
        cdef int l, block
        for l in range(self.net.depth):
            for block in range(self.net.depth):
                self.pair.push(share, l, &self.net.records[l], block)
                for lane in range(share.first, share.last):
                    if block == l:
                        self.reduce(share.team, lane, l)
                    else:
                        self.pair.keep(share.team, block, lane)
                team_barrier(share.team)

    cdef void reduce(self, Team crew, long lane, int l) noexcept nogil:
        """The new v and w of one block."""
        cdef double *scales = self.scales + 2 * lane
        cdef double norm_w, norm_v, guard
        self.pair.settle(crew, l, lane)
        if crew.rank == 0:
            norm_w, norm_v = self.pair.norm_w(l, lane), self.pair.norm_pushed(lane)
            guard = self.guard(lane, norm_w * norm_v)
            if guard == 0:
                self.pair.drop(l, lane)
            balance(norm_w, norm_v * guard, &scales[0], &scales[1])
            self.new_product(lane, l)
            self.pair.mix_v(l, lane, <real>(scales[0] * guard), 1)
        team_barrier(crew)
        self.pair.mix_w(crew, l, lane, <real>scales[1], 1, 1)

    cdef void new_product(self, long lane, int l) noexcept nogil:
        """nu = eps rho, y = (eps / rho) D and h_hat, of one block."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef real *nu = self.pair.nu + lane * self.pair.kn
        cdef double *sizes = self.sizes + lane * self.pair.kn
        cdef double norm_h, rho, inverse
        cdef long entry
        cdef bint lost = False
        self.net.signs(lane, l, self.pair.kn, nu)
        extend(stage, &self.net.records[l], lane, self.pair.h_hat_of(lane))
        norm_h = sqrt(norm2(stage.m, self.pair.h_hat_of(lane)))
        row_norms(stage, &self.net.records[l], lane, sizes)
        for entry in range(self.pair.kn):
            sizes[entry] *= norm_h
            if not isfinite(<real>sizes[entry]):
                sizes[entry], lost = 0, True
            balance(sizes[entry], 1, &rho, &inverse)
            nu[entry] *= <real>inverse
        if lost:
            self.guard(lane, INFINITY)
        self.pair.seed(l, &self.net.records[l], lane)
        # eps / rho becomes eps rho.
        for entry in range(self.pair.kn):
            nu[entry] *= <real>sizes[entry]

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        self.pair.credit(team, delta, self.gradient)

    cdef void clear(self, long lane) noexcept nogil:
        self.pair.clear(lane)
