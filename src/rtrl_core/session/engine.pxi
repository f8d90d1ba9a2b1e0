# Floor 5: the session as Python sees it.  All arguments were checked by the caller (rtrl.session).

from time import perf_counter
from numpy import frombuffer, zeros

OPENMP = bool(RTRL_OPENMP)
PARAMETER_CHUNK = CHUNK              # the flat array of parameters is a whole number of these


def registry(kind):
    """Classes of floor 4 by name; kind is "cells", "estimators", "readouts" or "optimizers"."""
    base = {"cells": Cell, "estimators": Estimator, "readouts": Readout, "optimizers": Optimizer}[kind]
    return {each.__name__: each for each in base.__subclasses__() if each.options is not None}


def random_signs(seed, step, lane, stage, Py_ssize_t count, int8_t[::1] out):
    """Fill out[count] with the signs that the engine uses."""
    cdef uint64_t key = signs_key(seed, step, lane, stage)
    cdef Py_ssize_t i, j
    cdef uint64_t word
    for i in range(0, count, 64):
        word = signs_word(key, i // 64)
        for j in range(i, min(i + 64, count)):
            out[j] = 1 if (word >> (j - i)) & 1 else -1


def function_values(str name, const real[::1] x, real[::1] out):
    """out = exp, tanh, sigmoid or reciprocal of x, as the engine computes it."""
    cdef long i
    if name == "exp":
        exps(x.shape[0], &x[0], &out[0])
    elif name == "tanh":
        tanhs(x.shape[0], &x[0], &out[0])
    elif name == "sigmoid":
        sigmoids(x.shape[0], &x[0], &out[0])
    elif name == "reciprocal":
        for i in range(x.shape[0]):
            out[i] = reciprocal(x[i])
    else:
        raise ValueError(f"unknown function {name!r}")


cdef real *scratch(Arena arena, double count) except? NULL:
    """Room for `count` numbers, owned by an arena that has nothing else."""
    arena.reals("scratch", "workspace", count)
    arena.allocate()
    return arena.reals("scratch", "workspace", count)


def panel_values(const real[:, ::1] left, const real[:, ::1] panel, real[:, ::1] out, bint accumulate):
    """out [rows, PANEL] (+)= left [rows, inner] times panel [inner, PANEL], as the engine computes it.  Returns whether it used
    a matrix unit."""
    cdef long rows = left.shape[0], inner = left.shape[1], reals = tiles_reals(rows, inner)
    cdef Arena arena = Arena()
    cdef real *tiles = scratch(arena, reals)
    cdef const real *factor = &left[0, 0]
    cdef uint64_t mode = work_begins()
    if reals > 0:
        tiles_fill(rows, inner, 0, rows, factor, inner, tiles)
        factor = tiles
    panel_product(rows, inner, factor, &panel[0, 0], &out[0, 0], accumulate, 0)
    work_ends(mode)
    return reals > 0


def outers_values(const real[:, ::1] y, const real[:, ::1] x, real[:, ::1] out):
    """out [rows, cols] += y [pairs, rows]' x [pairs, cols] on a matrix unit.  Returns whether there is one that it is of use to."""
    cdef long pairs = y.shape[0], rows = y.shape[1], cols = x.shape[1]
    cdef bint used = tiled_reals(pairs, cols) > 0
    cdef Arena arena = Arena()
    cdef real *tiles = scratch(arena, tiled_room(pairs, cols))
    cdef uint64_t mode = work_begins()
    if used:
        tiled_columns(pairs, 0, cols, &x[0, 0], cols, tiles)
        tiled_outers(rows, cols, pairs, &y[0, 0], rows, tiles, &out[0, 0], out.shape[1])
    work_ends(mode)
    return used


def pulls_values(const real[:, ::1] weights, const real[:, ::1] y, real[:, ::1] out, long first, long last):
    """Columns [first, last) of out [lanes, cols] += y [lanes, rows] weights [rows, cols] in the same way."""
    cdef long rows = weights.shape[0], cols = weights.shape[1]
    cdef bint used = tiled_reals(rows, cols) > 0
    cdef Arena arena = Arena()
    cdef real *tiles = scratch(arena, tiled_room(rows, cols))
    cdef uint64_t mode = work_begins()
    if used:
        tiled_weights(rows, 0, cols, &weights[0, 0], cols, tiles)
        tiled_pulls(rows, first, last, y.shape[0], tiles, &y[0, 0], rows, &out[0, 0], cols)
    work_ends(mode)
    return used


cdef class Engine(Usual):
    """The calls that Python makes.  Each changes a session wholly or not at all, whatever signal handlers do: Python runs them
    between its own instructions, here only where `Lock` says so."""
    cdef bint trying                 # evaluate or predict_run is at work

    def run(self, bint learn, long steps, parts, double[::1] losses, double[::1] scored, double[:, :, ::1] similarity,
            real[:, :, ::1] outputs):
        """Learn from (or, without `learn`, score or predict on) some steps.

        `parts` gives their arguments, one tuple (ids, x, labels, targets, resets) after the other.  A signal handler that
        raises ends the call after a whole step.  Returns the steps of the session before.
        """
        cdef const int32_t[:, ::1] ids, labels
        cdef const real[:, :, ::1] x, targets
        cdef const int8_t[:, ::1] resets
        cdef double[::1] rates
        cdef long before, done = 0, size = 1
        cdef bint trying = self.trying, within = self.lock.take(not learn)
        cdef bytes trial = None
        cdef Job job
        try:
            before = self.counters[CLOCK] + 1
            memset(&job, 0, sizeof(Job))
            job.work, job.begin, job.rates, job.steady = RUN if learn else EVALUATE, True, &self.rate, True
            job.losses = NULL if losses is None else &losses[0]
            job.scored = NULL if scored is None else &scored[0]
            job.similarity = NULL if similarity is None else &similarity[0, 0, 0]
            job.outputs = NULL if outputs is None else &outputs[0, 0, 0]
            if learn and self.schedule is not None:
                rates = self.rates_of(steps)
                job.rates, job.steady = &rates[0], False
            if trying:                   # a handler looks ahead while its session does
                trial = (<char *>self.trial_stream.s)[:self.trial_size()]
            self.trying = not learn
            parts = iter(parts)
            while done < steps:
                self.lock.whole = True
                ids, x, labels, targets, resets = next(parts)
                self.lock.whole = False
                if x is not None:
                    self.need_dense()
                job.steps = x.shape[0] if ids is None else ids.shape[0]
                job.ids, job.x, job.labels, job.targets, job.resets = NULL, NULL, NULL, NULL, NULL
                if ids is not None:
                    job.ids = &ids[0, 0]
                if x is not None:
                    job.x = &x[0, 0, 0]
                if labels is not None:
                    job.labels = &labels[0, 0]
                if targets is not None:
                    job.targets = &targets[0, 0, 0]
                if resets is not None:
                    job.resets = &resets[0, 0]
                done += job.steps
                size = self.play_in_pieces(&job, size)
        finally:
            if trial is not None:
                memcpy(self.trial_stream.s, <char *>trial, self.trial_size())
            self.trying = trying
            self.lock.release(within)
        return before

    cdef long play_in_pieces(self, Job *job, long size) except -1:
        """Play a job, `size` steps and then about a tenth of a second at a time, and let signal handlers run in between.  Returns
        the size to go on with."""
        cdef Job piece
        cdef double seconds
        while job.steps > 0:
            piece = job[0]
            piece.steps = min(size, job.steps)
            seconds = perf_counter()
            self.launch(&piece)
            seconds = max(1e-9, perf_counter() - seconds)
            size = max(1, min(PIECE_GROWTH * size, <long>(piece.steps / (PIECES_PER_SECOND * seconds))))
            self.skip(job, piece.steps)
            self.lock.listen()
        return size

    cdef void skip(self, Job *job, long steps) noexcept:
        """Leave the first steps of a job behind."""
        cdef long lanes = steps * self.net.lanes
        job.steps -= steps
        job.begin = False
        if job.ids is not NULL:
            job.ids += lanes
        if job.x is not NULL:
            job.x += lanes * self.net.stages[0].inputs
        if job.labels is not NULL:
            job.labels += lanes
        if job.targets is not NULL:
            job.targets += lanes * self.outputs
        if job.resets is not NULL:
            job.resets += lanes
        if not job.steady:
            job.rates += steps
        if job.losses is not NULL:
            job.losses += steps
        if job.scored is not NULL:
            job.scored += steps
        if job.similarity is not NULL:
            job.similarity += 2 * steps * <long>len(self.shadows)
        if job.outputs is not NULL:
            job.outputs += lanes * self.outputs

    cdef size_t trial_size(self) noexcept:
        return self.net.lanes * <size_t>(self.net.k * self.net.n) * sizeof(real)

    cdef double[::1] rates_of(self, long steps):
        """Learning rates of the coming steps, asked for where an update comes, and all of them before anything changes."""
        cdef double[::1] rates = zeros(steps)
        cdef long t
        for t in range(steps):
            if self.optimizer is not None and self.is_due(self.counters[CLOCK] + 1 + t):
                rates[t] = self.rate_at(self.counters[CLOCK] + 1 + t)
        return rates

    def advance(self, const int32_t[:, ::1] ids, const real[:, :, ::1] x):
        """The new hidden units."""
        cdef Job job
        self.lock.take(False)
        try:
            if x is not None:
                self.need_dense()
            memset(&job, 0, sizeof(Job))
            job.work = ADVANCE
            if ids is not None:
                job.ids = &ids[0, 0]
            else:
                job.x = &x[0, 0, 0]
            self.launch(&job)
            return self.hidden.copy()
        finally:
            self.lock.release(False)

    def gradient(self, dict arrays, double[:, :, ::1] similarity):
        """Fill arrays with the gradients of all parameters, and forget what was credited.  Whether all are finite."""
        cdef Job job
        cdef long c
        cdef bint finite
        self.lock.take(False)
        try:
            memset(&job, 0, sizeof(Job))
            job.work = GRADIENT
            job.similarity = NULL if similarity is None else &similarity[0, 0, 0]
            self.launch(&job)
            finite = all_finite(self.parameters, self.estimator.gradient)
            self.hand_out(arrays, 0)
            for c in range(self.parameters // CHUNK):
                self.forget(self.estimator, c, True)
        finally:
            self.lock.release(False)
        return finite

    cdef hand_out(self, dict arrays, long place):
        """Copy the flat gradient into matrix number `place` of those arrays that there are."""
        cdef real[:, :, ::1] out
        cdef const real *flat
        cdef long first, stride, rows, columns, row
        for name, first, stride, rows, columns in self.places:
            if name in arrays:
                out = arrays[name]
                flat = self.estimator.gradient + first
                for row in range(rows):
                    memcpy(&out[place, row, 0], flat + row * stride, columns * sizeof(real))

    def influence(self, dict arrays):
        """Fill arrays [lanes * kn, rows, columns], row by row through the gradient that a row gives."""
        cdef long kn = self.net.k * self.net.n, i
        cdef real *credited = self.estimator.gradient
        cdef Arena arena = Arena()
        cdef real *room = scratch(arena, self.parameters)
        cdef bint within = self.lock.take(True)
        cdef Job job
        try:
            memset(&job, 0, sizeof(Job))
            job.work = CREDIT
            for i in range(self.net.lanes * kn):
                memset(room, 0, self.parameters * sizeof(real))
                memset(self.delta, 0, self.net.lanes * kn * sizeof(real))
                self.delta[i] = 1
                self.estimator.probing, self.estimator.gradient = True, room
                self.launch(&job)
                self.hand_out(arrays, i)
                self.estimator.probing, self.estimator.gradient = False, credited
                self.lock.listen()
        finally:
            self.estimator.probing, self.estimator.gradient = False, credited
            self.lock.release(within)

    def shadow(self, Estimator estimator, double cap, made, list shadows):
        """Let another estimator watch the stream from now on; `made`, which stands for it, gets the memory of its gradient and
        joins `shadows`."""
        cdef Arena arena
        self.lock.take(False)
        try:
            arena = self.attach(estimator, cap)
            for name, _, code, offset, count, _ in arena.blocks:
                if name.endswith(".kept"):
                    made._kept = frombuffer(arena, code, int(count), int(offset))
            shadows.append(made)
        finally:
            self.lock.release(False)

    def reset(self, const int8_t[::1] lanes):
        cdef Job job
        cdef long b
        self.lock.take(False)
        try:
            memset(&job, 0, sizeof(Job))
            job.work = CLOSE
            self.launch(&job)
            for b in range(self.net.lanes):
                if lanes[b]:
                    self.clear(b)
            self.raise_failure()
        finally:
            self.lock.release(False)

    def state(self, bint hidden):
        """A copy of the state [lanes, k, n], or of the hidden units alone [lanes, n]."""
        cdef bint within = self.lock.take(True)
        try:
            return self.hidden.copy() if hidden else self.all_state.copy()
        finally:
            self.lock.release(within)

    def set_state(self, const real[:, :, ::1] values):
        """The leading components of the state [lanes, up to k, n]."""
        cdef long kn = self.net.k * self.net.n, b
        self.lock.take(False)
        try:
            for b in range(self.net.lanes):
                memcpy(self.live.s + b * kn, &values[b, 0, 0], values.shape[1] * self.net.n * sizeof(real))
        finally:
            self.lock.release(False)

    def counts(self):
        """What health() reports."""
        return {
            "steps": self.counters[CLOCK] + 1,
            "updates": self.counters[UPDATES],
            "influence_capped": guarded(self.estimator, 0),
            "influence_not_finite": guarded(self.estimator, 1),
            "state_not_finite": self.counters[BAD_STATE],
            "loss_not_finite": self.counters[BAD_LOSS],
            "updates_skipped": self.counters[SKIPPED],
            "updates_scaled": 0 if self.optimizer is None or self.optimizer.outliers is NULL else self.optimizer.outliers[1],
            "shadows_capped": sum(guarded(shadow, 0) for shadow, _ in self.shadows),
            "shadows_not_finite": sum(guarded(shadow, 1) for shadow, _ in self.shadows),
        }

    def troubles(self):
        """Whether anything happened that a user should hear of."""
        if self.counters[SKIPPED] or self.counters[BAD_LOSS] or self.counters[BAD_STATE]:
            return True
        if guarded(self.estimator, 0) or guarded(self.estimator, 1):
            return True
        return any(guarded(shadow, 0) or guarded(shadow, 1) for shadow, _ in self.shadows)

    def steps(self):
        return self.counters[CLOCK] + 1
