# Floor 5: the session as Python sees it.  All arguments were checked by the caller (rtrl.session).

OPENMP = bool(RTRL_OPENMP)
PARAMETER_CHUNK = CHUNK              # the flat array of parameters is a whole number of these


def registry(kind):
    """Classes of floor 4 by name; kind is "cells", "estimators", "readouts" or "optimizers"."""
    base = {"cells": Cell, "estimators": Estimator, "readouts": Readout, "optimizers": Optimizer}[kind]
    return {each.__name__: each for each in base.__subclasses__()}


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
    cdef unsigned int mode = work_begins()
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
    cdef unsigned int mode = work_begins()
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
    cdef unsigned int mode = work_begins()
    if used:
        tiled_weights(rows, 0, cols, &weights[0, 0], cols, tiles)
        tiled_pulls(rows, first, last, y.shape[0], tiles, &y[0, 0], rows, &out[0, 0], cols)
    work_ends(mode)
    return used


cdef class Engine(Usual):
    """The calls that Python makes."""
    def run(self, bint learn, bint begin, const int32_t[:, ::1] ids, const real[:, :, ::1] x, const int32_t[:, ::1] labels,
            const real[:, :, ::1] targets, const int8_t[:, ::1] resets, const double[::1] rates, double[::1] losses,
            double[::1] scored, double[:, :, ::1] similarity, real[:, :, ::1] outputs):
        """Learn from (or, with learn=False, score or predict on) some steps."""
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.work, job.begin = RUN if learn else EVALUATE, begin
        job.steps = ids.shape[0] if ids is not None else x.shape[0]
        if job.steps == 0:
            return
        if ids is not None:
            job.ids = &ids[0, 0]
        else:
            job.x = &x[0, 0, 0]
        if labels is not None:
            job.labels = &labels[0, 0]
        if targets is not None:
            job.targets = &targets[0, 0, 0]
        if resets is not None:
            job.resets = &resets[0, 0]
        if rates is not None:
            job.rates = &rates[0]
        if losses is not None:
            job.losses = &losses[0]
        if scored is not None:
            job.scored = &scored[0]
        if similarity is not None:
            job.similarity = &similarity[0, 0, 0]
        if outputs is not None:
            job.outputs = &outputs[0, 0, 0]
        if learn and self.optimizer is not None and rates is None:
            raise ValueError("an optimizer needs learning rates")
        self.launch(&job)

    def advance(self, const int32_t[:, ::1] ids, const real[:, :, ::1] x):
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.work = ADVANCE
        if ids is not None:
            job.ids = &ids[0, 0]
        else:
            job.x = &x[0, 0, 0]
        self.launch(&job)

    def feedback(self, const real[:, ::1] delta):
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.work, job.delta = FEEDBACK, &delta[0, 0]
        self.launch(&job)

    def gradient(self, double[:, :, ::1] similarity):
        """Finish the gradients; the caller reads them and then calls `forget_gradient`.  Whether the first is finite."""
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.work = GRADIENT
        if similarity is not None:
            job.similarity = &similarity[0, 0, 0]
        self.launch(&job)
        return bool(all_finite(self.parameters, self.estimator.gradient))

    def forget_gradient(self):
        cdef long c
        for c in range(self.parameters // CHUNK):
            self.forget(self.estimator, c, True)

    def close(self):
        """End the current step.  An estimator that takes it in may add what it still owes to the gradient, so this comes before
        the caller writes a gradient of its own."""
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.work = CLOSE
        self.launch(&job)

    def apply(self, double rate):
        """Step along the flat gradient that the caller has written, after `close`."""
        cdef Job job
        memset(&job, 0, sizeof(Job))
        job.work, job.rates = APPLY, &rate
        self.launch(&job)

    def reset(self, const int8_t[::1] lanes):
        cdef long b
        self.close()
        for b in range(self.net.lanes):
            if lanes[b]:
                self.clear(b)

    def influence_row(self, long lane, long i):
        """Row i (component-major) of the influence of one lane, through the gradient that it gives; the
        caller saves and clears the flat gradient around the call."""
        cdef long kn = self.net.k * self.net.n
        cdef Job job
        memset(&job, 0, sizeof(Job))
        memset(self.delta, 0, self.net.lanes * kn * sizeof(real))
        self.delta[lane * kn + i] = 1
        job.work = CREDIT
        self.estimator.probing = True
        self.launch(&job)
        self.estimator.probing = False

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
