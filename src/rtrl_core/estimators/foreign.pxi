# An estimator that is written in Python, and attached as a shadow (see rtrl/_foreign.py).
#
# It gets what compiled estimators read, as arrays of double: the record (D, E, h_hat) of every lane and stage, and deltas.
# The delta of a step is always given as it is: what a fresh estimator does with the record is its own affair.  It observes
# when compiled estimators of its kind do, so that both can be compared sign for sign.
#
# What it raises waits until the engine's work is done (see `failure` of the context); the estimator is dropped then.

from numpy import empty


cdef object doubles(const real *x, tuple shape):
    """A copy as an array of double."""
    array = empty(shape)
    cdef double[::1] out = array.reshape(-1)
    cdef long i
    for i in range(out.shape[0]):
        out[i] = x[i]
    return array


cdef class Foreign(Estimator):
    options = None                   # nobody can ask for it by name
    cdef object lanes                # rtrl._foreign.Lanes, or None when it has failed
    cdef int32_t *cleared            # [lanes] a reset that it was not told of yet
    cdef real *h_hat                 # [m]

    def __init__(self, lanes):
        self.lanes, self.fresh, self.late = lanes, False, lanes.fresh

    cdef layout(self, Arena arena):
        self.cleared = arena.ids("cleared", "workspace", self.net.lanes)
        self.h_hat = arena.reals("h_hat", "workspace", self.net.stages[0].m)

    cdef void observe(self, Team team) noexcept nogil:
        if team.rank == 0:
            with gil:
                self.tell(False, NULL)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        if team.rank == 0:
            with gil:
                self.tell(False, delta)

    cdef void settle(self, Team team) noexcept nogil:
        if team.rank == 0:
            with gil:
                self.tell(True, NULL)

    cdef void clear(self, long lane) noexcept nogil:
        self.cleared[lane] = 1           # any thread comes here; only the first calls Python

    cdef void tell(self, bint settle, const real *delta) noexcept:
        """One call of the estimators, in the state in which the thread was before its work for the session began."""
        cdef long b
        if self.lanes is None:
            return
        work_ends(self.net.mode)
        try:
            for b in range(self.net.lanes):
                if self.cleared[b]:
                    self.cleared[b] = 0
                    self.lanes.reset(b)
            if settle:
                self.write(self.lanes.gradient())
            elif delta is NULL:
                self.lanes.observe(self.steps(), self.signs)
            else:
                self.tell_credit(delta)
        except BaseException as failure:
            self.lanes.failure, self.lanes = failure, None
            if self.net.failure is None:
                self.net.failure = failure
        work_begins()

    cdef tell_credit(self, const real *delta):
        cdef long lanes = self.net.lanes
        deltas = doubles(delta, (lanes, self.net.k * self.net.n))
        errors = None if self.net.error is NULL else doubles(self.net.error, (lanes, self.net.outputs))
        self.lanes.credit(self.steps() if self.late and self.net.open[0] else None, deltas, errors)

    cdef list steps(self):
        """(D [k, r, n], E [k, k, n], h_hat [m]) of every stage, for every lane."""
        cdef Stage *stage
        cdef Record *record
        cdef long b
        cdef int l
        found = []
        for b in range(self.net.lanes):
            found.append([])
            for l in range(self.net.depth):
                stage, record = &self.net.stages[l], &self.net.records[l]
                extend(stage, record, b, self.h_hat)
                found[b].append((
                    doubles(record.D + b * stage.k * stage.rows, (stage.k, stage.r, stage.n)),
                    doubles(record.E + b * stage.k * stage.k * stage.n, (stage.k, stage.k, stage.n)),
                    doubles(self.h_hat, (stage.m,)),
                ))
        return found

    cdef write(self, list gradients):
        """The gradients [rows, m] of the stages, summed over lanes, to where the session reads them."""
        cdef double[:, ::1] gradient
        cdef Stage *stage
        cdef long row, q
        cdef int l
        for l in range(self.net.depth):
            stage, gradient = &self.net.stages[l], gradients[l]
            for row in range(stage.rows):
                for q in range(stage.m):
                    self.gradient[stage.offset + row * stage.ldw + q] = <real>gradient[row, q]

    def signs(self, long lane, int stage, long count):
        """The signs of the current step, int8 [count]."""
        room = empty(count, "f4" if RTRL_WIDTH == 32 else "f8")
        cdef real[::1] out = room
        self.net.signs(lane, stage, count, &out[0])
        return room.astype("i1")
