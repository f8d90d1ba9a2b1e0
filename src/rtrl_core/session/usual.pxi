# Floor 5: calls whose arguments are of the usual form (see arguments.pxi).  Each answers None or False, with nothing
# changed, where they are not, or where something else is unusual: then the caller (rtrl.session) goes the long way.

cdef class Usual(Region):
    cdef Lock lock                   # the network's: one thread at a time
    cdef object all_state            # NumPy view of the state [lanes, k, n] ...
    cdef object hidden               # ... and of the hidden units
    cdef object schedule             # learning rate of a time step, or None: always the same
    cdef double rate

    def expect(self, Lock lock, state, rate, list places):
        """What the calls below need of the session; before the first of them."""
        self.lock, self.all_state, self.hidden, self.places = lock, state, state[:, 0], places
        self.schedule, self.rate = (rate, NAN) if callable(rate) else (None, rate)
        low, high = (None, None) if self.readout is None else self.readout.target_range
        self.low, self.high = -INFINITY if low is None else low, INFINITY if high is None else high

    def quick_step(self, x, y):
        """Loss of one step of learning, or None."""
        cdef Job job
        cdef double rate = self.rate, loss = NAN
        if self.readout is None or self.shadows:
            return None
        self.lock.take(False)
        try:
            memset(&job, 0, sizeof(Job))
            if not (self.take_inputs(x, &job) and self.take_targets(y, &job)):
                return None
            if self.schedule is not None and self.is_due(self.counters[CLOCK] + 1):
                rate = self.rate_at(self.counters[CLOCK] + 1)
            job.work, job.steps, job.begin, job.rates, job.losses = RUN, 1, True, &rate, &loss
            self.launch(&job)
        finally:
            self.lock.release(False)
        return loss

    def quick_advance(self, x):
        """The new hidden units, or None."""
        cdef Job job
        self.lock.take(False)
        try:
            memset(&job, 0, sizeof(Job))
            if not self.take_inputs(x, &job):
                return None
            job.work = ADVANCE
            self.launch(&job)
            return self.hidden.copy()
        finally:
            self.lock.release(False)

    def quick_predict(self, x, real[:, ::1] outputs):
        """Fill outputs [lanes, outputs]; whether they are finite, or None."""
        cdef Job job
        cdef bint within
        if self.readout is None:
            return None
        within = self.lock.take(True)
        try:
            memset(&job, 0, sizeof(Job))
            if within or not self.take_inputs(x, &job):  # what is within may be a step that waits with its arguments
                return None
            job.work, job.steps, job.begin, job.outputs = EVALUATE, 1, True, &outputs[0, 0]
            self.launch(&job)
        finally:
            self.lock.release(within)
        return all_finite(self.net.lanes * self.outputs, &outputs[0, 0])

    def quick_feedback(self, credit):
        """Whether credit was taken."""
        cdef Job job
        self.lock.take(False)
        try:
            memset(&job, 0, sizeof(Job))
            job.work = FEEDBACK
            if self.counters[CLOCK] < 0 or not self.take_credit(credit, &job):
                return False
            self.launch(&job)
            return True
        finally:
            self.lock.release(False)

    def quick_apply(self, gradients):
        """Whether a step of the optimizer along `gradients` was taken; what is credited stays."""
        cdef Job job
        cdef double rate = self.rate
        cdef real *flat = self.estimator.gradient
        cdef size_t size = self.parameters * sizeof(real)
        cdef bytearray owed = None
        if self.optimizer is None:
            return False
        self.lock.take(False)
        try:
            if self.schedule is not None and self.fits(gradients):
                rate = self.rate_at(max(0, self.counters[CLOCK]))
            if not self.fits(gradients):
                return False
            memset(&job, 0, sizeof(Job))
            job.work, job.rates = CLOSE, &rate
            self.launch(&job)            # an estimator that takes the step in may add what it still owes
            if self.owes():
                owed = bytearray(size)
                memcpy(<char *>owed, flat, size)
                memset(flat, 0, size)
            try:
                if not self.write(gradients, flat):
                    return False
                job.work = APPLY
                self.launch(&job)
            finally:
                if owed is None:
                    memset(flat, 0, size)
                else:
                    memcpy(flat, <char *>owed, size)
            return True
        finally:
            self.lock.release(False)

    cdef bint is_due(self, long step) noexcept nogil:
        """Does this time step end with an update?"""
        return (step + 1) % self.update_every == 0

    cdef double rate_at(self, long step) except? -1:
        """What the schedule says, which may look at the session; before anything has changed."""
        self.lock.whole = True
        rate = self.schedule(step)
        self.lock.whole = False
        return rate

    cdef bint owes(self) noexcept nogil:
        """Is something credited that was not asked for?"""
        cdef int32_t found = 0           # no early return: the compiler makes vectors of this
        cdef long i
        for i in range(self.parameters):
            found |= self.estimator.gradient[i] != 0
        return found != 0
