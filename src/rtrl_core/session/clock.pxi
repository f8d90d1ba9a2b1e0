# Floor 5: the clock.  The order of one time step is decided here and nowhere else:
#
#     open       resets, input, cell.forward, then estimators that are not fresh observe
#     score      readout: loss, and delta = d loss / d h
#     credit     delta pulled through the record, estimator.credit
#     gradient   mean over lanes, mask, norm
#     close      fresh estimators observe, with the weights of the forward pass
#     update     optimizer
#
# Everything is called by all threads of a team; a barrier separates a phase that writes from the next
# that reads.  Each sum has one owner and a fixed order, so results do not depend on the thread count.

cdef class Clock(Player):
    cdef void play(self, Team team, const Job *job) noexcept nogil:
        cdef real factor = <real>(1.0 / self.net.lanes)
        cdef long t
        if job.work == RUN:
            for t in range(job.steps):
                self.step(team, job, t)
        elif job.work == EVALUATE:
            for t in range(job.steps):
                self.trial(team, job, t)
        elif job.work == ADVANCE:
            self.open_step(team, job, 0)
        elif job.work == FEEDBACK:
            self.accept(team, job.delta)
            self.credit_delta(team)
        elif job.work == GRADIENT:
            settle_all(self.estimator, team)
            self.finish(team, self.estimator, factor)
            if self.estimator.next is not None:
                self.compare(team, self.estimator.next, job, 0, 0)
        elif job.work == APPLY:
            self.close_step(team)
            self.update(team, job.rates[0], 1, False)

    cdef void step(self, Team team, const Job *job, long t) noexcept nogil:
        cdef real factor = <real>(1.0 / self.net.lanes)
        cdef bint due
        self.open_step(team, job, t)
        self.score(team, &self.live, job, t)
        team_barrier(team)
        if team.rank == 0:
            self.report(&self.live, job, t)
        self.credit_delta(team)
        self.credit_readout(team)
        due = (self.counters[CLOCK] + 1) % self.update_every == 0 and self.optimizer is not None
        team_barrier(team)
        if due:
            settle_all(self.estimator, team)
            if self.estimator.next is not None:
                self.finish(team, self.estimator, factor)
                factor = 1
                self.compare(team, self.estimator.next, job, t, 0)
        self.close_step(team)
        if due:
            self.update(team, job.rates[t], factor, True)

    cdef void open_step(self, Team team, const Job *job, long t) noexcept nogil:
        cdef long b, lanes = self.net.lanes
        self.close_step(team)
        if team.rank == 0:
            self.counters[CLOCK] += 1
            self.counters[OPEN] = 1
        for b in range(team_first(team, lanes), team_last(team, lanes)):
            if job.resets is not NULL and job.resets[t * lanes + b]:
                self.clear(b)
        self.load(team, &self.live, job, t)
        team_barrier(team)
        self.forward(team, &self.live)
        team_barrier(team)
        if team.rank == 0:
            for b in range(lanes):
                self.counters[BAD_STATE] += self.live.bad[b]
        observe_all(self.estimator, team, False)
        team_barrier(team)

    cdef void accept(self, Team team, const real *delta) noexcept nogil:
        """Credit from outside, [lanes, n], into delta [lanes, kn]."""
        cdef long n = self.net.n, kn = self.net.k * n, b
        for b in range(team_first(team, self.net.lanes), team_last(team, self.net.lanes)):
            memset(self.delta + b * kn, 0, kn * sizeof(real))
            if not self.live.bad[b]:
                memcpy(self.delta + b * kn, delta + b * n, n * sizeof(real))
        team_barrier(team)

    cdef void credit_delta(self, Team team) noexcept nogil:
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long n = self.net.n, kn = self.net.k * n, b, rows, above = 0
        cdef bint opened = self.counters[OPEN], onward = any_carries(self.estimator)
        cdef int l
        if any_reads_record(self.estimator, opened):
            if share.team.rank == 0:
                memcpy(self.pulled + share.first * kn, self.delta + share.first * kn, (share.last - share.first) * kn * sizeof(real))
            for l in range(self.net.depth):
                above += self.net.lanes * self.net.stages[l].rows
            for l in range(self.net.depth - 1, -1, -1):
                rows = self.net.stages[l].rows
                above -= self.net.lanes * rows
                self.pull_lanes(share, l, self.y + above, onward or l > 0)
        team_barrier(team)
        credit_all(self.estimator, team, opened, self.y, self.delta, self.pulled)

    cdef void pull_lanes(self, Share share, int l, real *y, bint onward) noexcept nogil:
        """pulled <- pulled H_l, and y_l for the immediate gradient."""
        cdef Stage *stage = &self.net.stages[l]
        cdef long kn = stage.k * stage.n, b, first = share.first, lanes = share.last - share.first
        if share.team.rank == 0:
            for b in range(first, share.last):
                seed_pull(stage, &self.net.records[l], b, self.pulled + b * kn, y + b * stage.rows, self.room + b * kn)
                memcpy(self.pulled + b * kn, self.room + b * kn, kn * sizeof(real))
        team_barrier(share.team)
        if onward:
            finish_pull(stage, lanes, y + first * stage.rows, self.pulled + first * kn,
                        unit_first(share.team, stage.n), unit_last(share.team, stage.n))
        team_barrier(share.team)

    cdef void credit_readout(self, Team team) noexcept nogil:
        cdef long n = self.net.n, first = team_first(team, self.outputs), last = team_last(team, self.outputs), b, v
        cdef real *gradient = self.estimator.gradient + self.readout_offset
        outers(last - first, n, self.net.lanes, self.error + first, self.outputs, self.live.s, self.net.k * n,
               gradient + first * self.ldv, self.ldv)
        for b in range(self.net.lanes):
            for v in range(first, last):
                gradient[v * self.ldv + n] += self.error[b * self.outputs + v]

    cdef void finish(self, Team team, Estimator estimator, real factor) noexcept nogil:
        """Finish the gradients of the chain in place, for those who look at them."""
        cdef long chunks = self.parameters // CHUNK, c
        team_barrier(team)
        for c in range(team_first(team, chunks), team_last(team, chunks)):
            finish_gradient(estimator.gradient + c * CHUNK, self.mask_of(c), factor)
        team_barrier(team)
        if estimator.next is not None:
            self.finish(team, estimator.next, factor)

    cdef void compare(self, Team team, Estimator shadow, const Job *job, long t, int index) noexcept nogil:
        """Cosine and relative error of the cell's gradient against that of each shadow."""
        cdef long chunks = self.parameters // CHUNK, c, first, count
        cdef double own, its, both
        for c in range(team_first(team, chunks), team_last(team, chunks)):
            first = c * CHUNK
            count = max(0, min(CHUNK, self.readout_offset - first))
            self.partial[3 * c + 1] = norm2(count, shadow.gradient + first)
            self.partial[3 * c + 2] = dot(count, shadow.gradient + first, self.estimator.gradient + first)
        team_barrier(team)
        if team.rank == 0:
            own = 0
            for c in range(chunks):
                first = c * CHUNK
                own += norm2(max(0, min(CHUNK, self.readout_offset - first)), self.estimator.gradient + first)
            its = sum_of(chunks, self.partial + 1, 3)
            both = sum_of(chunks, self.partial + 2, 3)
            if job.similarity is not NULL:
                job.similarity[2 * (t * len_of(self.estimator.next) + index)] = both / sqrt(own * its) if own > 0 and its > 0 else NAN
                job.similarity[2 * (t * len_of(self.estimator.next) + index) + 1] = (
                    sqrt(max(0, own - 2 * both + its) / its) if its > 0 else NAN)
        team_barrier(team)
        if shadow.next is not None:
            self.compare(team, shadow.next, job, t, index + 1)

    cdef void close_step(self, Team team) noexcept nogil:
        """The current step is over: fresh estimators take it into their influence."""
        cdef bint opened = self.counters[OPEN]
        team_barrier(team)
        if opened:
            observe_all(self.estimator, team, True)
            team_barrier(team)
            if team.rank == 0:
                self.counters[OPEN] = 0
            team_barrier(team)

    cdef void update(self, Team team, double rate, real factor, bint clear) noexcept nogil:
        """One step of the optimizer along factor * gradient, skipped when that is not finite; then all gradients are cleared.

        A chunk is finished, used and cleared while it is in the first cache.
        """
        cdef long chunks = self.parameters // CHUNK, c
        cdef real *gradient = self.estimator.gradient
        cdef double norm, clip
        for c in range(team_first(team, chunks), team_last(team, chunks)):
            self.partial[3 * c] = scaled_norm2(CHUNK, factor, gradient + c * CHUNK, self.mask_of(c))
        team_barrier(team)
        norm = sqrt(sum_of(chunks, self.partial, 3))
        clip = self.optimizer.clip_norm / norm if norm > self.optimizer.clip_norm else 1
        if team.rank == 0:
            self.counters[UPDATES if isfinite(norm) else SKIPPED] += 1
            self.optimizer.lr = rate
            self.optimizer.begin()
        team_barrier(team)
        for c in range(team_first(team, chunks), team_last(team, chunks)):
            if isfinite(norm):
                finish_gradient(gradient + c * CHUNK, self.mask_of(c), factor)
                self.optimizer.update(self.weights, gradient, c * CHUNK, (c + 1) * CHUNK, <real>clip)
            if clear:
                self.forget(self.estimator, c)
        team_barrier(team)

    cdef inline const real *mask_of(self, long chunk) noexcept nogil:
        if self.mask is NULL:
            return NULL
        return self.mask + chunk * CHUNK

    cdef void forget(self, Estimator estimator, long chunk) noexcept nogil:
        """Clear one chunk of all gradients; shadows keep a copy for whoever asks."""
        if estimator.kept is not NULL:
            memcpy(estimator.kept + chunk * CHUNK, estimator.gradient + chunk * CHUNK, CHUNK * sizeof(real))
        memset(estimator.gradient + chunk * CHUNK, 0, self.chunk_bytes)
        if estimator.next is not None:
            self.forget(estimator.next, chunk)
