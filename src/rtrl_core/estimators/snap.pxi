# SnAp: the influence of each weight on the units near it (Menick et al. 2020, arXiv:2006.07232).
#
#     G <- P o (H G + F)        P keeps the units that a weight can reach within `order` time steps
#
# Order 1 keeps a weight's influence on its own unit, J_j <- (E_j + D_j W_h[.,j,j]) J_j + D_j h_hat, in any
# net: time about 2 (k + 1) k r n m a step, lane and stage, one pass over k r n m numbers (jacobian/own.pxi),
# which k (k + r) n + m more describe until the next delta comes.  Higher orders
# need sparse weights, whose reach is worked out once (jacobian/reach.pxi); time and memory are in
# proportion to the pattern, and a pattern that no step adds to gives exact RTRL.

cdef class SnAp(Estimator):
    options = {"order": 1, "fresh": False}
    kind = "biased"
    cdef Own own                     # order 1 ...
    cdef Near near                   # ... or above
    cdef long order

    def __init__(self, order=1, fresh=False):
        self.order, self.fresh = order, fresh
        self.own, self.near = (Own(), None) if order == 1 else (None, Near())

    def flops(self):
        return near_flops(self.net.stages, self.net.depth, self.order)

    cdef layout(self, Arena arena):
        if self.own is not None:
            self.own.layout(arena, self.net.stages, self.net.depth, self.net.lanes, self.net.threads, True)
        else:
            self.near.layout(arena, self.net.stages, self.net.depth, self.net.lanes, self.net.threads, self.order)

    cdef void observe(self, Team team) noexcept nogil:
        if self.own is not None:
            observe_own(self, self.own, team)
        else:
            observe_near(self, self.near, team)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        cdef int l
        if self.own is not None:
            credit_own(self, self.own, team, delta)
        for l in range(self.net.depth if self.own is None else 0):
            self.near.credit(team, delta, l, self.gradient + self.net.stages[l].offset)

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            if self.own is not None:
                self.own.clear(l, lane)
            else:
                self.near.clear(l, lane)
