# Floor 5: how a session is put together: sizes, memory, shadows.

cdef class Assembly(Clock):
    """One session: `weights` and `mask` are flat arrays that the caller keeps alive and may write to.

    `stages` lists (inputs, offset, row stride) of every stage, `readout_at` is (offset, row stride).
    A negative `threads` means: at most so many, where it pays.
    """
    cdef object owners               # Python objects whose memory is used
    cdef real *given_x               # [lanes, inputs] of a single step, with dense inputs
    cdef public object admit         # of all its arenas, see there

    def __init__(self, Cell cell, Readout readout, Estimator estimator, Optimizer optimizer, *, real[::1] weights,
                 mask, list stages, tuple readout_at, int lanes, seed, first_lane, int threads, long update_every, double cap,
                 admit=None):
        cdef real[::1] holes
        cdef Context net = Context()
        self.cell, self.readout, self.estimator, self.optimizer, self.net = cell, readout, estimator, optimizer, net
        self.owners, self.shadows, self.admit = [weights, mask], [], admit
        self.weights, self.parameters = &weights[0], weights.shape[0]
        if mask is not None:
            holes = mask
            self.mask = &holes[0]
        self.update_every, self.chunk_bytes = update_every, CHUNK * sizeof(real)
        self.outputs = readout.outputs if readout is not None else 0
        self.readout_offset, self.ldv = readout_at
        net.first_lane = first_lane
        self.describe(cell, stages, lanes, seed)
        if optimizer is not None:
            self.introduce(optimizer)
        net.threads = threads if threads > 0 else self.useful_threads(-threads)
        self.arena = Arena(admit)
        for _ in range(2):
            self.layout(self.arena)
            self.watch(self.arena, estimator, cap, "estimator.")
            if self.arena.base is NULL:
                self.arena.allocate()
        self.counters[CLOCK] = -1

    cdef describe(self, Cell cell, list stages, int lanes, seed):
        cdef Context net = self.net
        cdef Stage *stage
        net.depth, net.lanes, net.n, net.k, net.seed, net.outputs = cell.depth, lanes, cell.n, cell.k, seed, self.outputs
        net.stages = <Stage *>zeroed(cell.depth, sizeof(Stage))
        net.records = <Record *>zeroed(cell.depth, sizeof(Record))
        self.trial_stream.records = <Record *>zeroed(cell.depth, sizeof(Record))
        for l, (inputs, offset, ldw) in enumerate(stages):
            stage = &net.stages[l]
            stage.n, stage.k, stage.r, stage.inputs = cell.n, cell.k, cell.r, inputs
            stage.rows, stage.m = cell.r * cell.n, cell.n + inputs + 1
            stage.ldw, stage.ldg, stage.offset, stage.W = ldw, ldw, offset, self.weights + <long>offset
            if self.mask is not NULL:
                stage.mask = self.mask + <long>offset
                stage.deaf = deaf_maps(stage)

    cdef introduce(self, Optimizer optimizer):
        """Tell the optimizer which matrices the flat array holds."""
        cdef Stage *stage
        cdef int l
        optimizer.block_count = self.net.depth + (self.outputs > 0)
        optimizer.blocks = <Block *>zeroed(optimizer.block_count, sizeof(Block))
        for l in range(self.net.depth):
            stage = &self.net.stages[l]
            optimizer.blocks[l] = Block(stage.offset, stage.rows, stage.m, stage.ldw)
        if self.outputs:
            optimizer.blocks[self.net.depth] = Block(self.readout_offset, self.outputs, self.net.n + 1, self.ldv)
        optimizer.mask = self.mask

    def flops(self):
        """Flops of one step of the session, a multiply-add counted as two, functions not counted."""
        cdef Context net = self.net
        cdef double forward = 2.0 * self.outputs * net.n
        cdef int l
        for l in range(net.depth):
            forward += 2.0 * net.stages[l].rows * net.stages[l].m
        return net.lanes * (3 * forward + self.estimator.flops())

    cdef int useful_threads(self, int available) except -1:
        """Threads that pay for their barriers.  A barrier costs 0.3 us (a step has dozens), and more where memory, not
        arithmetic, is the limit: the weights that one thread has updated come to the others through the third cache."""
        if not RTRL_OPENMP:
            return 1
        self.estimator.net = self.net
        return <int>max(1, min(available, self.flops() / FLOPS_PER_THREAD))

    cdef layout(self, Arena arena):
        cdef Context net = self.net
        cdef double lanes = net.lanes, kn = net.k * net.n, rows = net.stages[0].rows
        cdef bint absorbs = False
        cdef int l
        arena.prefix = "session."
        self.counters = arena.integers("counters", "state", COUNTERS, (ENDLESS, 1, *[ENDLESS] * (COUNTERS - 2)), (-1, *[0] * (COUNTERS - 1)))
        net.clock, net.open = self.counters + CLOCK, self.counters + OPEN
        self.live.s = arena.reals("s", "state", lanes * kn)
        self.live.bad = arena.ids("bad", "state", lanes, 1)
        self.live.records, self.live.learns = net.records, True
        self.trial_stream.s = arena.reals("trial_s", "workspace", lanes * kn)
        self.trial_stream.bad = arena.ids("trial_bad", "workspace", lanes)
        for l in range(net.depth):
            net.records[l] = record_layout(arena, f"record{l}.", "state", &net.stages[l], net.lanes, 1)
            self.trial_stream.records[l] = record_layout(arena, f"trial{l}.", "workspace", &net.stages[l], net.lanes, 1)
        net.row_length = max(net.stages[0].ldw, self.ldv)
        net.row = arena.reals("row", "workspace", <double>net.threads * net.row_length)
        self.z = arena.reals("z", "workspace", lanes * rows)
        if net.lanes >= LANES_BLOCK_FROM and self.optimizer is not None and self.update_every >= TURN_FROM:
            self.turned = arena.reals("turned", "workspace", <double>net.depth * turned_size(net.stages[0].rows, net.stages[0].m))
        self.delta = arena.reals("delta", "workspace", lanes * kn)
        self.pulled = arena.reals("pulled", "workspace", lanes * kn)
        self.room = arena.reals("room", "workspace", lanes * kn)
        self.y = arena.reals("y", "workspace", lanes * rows * net.depth)
        self.error = arena.reals("error", "workspace", lanes * self.outputs)
        self.loss = arena.doubles("loss", "workspace", lanes)
        self.partial = arena.doubles("partial", "workspace", 3 * <double>self.parameters / CHUNK)
        if self.optimizer is not None:
            arena.prefix = "optimizer."
            self.optimizer.updates = self.counters + UPDATES
            self.optimizer.layout(arena, self.parameters)
            absorbs = self.optimizer.absorbs
        arena.prefix = "session."
        self.factor = arena.reals("factor", "workspace", lanes * self.outputs if absorbs else 0)
        self.probe = arena.reals("probe", "workspace", self.parameters if absorbs else 0)

    cdef watch(self, Arena arena, Estimator estimator, double cap, str prefix):
        """Buffers of one estimator, with its gradient; a checkpoint holds nothing of one that is written in Python."""
        cdef bint lasts = not isinstance(estimator, Foreign)
        arena.prefix = prefix
        estimator.net, estimator.cap = self.net, cap
        estimator.metric = None if self.optimizer is None else self.optimizer.metric
        estimator.gradient = arena.reals("gradient", "gradient" if lasts else "workspace", self.parameters)
        estimator.counts = arena.integers("counts", "state" if lasts else "workspace", 2 * <double>self.net.lanes, ENDLESS)
        estimator.layout(arena)

    cdef Arena attach(self, Estimator estimator, double cap):
        """Let another estimator watch the stream from now on; returns its memory."""
        cdef Arena arena = Arena(self.admit)
        cdef Estimator last = self.estimator
        cdef bint lasts = not isinstance(estimator, Foreign)
        cdef str name = f"shadow{len(self.lasting())}." if lasts else f"foreign{len(self.shadows)}."
        for _ in range(2):
            self.watch(arena, estimator, cap, name)
            estimator.kept = arena.reals("kept", "gradient" if lasts else "workspace", self.parameters)
            if self.dense is not None and lasts:
                arena.prefix = f"dense.{len(self.lasting()) + 1}."
                estimator.layout_dense(arena)
            if arena.base is NULL:
                arena.allocate()
        while last.next is not None:
            last = last.next
        last.next = estimator
        self.shadows.append((estimator, arena))
        return arena

    cdef list lasting(self):
        """Shadows that a checkpoint holds: those that are compiled."""
        return [estimator for estimator, _ in self.shadows if not isinstance(estimator, Foreign)]

    def need_dense(self):
        """Room for dense inputs, allocated when the first of them arrives; returns whether that was now."""
        cdef Arena arena = Arena(self.admit)
        cdef double count = <double>self.net.lanes * self.net.stages[0].inputs
        if self.dense is not None:
            return False
        for _ in range(2):
            arena.prefix = "dense."
            self.net.records[0].x = arena.reals("record.x", "state", count)
            self.trial_stream.records[0].x = arena.reals("trial.x", "workspace", count)
            self.given_x = arena.reals("given_x", "workspace", count)
            for i, estimator in enumerate([self.estimator, *self.lasting()]):
                arena.prefix = f"dense.{i}."
                (<Estimator>estimator).layout_dense(arena)
            if arena.base is NULL:
                arena.allocate()
        self.dense = arena
        return True

    def arenas(self):
        """All memory of the session but the weights; block names are unique across arenas."""
        return [self.arena, *([] if self.dense is None else [self.dense]), *(arena for _, arena in self.shadows)]

    def __dealloc__(self):
        free(self.trial_stream.records)
