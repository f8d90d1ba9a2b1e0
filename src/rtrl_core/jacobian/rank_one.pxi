# Floor 2: an influence that is one outer product a block and lane, for UORO and NoBackTrack.
#
#     G ~ v (x) w                          v [kn], w [rows, m]
#     v <- carried (H v) + scaled nu       w <- w / carried + scale sum_t y_t (x) h_hat_t
#
# Here are the passes over the memory; the estimators choose signs and scales.  A new product of one step
# waits, as its two sides: the pass that credits the next delta takes it into w and sums the squares of the
# rows of w on the way, so that w is read and written once a step.  A sum of products over `terms` steps is
# added at once.  Time 2 r n^2 to push v, 2 terms r n m to change w, 2 r n m to credit; memory
# kn + r n m + r n + m, bound by its bandwidth.

cdef enum:
    ROW_GROUP = 8                    # rows of w with one sum of squares


cdef inline long row_groups(const Stage *stage) noexcept nogil:
    return (stage.rows + ROW_GROUP - 1) // ROW_GROUP


cdef class RankOne:
    cdef int depth
    cdef long lanes, kn, rows, m     # rows and m of the first stage, which has the most
    cdef long terms
    cdef const Stage *stages
    cdef real **v                    # [depth][lanes, kn]
    cdef real **w                    # [depth][lanes, rows, m]
    cdef double **squares            # [depth][lanes, groups]: of ROW_GROUP rows of w
    cdef int32_t **waiting           # [depth][lanes]: w <- carried w + new_y (x) new_h is still to come
    cdef real **carried              # [depth][lanes]
    cdef real **new_y                # [depth][lanes, rows]
    cdef real **new_h                # [depth][lanes, m]
    cdef real *pushed                # [lanes, kn]: H v
    cdef real *nu                    # [lanes, kn]: the new product, left side ...
    cdef real *y                     # [lanes, terms, rows]: ... and right side
    cdef real *h_hat                 # [lanes, terms, m]
    cdef real *alpha                 # [threads, lanes]: delta v
    cdef real *unread                # [lanes or threads, m]: a gradient that nobody wants ...
    cdef real nothing                # ... and 0, its delta v

    cdef layout(self, Arena arena, const Stage *stages, int depth, long lanes, long threads, long terms):
        cdef double count = lanes
        cdef int l
        self.stages, self.depth, self.lanes, self.terms = stages, depth, lanes, terms
        self.kn, self.rows, self.m = stages.k * stages.n, stages.rows, stages.m
        if self.v is NULL:
            self.v, self.w = <real **>zeroed(depth, sizeof(real *)), <real **>zeroed(depth, sizeof(real *))
            self.squares, self.waiting = <double **>zeroed(depth, sizeof(double *)), <int32_t **>zeroed(depth, sizeof(int32_t *))
            self.carried = <real **>zeroed(depth, sizeof(real *))
            self.new_y, self.new_h = <real **>zeroed(depth, sizeof(real *)), <real **>zeroed(depth, sizeof(real *))
        for l in range(depth):
            self.v[l] = arena.reals(f"v{l}", "influence", count * self.kn)
            self.w[l] = arena.reals(f"w{l}", "influence", count * stages[l].rows * stages[l].m)
            self.squares[l] = arena.doubles(f"squares{l}", "influence", count * row_groups(&stages[l]), 0)
            self.waiting[l] = arena.ids(f"waiting{l}", "influence", count, terms == 1)
            self.carried[l] = arena.reals(f"carried{l}", "influence", count)
            self.new_y[l] = arena.reals(f"new_y{l}", "influence", count * stages[l].rows if terms == 1 else 0)
            self.new_h[l] = arena.reals(f"new_h{l}", "influence", count * stages[l].m if terms == 1 else 0)
        self.pushed = arena.reals("pushed", "workspace", count * self.kn)
        self.nu = arena.reals("nu", "workspace", count * self.kn)
        self.y = arena.reals("y", "workspace", count * terms * self.rows)
        self.h_hat = arena.reals("h_hat", "workspace", count * terms * self.m)
        self.alpha = arena.reals("alpha", "workspace", count * threads)
        self.unread = arena.reals("unread", "workspace", <double>max(lanes, threads) * self.m)

    def __dealloc__(self):
        free(self.v)
        free(self.w)
        free(self.squares)
        free(self.waiting)
        free(self.carried)
        free(self.new_y)
        free(self.new_h)

    cdef inline real *y_of(self, long lane) noexcept nogil:
        return self.y + lane * self.terms * self.rows

    cdef inline real *h_hat_of(self, long lane) noexcept nogil:
        return self.h_hat + lane * self.terms * self.m

    cdef void push(self, Share share, int l, const Record *record, int block) noexcept nogil:
        """pushed = H_l v of a block for the lanes of a crew, complete for all of it on return."""
        cdef long n = self.stages.n
        push(&self.stages[l], record, share.first, share.last - share.first, 1, self.v[block] + share.first * self.kn,
             self.y_of(share.first), self.terms * self.rows, self.pushed + share.first * self.kn,
             unit_first(share.team, n), unit_last(share.team, n))
        team_barrier(share.team)

    cdef void keep(self, Team crew, int block, long lane) noexcept nogil:
        """v <- H v."""
        cdef long n = self.stages.n, first = unit_first(crew, n), last = unit_last(crew, n), c
        for c in range(self.stages.k):
            memcpy(self.v[block] + lane * self.kn + c * n + first, self.pushed + lane * self.kn + c * n + first,
                   (last - first) * sizeof(real))

    cdef void seed(self, int l, const Record *record, long lane) noexcept nogil:
        """The right side of nu F for the present step alone: y = D' nu, and h_hat."""
        extend(&self.stages[l], record, lane, self.h_hat_of(lane))
        pull_maps(&self.stages[l], record, lane, self.nu + lane * self.kn, self.y_of(lane))

    cdef double norm_w(self, int l, long lane) noexcept nogil:
        cdef long groups = row_groups(&self.stages[l])
        return sqrt(total_of(groups, self.squares[l] + lane * groups))

    cdef double norm_pushed(self, long lane) noexcept nogil:
        return sqrt(norm2(self.kn, self.pushed + lane * self.kn))

    cdef double norm_new(self, int l, long lane, long terms) noexcept nogil:
        """|sum_t y_t (x) h_hat_t| from the products of its factors, without forming it."""
        cdef long rows = self.stages[l].rows, m = self.stages[l].m, s, t
        cdef real *y = self.y_of(lane)
        cdef real *h_hat = self.h_hat_of(lane)
        cdef double total = 0
        for t in range(terms):
            total += norm2(rows, y + t * self.rows) * norm2(m, h_hat + t * self.m)
            for s in range(t):
                total += 2 * dot(rows, y + s * self.rows, y + t * self.rows) * dot(m, h_hat + s * self.m, h_hat + t * self.m)
        return sqrt(max(0, total))

    cdef void mix_v(self, int l, long lane, real carried, real scaled) noexcept nogil:
        """v <- carried (H v) + scaled nu."""
        cdef real *v = self.v[l] + lane * self.kn
        cdef real *pushed = self.pushed + lane * self.kn
        cdef real *nu = self.nu + lane * self.kn
        cdef long i
        for i in range(self.kn):
            v[i] = carried * pushed[i] + scaled * nu[i]

    cdef void mix_w(self, Team crew, int l, long lane, real carried, double scaled, long terms) noexcept nogil:
        """w <- carried w + scaled sum_t y_t (x) h_hat_t, where nothing waits: for one term at the next credit."""
        cdef long rows = self.stages[l].rows, m = self.stages[l].m, row, group
        cdef real *y = self.y_of(lane)
        if self.terms > 1:
            for group in range(team_first(crew, row_groups(&self.stages[l])), team_last(crew, row_groups(&self.stages[l]))):
                self.add_rows(l, lane, group, carried, scaled, terms)
        elif crew.rank == 0:
            self.waiting[l][lane], self.carried[l][lane] = 1, carried
            for row in range(rows):
                self.new_y[l][lane * rows + row] = <real>(scaled * y[row])
            memcpy(self.new_h[l] + lane * m, self.h_hat_of(lane), m * sizeof(real))

    cdef void add_rows(self, int l, long lane, long group, real carried, double scaled, long terms) noexcept nogil:
        """One group of rows of w <- carried w + scaled sum_t y_t (x) h_hat_t."""
        cdef const Stage *stage = &self.stages[l]
        cdef long row, t, rows = stage.rows
        cdef real *y = self.y_of(lane)
        cdef real *h_hat = self.h_hat_of(lane)
        cdef double square = 0, total = 0
        for row in range(group * ROW_GROUP, min(rows, (group + 1) * ROW_GROUP)):
            for t in range(terms):
                square = axpby_norm2(stage.m, <real>(scaled * y[t * self.rows + row]), h_hat + t * self.m,
                                     carried if t == 0 else 1, self.w[l] + (lane * rows + row) * stage.m)
            total += square
        self.squares[l][lane * row_groups(stage) + group] = total

    cdef void settle(self, Team crew, int l, long lane) noexcept nogil:
        """Take what waits into w, where no delta was credited since."""
        cdef long groups = row_groups(&self.stages[l])
        if not self.waiting[l][lane]:
            return
        self.pass_rows(l, lane, 1, &self.nothing, self.unread + (lane if crew.size == 1 else crew.rank) * self.m, 0,
                       team_first(crew, groups), team_last(crew, groups))
        team_barrier(crew)
        if crew.rank == 0:
            self.waiting[l][lane] = 0

    cdef void credit(self, Team team, const real *delta, real *gradient) noexcept nogil:
        """gradient += sum over lanes of (delta_b v_b) w_b, with what waits taken into w."""
        cdef real *alpha = self.alpha + team.rank * self.lanes
        cdef const Stage *stage
        cdef long groups, lane, row
        cdef int l
        for l in range(self.depth):
            stage, groups = &self.stages[l], row_groups(&self.stages[l])
            for lane in range(self.lanes):
                alpha[lane] = <real>dot(self.kn, delta + lane * self.kn, self.v[l] + lane * self.kn)
            if self.any_waits(team, l):
                self.pass_rows(l, 0, self.lanes, alpha, gradient + stage.offset, stage.ldw,
                               team_first(team, groups), team_last(team, groups))
                continue
            for row in range(team_first(team, stage.rows), team_last(team, stage.rows)):
                pulls(self.lanes, stage.m, 1, self.w[l] + row * stage.m, stage.rows * stage.m, alpha, self.lanes,
                      gradient + stage.offset + row * stage.ldw, stage.ldw)
        team_barrier(team)
        for l in range(self.depth):
            for lane in range(team_first(team, self.lanes), team_last(team, self.lanes)):
                self.waiting[l][lane] = 0

    cdef bint any_waits(self, Team team, int l) noexcept nogil:
        """Does any lane wait?  The others are then given what leaves them as they are, w <- 1 w + 0 (x) 0."""
        cdef const Stage *stage = &self.stages[l]
        cdef long lane, count = 0
        for lane in range(self.lanes):
            count += self.waiting[l][lane]
        if 0 < count < self.lanes:
            for lane in range(team_first(team, self.lanes), team_last(team, self.lanes)):
                if not self.waiting[l][lane]:
                    self.carried[l][lane] = 1
                    memset(self.new_y[l] + lane * stage.rows, 0, stage.rows * sizeof(real))
                    memset(self.new_h[l] + lane * stage.m, 0, stage.m * sizeof(real))
            team_barrier(team)
        return count > 0

    cdef void pass_rows(self, int l, long lane, long lanes, const real *alpha, real *gradient, long ldg,
                        long first, long last) noexcept nogil:
        """What waits into groups [first, last) of rows of `lanes` lanes from `lane` on, and the gradient of these."""
        cdef const Stage *stage = &self.stages[l]
        cdef long rows = stage.rows, m = stage.m, group, row
        cdef Carry at
        at.x, at.x_lane, at.T, at.e = self.new_h[l] + lane * m, m, self.carried[l] + lane, alpha
        at.w_by, at.T_by, at.d_by, at.e_by = Strides(rows * m, m, 0), Strides(1, 0, 0), Strides(rows, 1, 0), Strides(1, 0, 0)
        for group in range(first, last):
            row = group * ROW_GROUP
            at.w, at.d = self.w[l] + (lane * rows + row) * m, self.new_y[l] + lane * rows + row
            carry(1, min(ROW_GROUP, rows - row), m, lanes, &at, gradient + row * ldg, ldg,
                  self.squares[l] + lane * row_groups(stage) + group, row_groups(stage))

    cdef void clear_block(self, int l, long lane) noexcept nogil:
        cdef const Stage *stage = &self.stages[l]
        memset(self.v[l] + lane * self.kn, 0, self.kn * sizeof(real))
        memset(self.w[l] + lane * stage.rows * stage.m, 0, stage.rows * stage.m * sizeof(real))
        memset(self.squares[l] + lane * row_groups(stage), 0, row_groups(stage) * sizeof(double))
        self.waiting[l][lane] = 0

    cdef void drop(self, int l, long lane) noexcept nogil:
        """Forget what one block carries, H v included."""
        self.clear_block(l, lane)
        memset(self.pushed + lane * self.kn, 0, self.kn * sizeof(real))

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.depth):
            self.clear_block(l, lane)
