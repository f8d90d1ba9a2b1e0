# RFLO, for pointwise cells also e-prop: traces that only the direct derivatives carry on
# (Murray 2019, doi:10.7554/eLife.43299; Bellec et al. 2020, doi:10.1038/s41467-020-17236-y).
#
#     J_j <- E_j J_j + D_j h_hat        gradient[(a,j),:] += sum over c of delta[c,j] J_j[c,a,:]
#
# J [k, r, n, m] for the weights that exist.  With `random_feedback` the error e of the readout comes back
# as delta_h = e B, with fixed random signs B [outputs, n] over sqrt(n), in place of the readout's weights.
# Time about 2 (k + 1) k r n m a step, lane and stage, one pass over J.

cdef class RFLO(Estimator):
    options = {"fresh": False, "random_feedback": False}
    kind = "biased"
    cdef Own own
    cdef bint random_feedback
    cdef real *B                     # [outputs, n]
    cdef real *redirected            # [lanes, kn]

    def __init__(self, fresh=False, random_feedback=False):
        self.fresh, self.random_feedback, self.own = fresh, random_feedback, Own()

    def flops(self):
        return near_flops(self.net.stages, self.net.depth, 1)

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double outputs = net.outputs if self.random_feedback else 0
        cdef long v, j
        self.own.layout(arena, net.stages, net.depth, net.lanes, net.threads, False)
        self.B = arena.reals("B", "workspace", outputs * net.n)
        self.redirected = arena.reals("redirected", "workspace", <double>net.lanes * net.k * net.n if self.random_feedback else 0)
        if self.B is not NULL and self.random_feedback:
            for v in range(net.outputs):
                # The signs of a time step that no session reaches.
                signs_fill(signs_key(net.seed, ~<uint64_t>0, <uint64_t>v, 0), net.n, self.B + v * net.n)
            for j in range(net.outputs * <long>net.n):
                self.B[j] /= sqrt(net.n)

    cdef void observe(self, Team team) noexcept nogil:
        observe_own(self, self.own, team)

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        if self.random_feedback and self.net.error is not NULL:
            self.redirect(team)
            delta = self.redirected
        credit_own(self, self.own, team, delta)

    cdef void redirect(self, Team team) noexcept nogil:
        """delta of every lane from the errors of its outputs."""
        cdef long n = self.net.n, kn = self.net.k * n, outputs = self.net.outputs
        cdef long first = team_first(team, self.net.lanes), last = team_last(team, self.net.lanes)
        memset(self.redirected + first * kn, 0, (last - first) * kn * sizeof(real))
        pulls(outputs, n, last - first, self.B, n, self.net.error + first * outputs, outputs, self.redirected + first * kn, kn)
        team_barrier(team)

    cdef void clear(self, long lane) noexcept nogil:
        cdef int l
        for l in range(self.net.depth):
            self.own.clear(l, lane)
