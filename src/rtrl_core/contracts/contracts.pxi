# Floor 3: the narrow waist.
#
# Cells only write the record (W, D, E, h_hat); estimators only read it.  Everything that a cell, an
# estimator, a readout or an optimizer must offer stands here; the session (floor 5) calls nothing
# else.  Methods that take a Team are called by all of its threads at once; on entry the records and
# all earlier results are complete, and the session waits for everybody afterwards.

class _Required:
    """Marks an option without a default."""
    def __repr__(self):
        return "REQUIRED"

REQUIRED = _Required()


cdef class Context:
    """What every part of a session may read: sizes, stages, the record of the current step, the clock."""
    cdef readonly int depth          # stages of the cell
    cdef readonly int lanes
    cdef readonly int n
    cdef readonly int k
    cdef readonly int threads
    cdef readonly int outputs        # of the readout, 0 without one
    cdef const real *error           # [lanes, outputs] d loss / d outputs while a readout is credited, otherwise NULL
    cdef bint closing                # fresh estimators observe before anybody reads a gradient: what is credited may wait for it
    cdef uint64_t seed
    cdef uint64_t first_lane         # number of the first lane among those of all sessions that share the seed
    cdef int64_t *clock              # [1] time steps since the session began
    cdef int64_t *open               # [1] the current step was not yet observed by fresh estimators
    cdef uint64_t mode               # of the first thread before its work began, see work_begins
    cdef object failure              # what an estimator written in Python raised, until the engine's work is done; or None
    cdef Stage *stages               # [depth]
    cdef Record *records             # [depth] of the current step
    cdef real *row                   # [threads, row_length] room for a row of weights, padding included
    cdef long row_length

    def __dealloc__(self):
        free(self.stages)
        free(self.records)

    cdef void signs(self, long lane, int stage, long count, real *out) noexcept nogil:
        signs_fill(signs_key(self.seed, <uint64_t>self.clock[0], self.first_lane + <uint64_t>lane, <uint64_t>stage), count, out)


cdef class Cell:
    """A chain of stages, each pointwise in its units: s' = phi(z, s).

    Set n, k, r and depth in __init__.  `options` names the constructor's arguments and defaults, `components` the k parts of
    the state.
    """
    options = {}
    components = ("h",)
    cdef readonly int n, k, r, depth

    cdef void forward(self, int stage, const real *z, real *s, real *D, real *E, long first, long last) noexcept nogil:
        """One lane, units [first, last): s [k, n] becomes s'; D [k, r, n] and E [k, k, n] are written in full."""
        pass

    def holes(self, inputs):
        """Blocks (map, first column, last column) of W in the first stage that do not exist."""
        return []


cdef class Estimator:
    """Carries an estimate G of the influence d s / d W (one block a stage) and turns deltas into gradients.

    `fresh` estimators are asked for the gradient before they observe the step: the session pulls delta
    through the current record (exact), and `credit` meets G of the step before.  The others observe first, except that `late`
    ones observe when the fresh do, and are credited with delta as it is all the same.
    """
    options = {}
    kind = "unbiased"
    cdef Context net
    cdef Estimator next              # another estimator that watches the same stream, or None
    cdef readonly bint fresh
    cdef readonly bint late
    cdef readonly bint carries       # False: G is always 0 and credit() does nothing
    cdef bint probing                # credit must act at once (influence() asks for single rows)
    cdef real *gradient              # flat, the sum over lanes of everything credited
    cdef bint blank                  # its content was used up: the next credit overwrites it
    cdef real *kept                  # flat copy of the gradient before it was cleared, or NULL
    cdef double cap                  # largest norm of a block of G
    cdef int64_t *counts             # [lanes, 2] blocks capped, blocks that were not finite
    cdef Metric metric               # of the parameters, kept by the optimizer, or None; set before layout

    def __cinit__(self):
        self.fresh = self.carries = True

    def flops(self):
        """Flops of one step and lane beyond the forward pass and the pull through one record."""
        return 0.0

    cdef layout(self, Arena arena):
        """Take buffers; called twice (see Arena)."""

    cdef layout_dense(self, Arena arena):
        """Take what dense inputs need beyond ids; called twice when the first dense input arrives."""

    cdef void observe(self, Team team) noexcept nogil:
        """G <- H G + F, or an estimate of it, from the current record."""
        pass

    cdef void credit(self, Team team, const real *delta) noexcept nogil:
        """gradient += sum over lanes of delta_b G_b, delta [lanes, kn]."""
        pass

    cdef void settle(self, Team team) noexcept nogil:
        """Add whatever is still owed to the gradient, before it is read."""
        pass

    cdef void clear(self, long lane) noexcept nogil:
        """G of one lane becomes 0; what was credited stays."""
        pass

    cdef double guard(self, long lane, double norm) noexcept nogil:
        """Factor for a block of G with this norm: 1, less than 1 above the cap, 0 when not finite; counted."""
        if not isfinite(norm):
            self.counts[2 * lane + 1] += 1
            return 0
        if norm > self.cap:
            self.counts[2 * lane] += 1
            return self.cap / norm
        return 1


