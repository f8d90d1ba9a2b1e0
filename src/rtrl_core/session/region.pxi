# Floor 5: the threads of a session.

cdef class Region(Arguments):
    cdef Barrier barrier

    cdef launch(self, const Job *job):
        """The only place that opens a parallel region, and the way to all arithmetic of a session: outside of `work` the matrix unit does
        not know the shape of its registers, and the first product would end the process."""
        cdef int threads = 1 if forks else self.net.threads    # GNU OpenMP hangs in a forked child
        cdef Team alone = nobody_else()
        if threads == 1:
            with nogil:
                self.work(alone, job)
        else:
            with nogil, parallel(num_threads=threads):
                self.work(team_here(&self.barrier), job)
        if job.work != CLOSE:            # the call that closes a step has more to do
            self.raise_failure()

    cdef raise_failure(self):
        """Raise what an estimator written in Python did, now that the session is whole."""
        if self.net.failure is not None:
            failure, self.net.failure = self.net.failure, None
            raise failure

    cdef void work(self, Team team, const Job *job) noexcept nogil:
        cdef uint64_t mode = work_begins()
        if team.rank == 0:
            self.net.mode = mode
        self.play(team, job)
        work_ends(mode)
