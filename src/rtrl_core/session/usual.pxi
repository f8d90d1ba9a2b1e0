# Floor 5: calls whose arguments are of the usual form (see arguments.pxi).  Each answers None or False, with nothing
# changed, where they are not, or where something else is unusual: then the caller (rtrl.session) goes the long way.

cdef class Usual(Region):
    cdef object acquire              # the network's lock: one thread at a time
    cdef object release
    cdef object hidden               # NumPy view of the hidden units
    cdef object schedule             # learning rate of a time step, or None: always the same
    cdef double rate

    def expect(self, lock, hidden, rate, list places):
        """What the calls below need of the session; before the first of them."""
        self.acquire, self.release, self.hidden, self.places = lock.acquire, lock.release, hidden, places
        self.schedule, self.rate = (rate, NAN) if callable(rate) else (None, rate)
        low, high = (None, None) if self.readout is None else self.readout.target_range
        self.low, self.high = -INFINITY if low is None else low, INFINITY if high is None else high

    def quick_step(self, x, y):
        """Loss of one step of learning, or None."""
        cdef Job job
        cdef double rate = self.rate, loss = NAN
        if self.readout is None or self.shadows or not self.acquire(False):
            return None
        try:
            memset(&job, 0, sizeof(Job))
            if not (self.take_inputs(x, &job) and self.take_targets(y, &job)):
                return None
            if self.schedule is not None and (self.counters[CLOCK] + 2) % self.update_every == 0:
                rate = self.schedule(self.counters[CLOCK] + 1)
            job.work, job.steps, job.begin, job.rates, job.losses = RUN, 1, True, &rate, &loss
            self.launch(&job)
        finally:
            self.release()
        return loss

    def quick_advance(self, x):
        """The new hidden units, or None."""
        cdef Job job
        if not self.acquire(False):
            return None
        try:
            memset(&job, 0, sizeof(Job))
            if not self.take_inputs(x, &job):
                return None
            job.work = ADVANCE
            self.launch(&job)
            return self.hidden.copy()
        finally:
            self.release()

    def quick_predict(self, x, real[:, ::1] outputs):
        """Fill outputs [lanes, outputs]; whether they are finite, or None."""
        cdef Job job
        if self.readout is None or not self.acquire(False):
            return None
        try:
            memset(&job, 0, sizeof(Job))
            if not self.take_inputs(x, &job):
                return None
            job.work, job.steps, job.begin, job.outputs = EVALUATE, 1, True, &outputs[0, 0]
            self.launch(&job)
        finally:
            self.release()
        return all_finite(self.net.lanes * self.outputs, &outputs[0, 0])

    def quick_feedback(self, credit):
        """Whether credit was taken."""
        cdef Job job
        if self.counters[CLOCK] < 0 or not self.acquire(False):
            return False
        try:
            memset(&job, 0, sizeof(Job))
            job.work = FEEDBACK
            if not self.take_credit(credit, &job):
                return False
            self.launch(&job)
            return True
        finally:
            self.release()

    def quick_apply(self, gradients):
        """Whether a step of the optimizer along `gradients` was taken."""
        cdef Job job
        cdef double rate = self.rate
        cdef real *flat = self.estimator.gradient
        if self.optimizer is None or not self.acquire(False):
            return False
        try:
            if self.owes() or not self.fits(gradients):
                return False
            if self.schedule is not None:
                rate = self.schedule(max(0, self.counters[CLOCK]))
            memset(&job, 0, sizeof(Job))
            job.work, job.rates = CLOSE, &rate
            self.launch(&job)
            if self.owes():
                return False
            if self.write(gradients, flat):
                job.work = APPLY
                self.launch(&job)
                memset(flat, 0, self.parameters * sizeof(real))
                return True
            memset(flat, 0, self.parameters * sizeof(real))
            return False
        finally:
            self.release()

    cdef bint owes(self) noexcept nogil:
        """Is something credited that was not asked for?"""
        cdef int32_t found = 0           # no early return: the compiler makes vectors of this
        cdef long i
        for i in range(self.parameters):
            found |= self.estimator.gradient[i] != 0
        return found != 0
