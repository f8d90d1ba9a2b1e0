# Floor 5: what is done with finished gradients: mean over lanes, mask, comparison with shadows, update.

cdef enum:
    NEAR = 1 << 16                   # bytes of a gradient that is not far when it has been read

cdef double SAFE = 1e15 if RTRL_WIDTH == 32 else 1e140   # gradients whose squares are far from the end of the range
cdef double ROOM = 1e30 if RTRL_WIDTH == 32 else 1e290   # numbers that such gradients cannot bring to the end of the range


cdef class Gradients(Player):
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

    cdef void update(self, Team team, double rate, real factor, bint clear) noexcept nogil:
        """One step of the optimizer along factor * gradient; then all gradients are cleared.

        It is skipped, and nothing has changed, when the gradient is not finite, or when a weight or a number of the optimizer
        would not be.  That is looked at only where a number is large enough to make it possible.

        A chunk is finished, used and cleared while it is in the first cache, unless the optimizer needs the gradient as a whole.
        The second pass goes backwards where the last chunks of the first are still in the first cache, and the next step begins
        with the first weights; from further away memory comes faster in its own order.
        """
        cdef long chunks = self.parameters // CHUNK, c, first = team_first(team, chunks), last = team_last(team, chunks), task
        cdef bint near = self.parameters * <long>sizeof(real) <= NEAR
        cdef real *gradient = self.estimator.gradient
        cdef bint whole = self.optimizer.whole, fine, careful
        cdef double norm, clip, reach = 0
        if team.rank == 0:
            self.optimizer.lr = rate     # not next to the norm: one store of both would let the step wait for the norm
        for c in range(team_first(team, chunks), team_last(team, chunks)):
            self.partial[3 * c] = scaled_norm2(CHUNK, factor, gradient + c * CHUNK, self.mask_of(c))
        team_barrier(team)
        norm = sqrt(sum_of(chunks, self.partial, 3))
        fine = isfinite(norm)
        clip = self.optimizer.clip(norm)
        careful = self.optimizer.wary or norm * clip * max(1, rate) > SAFE
        if team.rank == 0:
            self.counters[UPDATES if fine else SKIPPED] += 1
            self.optimizer.norm, self.optimizer.usual = norm, self.optimizer.usual_norm()
            self.optimizer.begin()
        team_barrier(team)
        if fine and (whole or careful):
            for c in range(team_first(team, chunks), team_last(team, chunks)):
                finish_gradient(gradient + c * CHUNK, self.mask_of(c), factor)
                if careful:
                    self.partial[3 * c] = self.optimizer.reach(self.weights, gradient, c * CHUNK, (c + 1) * CHUNK, <real>clip)
            team_barrier(team)
            if careful:
                for c in range(chunks):
                    reach = max(reach, self.partial[3 * c])
                fine = isfinite(reach)
        if fine and whole:
            self.optimizer.prepare(team, gradient, clip)
            fine = not self.optimizer.refused
        if team.rank == 0 and isfinite(norm):
            if careful:
                self.optimizer.wary = reach > ROOM
            if fine:
                self.optimizer.remember(norm)
            else:
                self.counters[UPDATES] -= 1
                self.counters[SKIPPED] += 1
        for task in range(last - first):
            c = last - 1 - task if near else first + task
            if fine:
                if not (whole or careful):
                    finish_gradient(gradient + c * CHUNK, self.mask_of(c), factor)
                self.optimizer.update(self.weights, gradient, c * CHUNK, (c + 1) * CHUNK, <real>clip)
            if clear:
                self.forget(self.estimator, c, False)
        if clear and team.rank == 0:
            mark_all(self.estimator, True)
        team_barrier(team)

    cdef inline const real *mask_of(self, long chunk) noexcept nogil:
        if self.mask is NULL:
            return NULL
        return self.mask + chunk * CHUNK

    cdef void forget(self, Estimator estimator, long chunk, bint wipe) noexcept nogil:
        """Clear one chunk of all gradients, or, without `wipe`, of those that the next step does not overwrite; shadows keep
        a copy for whoever asks."""
        if estimator.kept is not NULL:
            memcpy(estimator.kept + chunk * CHUNK, estimator.gradient + chunk * CHUNK, CHUNK * sizeof(real))
        if wipe or not overwrites(estimator):
            memset(estimator.gradient + chunk * CHUNK, 0, self.chunk_bytes)
        if estimator.next is not None:
            self.forget(estimator.next, chunk, wipe)

    cdef void wipe(self, Team team, Estimator estimator) noexcept nogil:
        """Clear the gradients that no step overwrote."""
        cdef long chunks = self.parameters // CHUNK, c
        if estimator.blank:
            for c in range(team_first(team, chunks), team_last(team, chunks)):
                memset(estimator.gradient + c * CHUNK, 0, self.chunk_bytes)
            team_barrier(team)
            if team.rank == 0:
                estimator.blank = False
        if estimator.next is not None:
            self.wipe(team, estimator.next)
