# KeRNL: a learned kernel in place of the influence (Roth, Kanitscheider, Fiete 2019; in the form of
# Marschall, Cho, Savin 2020, arXiv:1907.02649).
#
#     G[(d,i),(a,j),:] ~ sum over c of A[(d,i),(c,j)] B[c,(a,j),:]          kappa = 1 - alpha in [0, 1], [kn]
#     Delta <- H Delta, after stage l itself + zeta       zeta = noise signs / sqrt(kn)
#     Gamma <- kappa Gamma - Omega    Omega <- kappa Omega + zeta    B <- kappa B + D h_hat
#     e = A Omega - Delta             alpha <- alpha - kernel_lr (e A) Gamma    A <- A - lr e (x) Omega
#
# The authors perturb a second net; Delta is the same to first order in the noise and needs only records.
# A and alpha survive a reset.  Time about 8 (kn)^2 + 4 k r n m a step, lane and stage; memory
# (kn)^2 + k r n m.

cdef class KeRNL(Estimator):
    options = {"lr": 0.03, "kernel_lr": 0.01, "noise": 1.0, "leak": 0.8}
    kind = "biased"
    cdef double lr, kernel_lr, noise, leak
    cdef real **A                    # [depth][lanes, kn, kn]
    cdef real **B                    # [depth][lanes, k, rows, m]
    cdef real **small                # [depth][lanes, 4, kn]: Delta, Omega, Gamma, alpha
    cdef real *h_hat                 # [lanes, m]
    cdef real *error                 # [lanes, kn]
    cdef real *pushed                # [lanes, kn]: H Delta, e A, delta A
    cdef real *z                     # [lanes, rows]
    cdef double *squares             # [lanes, k rows]: of the rows of B, then of those of A
    cdef double *traced              # [lanes, depth]: squares of B

    def __init__(self, lr=0.03, kernel_lr=0.01, noise=1.0, leak=0.8):
        self.fresh, self.lr, self.kernel_lr, self.noise, self.leak = False, lr, kernel_lr, noise, leak

    def flops(self):
        cdef double kn = self.net.k * self.net.n, rows = self.net.stages[0].rows, depth = self.net.depth
        return depth * (8 * kn * kn + depth * 2 * rows * self.net.n + 4 * self.net.k * rows * self.net.stages[0].m)

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double kn = net.k * net.n, lanes = net.lanes, rows = net.stages[0].rows
        cdef int l
        if self.A is NULL:
            self.A = <real **>zeroed(net.depth, sizeof(real *))
            self.B = <real **>zeroed(net.depth, sizeof(real *))
            self.small = <real **>zeroed(net.depth, sizeof(real *))
        for l in range(net.depth):
            self.A[l] = arena.reals(f"A{l}", "influence", lanes * kn * kn)
            self.B[l] = arena.reals(f"B{l}", "influence", lanes * net.k * rows * net.stages[l].m)
            self.small[l] = arena.reals(f"small{l}", "influence", lanes * 4 * kn)
        self.h_hat = arena.reals("h_hat", "workspace", lanes * net.stages[0].m)
        self.error = arena.reals("error", "workspace", lanes * kn)
        self.pushed = arena.reals("pushed", "workspace", lanes * kn)
        self.z = arena.reals("z", "workspace", lanes * rows)
        self.squares = arena.doubles("squares", "workspace", lanes * net.k * rows)
        self.traced = arena.doubles("traced", "workspace", lanes * net.depth)
        if self.h_hat is not NULL:
            for l in range(net.depth):
                for b in range(net.lanes):
                    self.restart(l, b)

    def __dealloc__(self):
        free(self.A)
        free(self.B)
        free(self.small)

    cdef void restart(self, int l, long lane) noexcept nogil:
        """What is learned goes back to its first values."""
        cdef long kn = self.net.k * self.net.n, i
        cdef real *A = self.A[l] + lane * kn * kn
        memset(A, 0, kn * kn * sizeof(real))
        for i in range(kn):
            A[i * kn + i] = 1
            self.small[l][(4 * lane + 3) * kn + i] = <real>self.leak

    cdef void observe(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long lane
        cdef int l
        for lane in range(share.first, share.last):
            for l in range(self.net.depth):
                self.carry(share.team, lane, l)
                self.mark(share.team, lane, l)
            for l in range(self.net.depth):
                self.learn(share.team, lane, l)

    cdef void carry(self, Team crew, long lane, int s) noexcept nogil:
        """Delta <- H_s Delta of every block."""
        cdef const Stage *stage = &self.net.stages[s]
        cdef long n = stage.n, kn = stage.k * n, c, first = unit_first(crew, n), last = unit_last(crew, n)
        cdef real *Delta
        cdef int l
        for l in range(self.net.depth):
            Delta = self.small[l] + 4 * lane * kn
            push(stage, &self.net.records[s], lane, 1, 1, Delta, self.z + lane * stage.rows, stage.rows, self.pushed + lane * kn,
                 first, last)
            team_barrier(crew)
            for c in range(stage.k):
                memcpy(Delta + c * n + first, self.pushed + lane * kn + c * n + first, (last - first) * sizeof(real))
            team_barrier(crew)

    cdef void mark(self, Team crew, long lane, int l) noexcept nogil:
        """Noise into the perturbation, and F into the trace, of block l after its own stage."""
        cdef const Stage *stage = &self.net.stages[l]
        cdef const real *D = self.net.records[l].D + lane * stage.k * stage.rows
        cdef long kn = stage.k * stage.n, rows = stage.rows, i, row
        cdef real *Delta = self.small[l] + 4 * lane * kn
        cdef real *Omega = Delta + kn
        cdef real *Gamma = Delta + 2 * kn
        cdef real *alpha = Delta + 3 * kn
        cdef real *zeta = self.error + lane * kn
        cdef real *h_hat = self.h_hat + lane * self.net.stages[0].m
        cdef real size = <real>(self.noise / sqrt(<double>kn))
        if crew.rank == 0:
            extend(stage, &self.net.records[l], lane, h_hat)
            self.net.signs(lane, l, kn, zeta)
            for i in range(kn):
                Delta[i] += size * zeta[i]
                Gamma[i] = (1 - alpha[i]) * Gamma[i] - Omega[i]
                Omega[i] = (1 - alpha[i]) * Omega[i] + size * zeta[i]
        team_barrier(crew)
        for row in range(team_first(crew, stage.k * rows), team_last(crew, stage.k * rows)):
            i = row // rows * stage.n + row % stage.n
            self.squares[lane * stage.k * rows + row] = axpby_norm2(
                stage.m, D[row], h_hat, 1 - alpha[i], self.B[l] + (lane * stage.k * rows + row) * stage.m)
        team_barrier(crew)
        if crew.rank == 0:
            self.traced[lane * self.net.depth + l] = self.sum_of_rows(lane, stage.k * rows)
        team_barrier(crew)

    cdef double sum_of_rows(self, long lane, long count) noexcept nogil:
        """Squares added in the order of rows."""
        cdef double total = 0
        cdef long row
        for row in range(count):
            total += self.squares[lane * self.net.k * self.net.stages[0].rows + row]
        return total

    cdef void learn(self, Team crew, long lane, int l) noexcept nogil:
        """One step of A and alpha towards what the perturbation did, then the guard."""
        cdef long kn = self.net.k * self.net.n, i, first = unit_first(crew, kn), last = unit_last(crew, kn)
        cdef real *A = self.A[l] + lane * kn * kn
        cdef real *Delta = self.small[l] + 4 * lane * kn
        cdef real *Omega = Delta + kn
        cdef real *Gamma = Delta + 2 * kn
        cdef real *alpha = Delta + 3 * kn
        cdef real *error = self.error + lane * kn
        cdef real *back = self.pushed + lane * kn
        cdef double *squares = self.squares + lane * self.net.k * self.net.stages[0].rows
        for i in range(first, last):
            error[i] = <real>(dot(kn, A + i * kn, Omega) - Delta[i])
        team_barrier(crew)
        memset(back + first, 0, (last - first) * sizeof(real))
        pulls(kn, last - first, 1, A + first, kn, error, kn, back + first, kn)
        for i in range(first, last):
            alpha[i] = min(<real>1, max(<real>0, alpha[i] - <real>self.kernel_lr * back[i] * Gamma[i]))
        team_barrier(crew)
        for i in range(first, last):
            squares[i] = axpby_norm2(kn, -<real>self.lr * error[i], Omega, 1, A + i * kn)
        team_barrier(crew)
        if crew.rank == 0:
            self.limit(lane, l, sqrt(self.sum_of_rows(lane, kn)) * sqrt(self.traced[lane * self.net.depth + l]))
        team_barrier(crew)

    cdef void limit(self, long lane, int l, double norm) noexcept nogil:
        """The norm of A times that of B bounds that of G; when it is not finite, what was learned is forgotten too."""
        cdef long size = self.net.k * self.net.stages[l].rows * self.net.stages[l].m
        cdef double factor = self.guard(lane, norm)
        if factor == 0:
            self.restart(l, lane)
            self.clear_block(l, lane)
        elif factor < 1:
            scale(size, <real>factor, self.B[l] + lane * size)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef long kn = self.net.k * self.net.n, lane, row, c, first = unit_first(team, kn), last = unit_last(team, kn)
        cdef const Stage *stage
        cdef real *q = self.pushed
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            for lane in range(self.net.lanes):
                memset(q + lane * kn + first, 0, (last - first) * sizeof(real))
                pulls(kn, last - first, 1, self.A[l] + lane * kn * kn + first, kn, delta + lane * kn, kn,
                      q + lane * kn + first, kn)
            team_barrier(team)
            for row in range(team_first(team, stage.rows), team_last(team, stage.rows)):
                for lane in range(self.net.lanes):
                    for c in range(stage.k):
                        axpy(stage.m, q[lane * kn + c * stage.n + row % stage.n],
                             self.B[l] + ((lane * stage.k + c) * stage.rows + row) * stage.m,
                             self.gradient + stage.offset + row * stage.ldw)
            team_barrier(team)

    cdef void clear_block(self, int l, long lane) noexcept nogil:
        cdef const Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n, size = stage.k * stage.rows * stage.m
        memset(self.small[l] + 4 * lane * kn, 0, 3 * kn * sizeof(real))
        memset(self.B[l] + lane * size, 0, size * sizeof(real))

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            self.clear_block(l, lane)
