# Floor 2: an influence that is one outer product a block and lane, for UORO and NoBackTrack.
#
#     G ~ v (x) w                          v [kn], w [rows, m]
#     v <- carried (H v) + scaled nu       w <- w / carried + scale sum_t y_t (x) h_hat_t
#
# Here are the passes over the memory; the estimators choose signs and scales.  The new product is a sum
# over `terms` steps (one for most), so that w is read and written once however many there are, and the
# same pass sums the squares of its rows.  Time 2 r n^2 to push v, 2 terms r n m to change w, 2 r n m to
# credit; memory kn + r n m, bound by its bandwidth.

cdef class RankOne:
    cdef int depth
    cdef long lanes, kn, rows, m     # rows and m of the first stage, which has the most
    cdef long terms
    cdef const Stage *stages
    cdef real **v                    # [depth][lanes, kn]
    cdef real **w                    # [depth][lanes, rows, m]
    cdef double **squares            # [depth][lanes, rows]: of each row of w
    cdef real *pushed                # [lanes, kn]: H v
    cdef real *nu                    # [lanes, kn]: the new product, left side ...
    cdef real *y                     # [lanes, terms, rows]: ... and right side
    cdef real *h_hat                 # [lanes, terms, m]

    cdef layout(self, Arena arena, const Stage *stages, int depth, long lanes, long terms):
        cdef double count = lanes
        cdef int l
        self.stages, self.depth, self.lanes, self.terms = stages, depth, lanes, terms
        self.kn, self.rows, self.m = stages.k * stages.n, stages.rows, stages.m
        if self.v is NULL:
            self.v = <real **>calloc(depth, sizeof(real *))
            self.w = <real **>calloc(depth, sizeof(real *))
            self.squares = <double **>calloc(depth, sizeof(double *))
        for l in range(depth):
            self.v[l] = arena.reals(f"v{l}", "influence", count * self.kn)
            self.w[l] = arena.reals(f"w{l}", "influence", count * stages[l].rows * stages[l].m)
            self.squares[l] = arena.doubles(f"squares{l}", "influence", count * stages[l].rows)
        self.pushed = arena.reals("pushed", "workspace", count * self.kn)
        self.nu = arena.reals("nu", "workspace", count * self.kn)
        self.y = arena.reals("y", "workspace", count * terms * self.rows)
        self.h_hat = arena.reals("h_hat", "workspace", count * terms * self.m)

    def __dealloc__(self):
        free(self.v)
        free(self.w)
        free(self.squares)

    cdef inline real *y_of(self, long lane) noexcept nogil:
        return self.y + lane * self.terms * self.rows

    cdef inline real *h_hat_of(self, long lane) noexcept nogil:
        return self.h_hat + lane * self.terms * self.m

    cdef void push(self, Team crew, int l, const Record *record, int block, long lane) noexcept nogil:
        """pushed = H_l v of a block, complete for the whole crew on return."""
        cdef long n = self.stages.n
        push(&self.stages[l], record, lane, self.v[block] + lane * self.kn, self.y_of(lane), self.pushed + lane * self.kn,
             unit_first(crew, n), unit_last(crew, n))
        team_barrier(crew)

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
        cdef double total = 0
        cdef long row, rows = self.stages[l].rows
        for row in range(rows):
            total += self.squares[l][lane * rows + row]
        return sqrt(total)

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
        """w <- carried w + scaled sum_t y_t (x) h_hat_t, row by row."""
        cdef const Stage *stage = &self.stages[l]
        cdef long row, t, rows = stage.rows
        cdef real *y = self.y_of(lane)
        cdef real *h_hat = self.h_hat_of(lane)
        cdef real *w = self.w[l] + lane * rows * stage.m
        cdef double square = 0
        for row in range(team_first(crew, rows), team_last(crew, rows)):
            for t in range(terms):
                square = axpby_norm2(stage.m, <real>(scaled * y[t * self.rows + row]), h_hat + t * self.m,
                                     carried if t == 0 else 1, w + row * stage.m)
            self.squares[l][lane * rows + row] = square

    cdef void credit(self, Team team, const real *delta, real *gradient) noexcept nogil:
        """gradient += sum over lanes of (delta_b v_b) w_b."""
        cdef const Stage *stage
        cdef long lane, row
        cdef real alpha
        cdef int l
        for l in range(self.depth):
            stage = &self.stages[l]
            for lane in range(self.lanes):
                alpha = <real>dot(self.kn, delta + lane * self.kn, self.v[l] + lane * self.kn)
                for row in range(team_first(team, stage.rows), team_last(team, stage.rows)):
                    axpy(stage.m, alpha, self.w[l] + (lane * stage.rows + row) * stage.m, gradient + stage.offset + row * stage.ldw)

    cdef void clear_block(self, int l, long lane) noexcept nogil:
        cdef const Stage *stage = &self.stages[l]
        memset(self.v[l] + lane * self.kn, 0, self.kn * sizeof(real))
        memset(self.w[l] + lane * stage.rows * stage.m, 0, stage.rows * stage.m * sizeof(real))
        memset(self.squares[l] + lane * stage.rows, 0, stage.rows * sizeof(double))

    cdef void drop(self, int l, long lane) noexcept nogil:
        """Forget what one block carries, H v included."""
        self.clear_block(l, lane)
        memset(self.pushed + lane * self.kn, 0, self.kn * sizeof(real))

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.depth):
            self.clear_block(l, lane)
