# Truncated backpropagation through time over a ring of `horizon` records (Williams and Peng 1990,
# doi:10.1162/neco.1990.2.4.490).
#
#     delta_{t-1} = delta_t H_t + credit_{t-1}       gradient += sum over the window of delta_t F_t
#
# Block form: the stream is cut into blocks of `horizon` steps, a loss reaches back to the start of its
# block, and one sweep a block serves all of its losses.  Sliding form: every loss is swept back through
# the last `horizon` steps at once.  The sweep uses the weights of the moment, which are those of the
# forward pass as long as updates come only at the ends of blocks.
#
# Time 4 r n m a step and lane in block form, `horizon` times that when sliding; memory
# horizon (2 n + k r n + k^2 n + x) a lane, where x is one integer for ids.

cdef class TBPTT(Estimator):
    options = {"horizon": REQUIRED, "sliding": False}
    kind = "biased"
    cdef long horizon
    cdef bint sliding
    cdef Window window

    def __init__(self, horizon, sliding=False):
        self.horizon, self.sliding, self.fresh = horizon, sliding, False
        self.window = Window()

    def flops(self):
        cdef double each = 4.0 * self.net.depth * self.net.stages[0].rows * self.net.stages[0].m
        return each * (self.horizon - 1) if self.sliding else 0

    cdef layout(self, Arena arena):
        self.window.layout(arena, self.net.stages, self.net.depth, self.net.lanes, self.horizon, self.net.n)

    cdef layout_dense(self, Arena arena):
        self.window.layout_dense(arena)

    cdef void observe(self, Team team) noexcept nogil:
        cdef bint anew = not self.sliding and self.window.fill[0] == self.horizon
        if anew:
            self.settle(team)
        self.window.append(team, self.net.records, anew)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        if self.sliding or self.probing:
            self.window.sweep_now(team, delta, self.gradient)
        else:
            self.window.owe(team, delta)

    cdef void settle(self, Team team) noexcept nogil:
        self.window.settle(team, self.gradient)

    cdef void clear(self, long lane) noexcept nogil:
        self.window.cut(lane)
