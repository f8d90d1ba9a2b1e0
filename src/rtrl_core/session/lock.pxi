# Floor 5: one thread at a time, and what its own signal handlers may do in the meantime.
#
# Everything that takes a lock, works and releases it is one compiled call: Python runs signal handlers between its own
# instructions, and an exception of theirs (Ctrl-C) between two of them would leave the lock held for ever, or work half done.

import os
from time import sleep
from cpython.exc cimport PyErr_CheckSignals
from cpython.pythread cimport PyThread_get_thread_ident

cdef long forks = 0                  # how often this process and its parents were forked ...
cdef long survivor = 0               # ... and the thread that went on in the child


def _after_fork():
    global forks, survivor
    forks += 1
    survivor = PyThread_get_thread_ident()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


cdef class Lock:
    """Held by the thread that uses a network or one of its sessions.

    The same thread may come again while everything is whole, between two steps of a run: from a signal handler, or from a
    schedule.  It may look then, but not change anything.  While another thread only looks (it saves, or copies weights), a call
    waits for the end of that; a call that changes something makes others fail.  The GIL guards the lock itself.
    """
    cdef bint held
    cdef bint whole                  # the owner is between two steps
    cdef bint looked                 # the owner does no more than `looking`
    cdef long owner                  # thread
    cdef long born                   # `forks` when it was taken

    cdef bint take(self, bint looks) except -1:
        """Whether it was held by this thread already; `looks`: nothing will be changed."""
        cdef long here = PyThread_get_thread_ident()
        while self.held and self.looked and self.owner != here and self.born == forks:
            sleep(1e-4)
        if self.held and self.born != forks and self.owner != survivor:
            if not self.whole:
                raise RuntimeError("this process was forked while another thread was in the middle of a step of this session or "
                                   "its network, which is torn here: load a checkpoint, or fork when nothing runs")
            self.held = self.looked = False  # the owner has no life here, but left everything whole
        if not self.held:
            self.held, self.whole, self.owner, self.born = True, False, here, forks
            return False
        if self.owner != here:
            raise RuntimeError("this session or its network is in use by another thread; give each thread its own")
        if not looks:
            raise RuntimeError("this call would change something inside a run of this session or of one that shares its network: "
                               "a signal handler or a schedule may look (save, hidden, predict, evaluate, influence), no more")
        if not self.whole:
            raise RuntimeError("this session or its network is in the middle of a step")
        self.whole = False
        return True

    cdef void release(self, bint within) noexcept:
        """End what `take` began; `within` is what it answered."""
        self.held = self.whole = within

    cdef int listen(self) except -1:
        """Let signal handlers run, between two steps."""
        self.whole = True
        PyErr_CheckSignals()         # where a handler raises, `release` comes next
        self.whole = False
        return 0

    def looking(self, function, *arguments):
        """function(*arguments), which changes nothing, while no other thread can."""
        cdef bint within = self.take(True)
        self.whole, self.looked = True, not within
        try:
            return function(*arguments)
        finally:
            self.looked = False
            self.release(within)

    def changing(self, function, *arguments):
        """function(*arguments), which changes weights or state, while nobody else looks."""
        self.take(False)
        try:
            return function(*arguments)
        finally:
            self.release(False)
