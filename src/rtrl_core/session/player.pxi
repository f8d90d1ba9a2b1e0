# Floor 5: input, forward pass and score of a stream of lanes.
#
# A session has two streams: the live one, whose records estimators read, and a trial one, on which
# evaluate and predict run from a copy of the live state.

cdef struct Stream:
    Record *records                  # [depth]
    real *s                          # [lanes, kn]
    int32_t *bad                     # [lanes] the state was not finite in this step
    bint learns


cdef class Player:
    cdef Arena arena                 # everything but dense inputs
    cdef Arena dense                 # dense inputs, from the first one on
    cdef Context net
    cdef Cell cell
    cdef Readout readout
    cdef Optimizer optimizer
    cdef Estimator estimator
    cdef list shadows                # [(Estimator, Arena)]
    cdef long parameters             # length of the flat arrays, padding included
    cdef size_t chunk_bytes          # of CHUNK parameters; a constant would make memset slow (rep stos)
    cdef long update_every
    cdef long outputs, ldv, readout_offset
    cdef real *weights               # flat
    cdef const real *mask            # flat, or NULL
    cdef real *turned                # [depth, turned_size] W^T of every stage, or NULL
    cdef real *z                     # [lanes, rows]
    cdef real *delta                 # [lanes, kn]
    cdef real *pulled                # [lanes, kn]
    cdef real *y                     # per stage [lanes, rows]
    cdef real *error                 # [lanes, outputs]
    cdef double *loss                # [lanes]
    cdef double *partial             # [chunks, 3]
    cdef real *factor                # [lanes, outputs], all 0 but one lane; only for optimizers that absorb
    cdef real *probe                 # flat, the gradient that a factor causes
    cdef int64_t *counters
    cdef real *room                  # [lanes, kn]
    cdef Stream live
    cdef Stream trial_stream         # of evaluate and predict, which must not touch the session

    cdef void load(self, Team team, Stream *stream, const Job *job, long t) noexcept nogil:
        """The input of step t into the record of the first stage."""
        cdef long b, lanes = self.net.lanes, inputs = self.net.stages[0].inputs
        for b in range(team_first(team, lanes), team_last(team, lanes)):
            if job.ids is not NULL:
                stream.records[0].ids[b] = job.ids[t * lanes + b]
            else:
                stream.records[0].ids[b] = -1
                memcpy(stream.records[0].x + b * inputs, job.x + (t * lanes + b) * inputs, inputs * sizeof(real))

    cdef void turn_weights(self, Team team, const Job *job, long t) noexcept nogil:
        """Before step t: transpose W for the steps through which it stays as it is, if those are enough to pay."""
        cdef long steps = job.steps - t, passed = 0, size, l
        cdef Stage *stage
        if job.work == RUN:
            passed = (self.counters[CLOCK] + 1) % self.update_every
            steps = min(steps, self.update_every - passed)
        if self.turned is NULL or (t > 0 and (passed > 0 or job.work != RUN)):
            return
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            size = turned_size(stage.rows, self.net.stages[0].m)
            if steps >= TURN_FROM:
                turn(unit_first(team, stage.rows), unit_last(team, stage.rows), stage.m, stage.W, stage.ldw, self.turned + l * size)
            team_barrier(team)
            if team.rank == 0:
                stage.turned = self.turned + l * size if steps >= TURN_FROM else NULL
        team_barrier(team)

    cdef void forget_turned(self, Team team) noexcept nogil:
        """Whoever may change W from now on need not think of it."""
        cdef int l
        team_barrier(team)
        for l in range(self.net.depth if team.rank == 0 else 0):
            self.net.stages[l].turned = NULL

    cdef void clear(self, long lane) noexcept nogil:
        cdef long kn = self.net.k * self.net.n
        memset(self.live.s + lane * kn, 0, kn * sizeof(real))
        self.void_record(lane)
        clear_all(self.estimator, lane)

    cdef void forward(self, Team team, Stream *stream) noexcept nogil:
        cdef Share share = share_sums(team, self.net.lanes)
        cdef long n = self.net.n, k = self.net.k, kn = k * n, b, rows
        cdef long first = unit_first(share.team, n), last = unit_last(share.team, n)
        cdef Record *records = stream.records
        cdef real *s = stream.s
        cdef int l
        for l in range(self.net.depth):
            rows = self.net.stages[l].rows
            for b in range(share.first, share.last):
                memcpy(records[l].h + b * n + first, s + b * kn + first, (last - first) * sizeof(real))
            team_barrier(share.team)
            feed(&self.net.stages[l], &records[l], share.first, share.last - share.first, first, last, self.z + share.first * rows)
            for b in range(share.first, share.last):
                self.cell.forward(l, self.z + b * rows, s + b * kn, records[l].D + b * k * rows, records[l].E + b * k * kn, first, last)
            team_barrier(share.team)
        share = share_lanes(team, self.net.lanes)
        if share.team.rank == 0:
            for b in range(share.first, share.last):
                stream.bad[b] = not all_finite(kn, s + b * kn)
                if stream.bad[b] and stream.learns:
                    self.drop(b)

    cdef void drop(self, long lane) noexcept nogil:
        """A lane whose state is not finite starts afresh, and its step counts for nothing."""
        cdef int l
        cdef long inputs = self.net.stages[0].inputs
        self.clear(lane)
        for l in range(self.net.depth):      # what entered the later stages is not finite either
            memset(self.net.records[l].h + lane * self.net.n, 0, self.net.n * sizeof(real))
        if self.net.records[0].x is not NULL:  # and numbers that overflowed once would do so in a norm
            memset(self.net.records[0].x + lane * inputs, 0, inputs * sizeof(real))

    cdef void void_record(self, long lane) noexcept nogil:
        """The current record of a lane says nothing any more: H = 0 and F = 0."""
        cdef Stage *stage
        cdef int l
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            memset(self.net.records[l].D + lane * stage.k * stage.rows, 0, stage.k * stage.rows * sizeof(real))
            memset(self.net.records[l].E + lane * stage.k * stage.k * stage.n, 0, stage.k * stage.k * stage.n * sizeof(real))

    cdef void score(self, Team team, const Stream *stream, const Job *job, long t) noexcept nogil:
        """Outputs of every lane; with targets also loss, error and delta."""
        cdef Share share = share_lanes(team, self.net.lanes)
        cdef long n = self.net.n, kn = self.net.k * n, b, lanes = self.net.lanes
        cdef const real *V = self.weights + self.readout_offset
        cdef real *error
        cdef bint fine
        self.read_out(team, stream.s, V)
        if share.team.rank != 0:
            return
        for b in range(share.first, share.last):
            error = self.error + b * self.outputs
            if job.outputs is not NULL:
                self.readout.respond(error)
                memcpy(job.outputs + (t * lanes + b) * self.outputs, error, self.outputs * sizeof(real))
                continue
            memset(self.delta + b * kn, 0, kn * sizeof(real))
            fine = all_finite(self.outputs, error) and not stream.bad[b]
            if not fine:
                memset(error, 0, self.outputs * sizeof(real))
            self.loss[b] = self.readout.score(error, job.labels[t * lanes + b] if job.labels is not NULL else -1,
                                              job.targets + (t * lanes + b) * self.outputs if job.targets is not NULL else NULL)
            if stream.bad[b] and stream.learns:      # the lane was reset and counted: this step has no loss
                self.loss[b] = NAN
            elif not fine and self.loss[b] == self.loss[b]:
                self.loss[b] = INFINITY
            if not isfinite(self.loss[b]):
                memset(error, 0, self.outputs * sizeof(real))
        pulls(self.outputs, n, share.last - share.first, V, self.ldv, self.error + share.first * self.outputs, self.outputs,
              self.delta + share.first * kn, kn)

    cdef void read_out(self, Team team, const real *s, const real *V) noexcept nogil:
        """error[b, v] = V [h_b ; 1] for those lanes that share_lanes gives to this thread."""
        cdef Share share = share_sums(team, self.net.lanes)
        cdef long n = self.net.n, kn = self.net.k * n, first = 0, last = self.outputs, b, v
        if self.net.lanes >= LANES_BLOCK_FROM:
            first, last = unit_first(team, last), unit_last(team, last)
        elif share.team.rank != 0:
            return
        for b in range(share.first, share.last):
            for v in range(first, last):
                self.error[b * self.outputs + v] = V[v * self.ldv + n]
        dots(last - first, n, share.last - share.first, V + first * self.ldv, self.ldv, s + share.first * kn, kn,
             self.error + share.first * self.outputs + first, self.outputs)
        if self.net.lanes >= LANES_BLOCK_FROM:
            team_barrier(team)

    cdef void report(self, const Stream *stream, const Job *job, long t) noexcept nogil:
        """Mean loss of a step over the lanes that have a target, NaN when none has; counts of what went wrong."""
        cdef double total = 0, scored = 0
        cdef long b
        for b in range(self.net.lanes):
            if stream.learns:
                self.counters[BAD_LOSS] += self.loss[b] == INFINITY
            if self.loss[b] == self.loss[b]:
                total += self.loss[b]
                scored += 1
        job.losses[t] = total / scored if scored else NAN
        if job.scored is not NULL:
            job.scored[t] = scored

    cdef void trial(self, Team team, const Job *job, long t) noexcept nogil:
        """One step of evaluate or predict on a copy of the state."""
        cdef long b, lanes = self.net.lanes, kn = self.net.k * self.net.n
        for b in range(team_first(team, lanes), team_last(team, lanes)):
            if t == 0 and job.begin:
                memcpy(self.trial_stream.s + b * kn, self.live.s + b * kn, kn * sizeof(real))
            if job.resets is not NULL and job.resets[t * lanes + b]:
                memset(self.trial_stream.s + b * kn, 0, kn * sizeof(real))
        self.load(team, &self.trial_stream, job, t)
        team_barrier(team)
        self.forward(team, &self.trial_stream)
        team_barrier(team)
        self.score(team, &self.trial_stream, job, t)
        team_barrier(team)
        if team.rank == 0 and job.outputs is NULL:
            self.report(&self.trial_stream, job, t)
        team_barrier(team)
