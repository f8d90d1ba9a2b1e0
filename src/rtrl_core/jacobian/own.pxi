# Floor 2: the influence of each weight on its own unit alone, for SnAp of order 1 and RFLO.
#
#     J_j <- T_j J_j + D_j h_hat        gradient of the weights of j += sum over c of delta[c,j] J_j[c,:]
#     T_j = E_j + D_j W_h[.,j,j], or E_j alone where it is not `recurrent`
#
# J_j [k, weights of j] holds weights that exist only (fan.pxi).  A step waits, as T and D of all its stages
# in a row, T = T_L .. T_1 and D = T_L .. T_{l+1} D_l: the pass that credits the next delta takes it into J,
# which is thus read and written once a step.  |J| must stay below a limit in every stage, which is certain if
#
#     |J|^2 <- max_j |T_j|^2 |J|^2        and where D comes in twice the sum of that and |D|^2 |h_hat|^2
#
# stays below it; otherwise the stages are taken in one by one.  Every J_j reads and writes itself alone, so
# units go to threads freely.  Time about (2 k^2 + 6 k) per weight of j, one pass over J.

cdef enum:
    UNITS_AT_ONCE = 8                # of which the rows of one map have one sum of squares


cdef class Own:
    cdef const Stage *stages
    cdef int depth
    cdef long n, k, r, lanes, pieces
    cdef bint recurrent
    cdef Fan *fan                    # [depth]
    cdef real **J                    # [depth][lanes, k * weights]
    cdef double **total              # [depth][lanes]: |J|^2
    cdef int32_t **waiting           # [depth][lanes]: J <- T J + D h_hat is still to come
    cdef real **T                    # [depth][lanes, k, k, n]
    cdef real **D                    # [depth][lanes, k, rows]
    cdef real **h_hat                # [depth][lanes, m]
    cdef int32_t *certain            # [lanes]: the block in hand need not be taken stage by stage
    cdef double *squares             # [lanes, pieces]: of the pass
    cdef real *diagonal              # [threads, depth, rows]: W_h[.,j,j]
    cdef real *step                  # [lanes, 2, k, k, n] and [lanes, k, rows]: room for a product of T or D
    cdef real *nothing               # [kn]: a delta of 0 ...
    cdef real *unread                # [threads, r m]: ... and the gradient that it gives, or that of a unit
    cdef real *gathered              # [threads, r, lanes, m]: h_hat at the columns of a map

    def __dealloc__(self):
        free(self.fan)
        free(self.J)
        free(self.total)
        free(self.waiting)
        free(self.T)
        free(self.D)
        free(self.h_hat)

    cdef layout(self, Arena arena, const Stage *stages, int depth, long lanes, long threads, bint recurrent):
        cdef double count = lanes
        cdef long m = stages.m
        cdef int l
        self.stages, self.depth, self.lanes, self.recurrent = stages, depth, lanes, recurrent
        self.n, self.k, self.r, self.pieces = stages.n, stages.k, stages.r, stages.rows
        if self.fan is NULL:
            self.fan, self.J = <Fan *>zeroed(depth, sizeof(Fan)), <real **>zeroed(depth, sizeof(real *))
            self.total, self.waiting = <double **>zeroed(depth, sizeof(double *)), <int32_t **>zeroed(depth, sizeof(int32_t *))
            self.T, self.D = <real **>zeroed(depth, sizeof(real *)), <real **>zeroed(depth, sizeof(real *))
            self.h_hat = <real **>zeroed(depth, sizeof(real *))
        for l in range(depth):
            self.fan[l] = fan_layout(arena, f"fan{l}.", &stages[l])
            self.J[l] = arena.reals(f"J{l}", "influence", count * self.k * self.fan[l].weights)
            self.total[l] = arena.doubles(f"total{l}", "influence", count, 0)
            self.waiting[l] = arena.ids(f"waiting{l}", "influence", count, 1)
            self.T[l] = arena.reals(f"T{l}", "influence", count * self.k * self.k * self.n)
            self.D[l] = arena.reals(f"D{l}", "influence", count * self.k * self.pieces)
            self.h_hat[l] = arena.reals(f"h_hat{l}", "influence", count * stages[l].m)
        self.certain = arena.ids("certain", "workspace", count)
        self.squares = arena.doubles("squares", "workspace", count * self.pieces)
        self.diagonal = arena.reals("diagonal", "workspace", <double>threads * depth * self.pieces)
        self.step = arena.reals("step", "workspace", count * (2 * self.k * self.k * self.n + self.k * self.pieces))
        self.nothing = arena.reals("nothing", "workspace", self.k * self.n)
        self.unread = arena.reals("unread", "workspace", <double>threads * (self.r * m + self.k))
        self.gathered = arena.reals("gathered", "workspace", 0 if stages.mask is NULL else <double>threads * self.r * count * m)

    # A step that waits

    cdef void read_diagonal(self, int rank) noexcept nogil:
        cdef const Stage *stage
        cdef long row
        cdef int s
        for s in range(self.depth if self.recurrent else 0):
            stage = &self.stages[s]
            for row in range(stage.rows):
                self.diagonal[(rank * self.depth + s) * stage.rows + row] = stage.W[row * stage.ldw + row % self.n]

    cdef void step_T(self, int rank, const Record *record, long lane, int s, real *T) noexcept nogil:
        """T [k, k, n] of one stage."""
        cdef long k = self.k, n = self.n, c, a, j
        cdef const real *diagonal = self.diagonal + (rank * self.depth + s) * self.pieces
        cdef const real *D = record.D + lane * k * self.pieces
        memcpy(T, record.E + lane * k * k * n, k * k * n * sizeof(real))
        for c in range(k if self.recurrent else 0):
            for a in range(self.r):
                for j in range(n):
                    T[c * k * n + j] += D[c * self.pieces + a * n + j] * diagonal[a * n + j]

    cdef bint compose(self, int rank, const Record *records, long lane, int l, int first, int last, double limit) noexcept nogil:
        """T and D of the stages [first, last) in a row; returns whether |J|^2 is certain to stay below the limit."""
        cdef long k = self.k, kkn = self.k * self.k * self.n, rows = self.pieces
        cdef real *T = self.T[l] + lane * kkn
        cdef real *D = self.D[l] + lane * k * rows
        cdef real *step = self.step + lane * (2 * kkn + k * rows)
        cdef double bound = self.total[l][lane], growth
        cdef bint certain = True
        cdef int s
        memset(D, 0, k * rows * sizeof(real))
        for s in range(first, last):
            self.step_T(rank, &records[s], lane, s, T if s == first else step)
            growth = self.largest(T if s == first else step, step + kkn)
            if s > first:
                self.times(step, T, step + kkn, k)
                if s > l >= first:
                    self.times(step, D, step + kkn, self.r)
            bound *= 1.001 * growth
            if s == l:
                memcpy(D, records[s].D + lane * k * rows, k * rows * sizeof(real))
                extend(&self.stages[s], &records[s], lane, self.h_hat[l] + lane * self.stages[l].m)
                bound = 2.002 * (bound + norm2(k * rows, D) * norm2(self.stages[l].m, self.h_hat[l] + lane * self.stages[l].m))
            certain = certain and bound < limit
        return certain

    cdef double largest(self, const real *T, real *room) noexcept nogil:
        """max_j |T_j|^2, not a number if one of them is not."""
        cdef long k = self.k, n = self.n, c, j
        memset(room, 0, n * sizeof(real))
        for c in range(k * k):
            for j in range(n):
                room[j] += T[c * n + j] * T[c * n + j]
        return maximum(n, room) if all_finite(n, room) else NAN

    cdef void times(self, const real *T, real *X, real *room, long blocks) noexcept nogil:
        """X[c, ., :] <- sum_d T[c, d, :] X[d, ., :], X [k, blocks, n]."""
        cdef long k = self.k, n = self.n, c, d, p, j
        cdef real *x
        memcpy(room, X, k * blocks * n * sizeof(real))
        for c in range(k):
            for p in range(blocks):
                x = X + (c * blocks + p) * n
                for j in range(n):
                    x[j] = T[c * k * n + j] * room[p * n + j]
                for d in range(1, k):
                    for j in range(n):
                        x[j] += T[(c * k + d) * n + j] * room[(d * blocks + p) * n + j]

    # The pass

    cdef void settle(self, Team crew, int rank, int l, long lane) noexcept nogil:
        """Take what waits into J, where no delta was credited since; complete for the whole crew on return."""
        if self.waiting[l][lane]:
            self.pass_units(rank, l, lane, 1, self.nothing, NULL, unit_first(crew, self.n), unit_last(crew, self.n))
            team_barrier(crew)
            if crew.rank == 0:
                self.finish(l, lane)
        team_barrier(crew)

    cdef double finish(self, int l, long lane) noexcept nogil:
        """Nothing waits any more; returns |J|."""
        self.waiting[l][lane] = 0
        self.total[l][lane] = total_of(self.pieces, self.squares + lane * self.pieces)
        return sqrt(self.total[l][lane])

    cdef void pass_units(self, int rank, int l, long lane, long lanes, const real *delta, real *gradient,
                         long first, long last) noexcept nogil:
        """Units [first, last) of `lanes` lanes from `lane` on: what waits into J, and its gradient if that is wanted."""
        cdef const Stage *stage = &self.stages[l]
        cdef const Fan *fan = &self.fan[l]
        cdef long k = self.k, n = self.n, r = self.r, m = stage.m, rows = stage.rows, entries = k * fan.weights, group, j, a, count
        cdef real *unread = self.unread + rank * (r * self.stages.m + k)
        cdef Carry at
        at.x, at.x_lane, at.room = self.h_hat[l] + lane * m, m, unread + r * self.stages.m
        at.T_by, at.d_by, at.e_by = Strides(k * k * n, 1, n), Strides(k * rows, 1, rows), Strides(k * n, 1, n)
        if fan.column is not NULL:
            self.pass_masked(rank, l, lane, lanes, delta, gradient, &at, first, last)
            return
        at.w_by = Strides(entries, k * r * m, r * m)
        for group in range((last - first + UNITS_AT_ONCE - 1) // UNITS_AT_ONCE):
            j = first + group * UNITS_AT_ONCE
            count = min(UNITS_AT_ONCE, last - j)
            at.T, at.e = self.T[l] + lane * k * k * n + j, delta + j
            for a in range(r):
                at.w = self.J[l] + lane * entries + (j * k * r + a) * m
                at.d = self.D[l] + lane * k * rows + a * n + j
                carry(k, count, m, lanes, &at, unread if gradient is NULL else gradient + (a * n + j) * stage.ldw,
                      0 if gradient is NULL else stage.ldw, self.squares + lane * self.pieces + a * n + j, self.pieces)

    cdef void pass_masked(self, int rank, int l, long lane, long lanes, const real *delta, real *gradient, Carry *at,
                          long first, long last) noexcept nogil:
        """The same map by map: h_hat gathered at the columns that it reads, and its gradient scattered."""
        cdef const Stage *stage = &self.stages[l]
        cdef const Fan *fan = &self.fan[l]
        cdef long k = self.k, n = self.n, r = self.r, rows = stage.rows, entries = k * fan.weights, j, a, b, start, count
        cdef real *y = self.unread + rank * (r * self.stages.m + k)
        cdef real *x
        for j in range(first, last):
            start = fan.start[j * r]
            memset(y, 0, (fan.start[(j + 1) * r] - start) * sizeof(real))
            at.T, at.e = self.T[l] + lane * k * k * n + j, delta + j
            at.w_by = Strides(entries, 0, fan.start[(j + 1) * r] - start)
            for a in range(r):
                count = fan.start[j * r + a + 1] - fan.start[j * r + a]
                at.x, at.x_lane = self.h_hat[l] + lane * stage.m, stage.m
                if count < stage.m:
                    x = self.gathered + (rank * r + a) * self.lanes * self.stages.m
                    if j == first or not fan_alike(fan, r, j, a):
                        for b in range(lanes):
                            fan_gather(stage, fan, j, a, self.h_hat[l] + (lane + b) * stage.m, x + b * count)
                    at.x, at.x_lane = x, count
                at.w = self.J[l] + lane * entries + k * start + fan.start[j * r + a] - start
                at.d = self.D[l] + lane * k * rows + a * n + j
                carry(k, 1, count, lanes, at, y + fan.start[j * r + a] - start, 0,
                      self.squares + lane * self.pieces + a * n + j, self.pieces)
            if gradient is not NULL:
                fan_scatter(stage, fan, j, y, gradient)

    cdef void credit(self, Team team, const real *delta, int l, real *gradient) noexcept nogil:
        """gradient of the stage += sum over lanes and c of delta[c,j] J_j[c,:], with what waits taken into J."""
        cdef long kkn = self.k * self.k * self.n, d = self.k * self.pieces, lane, c, i, count = 0
        for lane in range(self.lanes):
            count += self.waiting[l][lane]
        if count < self.lanes:       # the others get T = 1 and D = 0, which leave them as they are
            for lane in range(team_first(team, self.lanes), team_last(team, self.lanes)):
                if not self.waiting[l][lane]:
                    memset(self.T[l] + lane * kkn, 0, kkn * sizeof(real))
                    memset(self.D[l] + lane * d, 0, d * sizeof(real))
                    memset(self.h_hat[l] + lane * self.stages[l].m, 0, self.stages[l].m * sizeof(real))
                    for c in range(self.k):
                        for i in range(self.n):
                            self.T[l][lane * kkn + c * (self.k + 1) * self.n + i] = 1
            team_barrier(team)
        self.pass_units(team.rank, l, 0, self.lanes, delta, gradient, unit_first(team, self.n), unit_last(team, self.n))

    cdef inline real *block(self, int l, long lane) noexcept nogil:
        return self.J[l] + lane * self.k * self.fan[l].weights

    cdef void clear(self, int l, long lane) noexcept nogil:
        memset(self.block(l, lane), 0, self.k * self.fan[l].weights * sizeof(real))
        self.total[l][lane] = 0
        self.waiting[l][lane] = 0

    cdef void rescale(self, int l, long lane, double factor) noexcept nogil:
        if factor == 0:
            self.clear(l, lane)
        elif factor < 1:
            scale(self.k * self.fan[l].weights, <real>factor, self.block(l, lane))
            self.total[l][lane] *= factor * factor
