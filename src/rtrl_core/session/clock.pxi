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

cdef class Clock(Gradients):
    cdef void play(self, Team team, const Job *job) noexcept nogil:
        cdef real factor = <real>(1.0 / self.net.lanes)
        cdef long t
        if job.work == RUN:
            for t in range(job.steps):
                self.turn_weights(team, job, t)
                self.step(team, job, t)
                if self.net.failure is not None:    # set between barriers: all threads see the same
                    break
            self.forget_turned(team)
            self.wipe(team, self.estimator)
        elif job.work == EVALUATE:
            for t in range(job.steps):
                self.turn_weights(team, job, t)
                self.trial(team, job, t)
            self.forget_turned(team)
        elif job.work == ADVANCE:
            self.open_step(team, job, 0)
        elif job.work == FEEDBACK:
            self.accept(team, job.delta)
            self.credit_delta(team)
        elif job.work == CREDIT:
            self.credit_delta(team)
        elif job.work == GRADIENT:
            settle_all(self.estimator, team)
            team_barrier(team)
            if self.net.failure is not None:    # it will be raised, and the caller can ask again
                return
            self.finish(team, self.estimator, factor)
            if self.estimator.next is not None:
                self.compare(team, self.estimator.next, job, 0, 0)
        elif job.work == CLOSE:
            self.close_step(team)
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
            self.net.error = self.error
            self.net.closing = self.estimator.next is None and (self.optimizer is None or not self.optimizer.absorbs)
        self.credit_delta(team)
        self.credit_readout(team, self.error)
        if self.optimizer is not None and self.optimizer.absorbs:
            self.absorb_factors(team, job, t)
        due = (self.counters[CLOCK] + 1) % self.update_every == 0 and self.optimizer is not None
        team_barrier(team)
        if team.rank == 0:
            self.net.error, self.net.closing = NULL, False
            mark_all(self.estimator, False)
        if due:
            settle_all(self.estimator, team)
            if self.estimator.next is not None:
                self.finish(team, self.estimator, factor)
                factor = 1
                self.compare(team, self.estimator.next, job, t, 0)
        self.close_step(team)
        if due:
            self.update(team, job.rates[0 if job.steady else t], factor, True)

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

    cdef void credit_readout(self, Team team, const real *error) noexcept nogil:
        cdef long n = self.net.n, first = team_first(team, self.outputs), last = team_last(team, self.outputs), b, v
        cdef real *gradient = self.estimator.gradient + self.readout_offset
        cdef real *row
        if self.estimator.blank:
            row = row_of(self.net, team)
            memcpy(row, self.live.s, n * sizeof(real))
            memset(row + n, 0, (self.ldv - n) * sizeof(real))
            row[n] = 1
            outers_anew(last - first, self.ldv, 1, error + first, self.outputs, row, self.ldv, gradient + first * self.ldv, self.ldv)
            return
        outers(last - first, n, self.net.lanes, error + first, self.outputs, self.live.s, self.net.k * n,
               gradient + first * self.ldv, self.ldv)
        for b in range(self.net.lanes):
            for v in range(first, last):
                gradient[v * self.ldv + n] += error[b * self.outputs + v]

    cdef void absorb_factors(self, Team team, const Job *job, long t) noexcept nogil:
        """Credit every factor of the outputs' Fisher information like an error, one lane at a time, to the optimizer
        alone: F = 1/B sum over lanes and factors of g g'.  Costs lanes * outputs credits."""
        cdef real *gradient = self.estimator.gradient
        cdef long kn = self.net.k * self.net.n, lanes = self.net.lanes, chunks = self.parameters // CHUNK, b, v, c
        team_barrier(team)
        if team.rank == 0:
            self.estimator.probing, self.estimator.gradient, self.net.error = True, self.probe, self.factor
            memset(self.delta, 0, lanes * kn * sizeof(real))
        for b in range(lanes):
            for v in range(self.outputs if isfinite(self.loss[b]) else 0):
                team_barrier(team)
                for c in range(team_first(team, chunks), team_last(team, chunks)):
                    memset(self.probe + c * CHUNK, 0, self.chunk_bytes)
                if team.rank == 0:
                    self.aim(job, t, b, v)
                team_barrier(team)
                self.credit_delta(team)
                self.credit_readout(team, self.factor)
                team_barrier(team)
                for c in range(team_first(team, chunks), team_last(team, chunks)):
                    finish_gradient(self.probe + c * CHUNK, self.mask_of(c), 1)
                team_barrier(team)
                self.optimizer.absorb(team, self.probe, 1.0 / lanes)
            team_barrier(team)
            if team.rank == 0:
                memset(self.factor + b * self.outputs, 0, self.outputs * sizeof(real))
                memset(self.delta + b * kn, 0, kn * sizeof(real))
        team_barrier(team)
        if team.rank == 0:
            self.estimator.probing, self.estimator.gradient, self.net.error = False, gradient, NULL
        team_barrier(team)

    cdef void aim(self, const Job *job, long t, long b, long v) noexcept nogil:
        """Factor v of one lane, and the delta that it causes."""
        cdef long n = self.net.n, label = t * self.net.lanes + b
        cdef real *out = self.factor + b * self.outputs
        cdef real *delta = self.delta + b * self.net.k * n
        self.readout.factor(v, self.error + b * self.outputs, job.labels[label] if job.labels is not NULL else -1,
                            job.targets + label * self.outputs if job.targets is not NULL else NULL, out)
        memset(delta, 0, n * sizeof(real))
        pulls(self.outputs, n, 1, self.weights + self.readout_offset, self.ldv, out, self.outputs, delta, n)

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