cdef class Readout:
    """Scores outputs z = V [h ; 1] against a target."""
    options = {}
    targets_are_ids = False
    has_factors = False              # does factor() exist, for the exact Fisher information?
    target_range = (None, None)      # limits of targets that are numbers
    cdef readonly int outputs

    cdef double score(self, real *z, int32_t label, const real *target) noexcept nogil:
        """Loss of one lane in nats (NaN: no target); z becomes d loss / d z."""
        return NAN

    cdef void factor(self, long v, const real *error, int32_t label, const real *target, real *out) noexcept nogil:
        """out = factor v of the Fisher information of the outputs: the sum over v < outputs of out out' is the mean of
        error error' over the targets that the model itself expects.  `error` is d loss / d z as `score` left it."""
        pass

    cdef void respond(self, real *z) noexcept nogil:
        """z becomes the prediction that users see."""
        pass


cdef enum:
    NORMS = 31                       # that the median of clip_outliers is taken over
    FEWEST_NORMS = 5                 # with fewer nothing is an outlier


cdef class Optimizer:
    """Updates flat parameters w from the flat gradient g, piece by piece."""
    options = {}
    cdef double clip_norm            # infinite: no clipping
    cdef double lr
    cdef double norm                 # of the gradient, before clipping
    cdef double usual                # the largest norm that is no outlier
    cdef int64_t *updates            # [1]
    cdef Metric metric               # of the parameters, for estimators that reduce in one, or None
    cdef bint whole                  # prepare() needs the finished gradient, all pieces of it
    cdef bint absorbs                # wants every factor of the Fisher information, see absorb
    cdef Block *blocks               # [block_count] matrices of weights: stages, then the readout
    cdef int block_count
    cdef const real *mask            # flat, 0 where there is no weight; or NULL
    cdef double clip_outliers        # largest norm relative to the median of the last ones; infinite: any
    cdef double *norms               # [NORMS] of the last gradients that were not 0, or NULL
    cdef int64_t *outliers           # [2] how many norms there were, and how many updates were scaled down for theirs; or NULL
    cdef bint wary                   # some number is, or may be, so large that the next update could leave the range
    cdef bint refused                # prepare() found a step that the type cannot hold

    def __init__(self, *, clip_norm=None, clip_outliers=None):
        self.clip_norm = INFINITY if clip_norm is None else clip_norm
        self.clip_outliers = INFINITY if clip_outliers is None else clip_outliers
        self.wary = True

    def __dealloc__(self):
        free(self.blocks)

    cdef layout(self, Arena arena, double count):
        """Take buffers for `count` parameters; called twice (see Arena)."""
        if isfinite(self.clip_outliers):
            self.norms = arena.doubles("norms", "optimizer", NORMS, 0)
            self.outliers = arena.integers("outliers", "optimizer", 2, ENDLESS)

    cdef double clip(self, double norm) noexcept nogil:
        """Factor for a gradient of this norm."""
        cdef double limit = min(self.clip_norm, self.usual_norm())
        return limit / norm if norm > limit else 1

    cdef double usual_norm(self) noexcept nogil:
        """The largest norm that is no outlier: clip_outliers times the median of the last ones, infinite while there are few."""
        cdef double ordered[NORMS]
        cdef long count = 0, i, j
        if self.norms is NULL or self.outliers[0] < FEWEST_NORMS:
            return INFINITY
        for i in range(min(<long>self.outliers[0], NORMS)):
            j = count
            while j > 0 and ordered[j - 1] > self.norms[i]:
                ordered[j] = ordered[j - 1]
                j -= 1
            ordered[j] = self.norms[i]
            count += 1
        return self.clip_outliers * ordered[count // 2]

    cdef void remember(self, double norm) noexcept nogil:
        """Take the norm of a gradient into the median, and count it if it was an outlier."""
        cdef uint64_t place
        if self.norms is NULL or norm == 0:
            return
        self.outliers[1] += norm > self.usual_norm()
        place = <uint64_t>self.outliers[0] % NORMS
        self.norms[place] = norm
        self.outliers[0] += 1

    cdef void begin(self) noexcept nogil:
        """Once an update, before the pieces, with self.lr, self.norm and self.updates[0] (1 at the first) set."""
        pass

    cdef void absorb(self, Team team, const real *g, double weight) noexcept nogil:
        """Add weight g g' to the Fisher information since the last update; g [flat] is the gradient that one factor of
        the Fisher information of the outputs causes at one lane.  Called only where `absorbs` is set."""
        pass

    cdef double reach(self, const real *w, const real *g, long first, long last, real clip) noexcept nogil:
        """The largest number that `update` would write in [first, last), infinite where it is none.  Asked only where the
        gradient or `wary` says that numbers may leave the range."""
        return 0

    cdef void prepare(self, Team team, real *g, double clip) noexcept nogil:
        """Once an update, by all threads, between begin and the pieces, where `whole` is set.
        It may overwrite g, and ends with a barrier if the pieces depend on it."""
        pass

    cdef void update(self, real *w, const real *g, long first, long last, real clip) noexcept nogil:
        """w[first:last] <- step along clip * g[first:last]; padding (w = g = 0) must stay 0."""
        pass


cdef inline void balance(double a, double b, double *up, double *down) noexcept nogil:
    """Factors p = sqrt(a / b) and 1 / p of a product; both 0, which drops it, unless a and b are positive."""
    if a > 0 and b > 0 and isfinite(a) and isfinite(b):
        up[0] = sqrt(a) / sqrt(b)        # the quotient of the norms themselves could overflow
        down[0] = 1 / up[0]
    else:
        up[0] = down[0] = 0


cdef void observe_near(Estimator estimator, Near near, Team team) noexcept nogil:
    """Take the step into the near part of the influence, every block under the guard."""
    cdef Share share = share_lanes(team, estimator.net.lanes)
    cdef int slot = team.rank if share.team.size == 1 else 0, s, l
    cdef long lane
    for lane in range(share.first, share.last):
        for s in range(estimator.net.depth):
            near.prepare(share.team, slot, &estimator.net.records[s], lane, s)
            team_barrier(share.team)
            for l in range(estimator.net.depth):
                near.advance(share.team, team.rank, slot, &estimator.net.records[s], lane, s, l)
                team_barrier(share.team)
                if share.team.rank == 0:
                    near.rescale(l, lane, estimator.guard(lane, sqrt(near.total(slot))))
                team_barrier(share.team)


cdef void observe_own(Estimator estimator, Own own, Team team) noexcept nogil:
    """Take the step into each weight's influence on its own unit, every block under the guard."""
    cdef Share share = share_lanes(team, estimator.net.lanes)
    cdef Record *records = estimator.net.records
    cdef int l, s
    cdef long lane
    own.read_diagonal(team.rank)
    for lane in range(share.first, share.last):
        for l in range(estimator.net.depth):
            own.settle(share.team, team.rank, l, lane)
            if share.team.rank == 0:
                own.certain[lane] = own.compose(team.rank, records, lane, l, 0, estimator.net.depth, estimator.cap * estimator.cap)
                own.waiting[l][lane] = own.certain[lane]
            team_barrier(share.team)
            for s in range(0 if own.certain[lane] else estimator.net.depth):
                if share.team.rank == 0:
                    own.waiting[l][lane] = True
                    own.compose(team.rank, records, lane, l, s, s + 1, INFINITY)
                team_barrier(share.team)
                own.settle(share.team, team.rank, l, lane)
                if share.team.rank == 0:
                    own.rescale(l, lane, estimator.guard(lane, sqrt(own.total[l][lane])))
                team_barrier(share.team)


cdef void credit_own(Estimator estimator, Own own, Team team, const real *delta) noexcept nogil:
    """Credit delta, and drop a block that turns out not to be finite."""
    cdef long lane
    cdef int l
    for l in range(estimator.net.depth):
        own.credit(team, delta, l, estimator.gradient + estimator.net.stages[l].offset)
        team_barrier(team)
        for lane in range(team_first(team, estimator.net.lanes), team_last(team, estimator.net.lanes)):
            if not isfinite(own.finish(l, lane)):
                own.rescale(l, lane, estimator.guard(lane, INFINITY))
        team_barrier(team)
