# Floor 2: the near part of the influence.  For the weights of unit j only the units R_j are kept (reach.pxi);
# own.pxi has the case R_j = {j}.
#
#     J_j[(i,c),:] <- sum_d E[c,d,i] J_j[(i,d),:] + sum over i' in R_j of H[c,i,i'] J_j[(i',0),:]  + D[c,.,j] h_hat [i = j]
#     gradient of the weights of j += sum over (i,c) of delta[c,i] J_j[(i,c),:]
#
# H = D W_h.  J_j [R_j, k, weights of j] holds weights that exist only (fan.pxi).  Every J_j reads and writes
# itself alone, so units go to threads freely.  Time 2 (links + k^2 |R_j|) per weight of j.

cdef class Near:
    cdef const Stage *stages
    cdef int depth
    cdef long n, k, lanes, order, width
    cdef Fan *fan                    # [depth]
    cdef Graph *graph                # [depth]
    cdef Reach *reach                # [depth]
    cdef Links *links                # [depth that runs, depth of the weights]
    cdef real **J                    # [depth][lanes, entries]
    cdef double *squares             # [threads, n]: of each J_j
    cdef real *h_hat                 # [threads, m]
    cdef real *room                  # [threads, width]

    def __dealloc__(self):
        free(self.fan)
        free(self.graph)
        free(self.reach)
        free(self.links)
        free(self.J)

    cdef layout(self, Arena arena, const Stage *stages, int depth, long lanes, long threads, long order):
        cdef int l
        self.stages, self.depth, self.lanes, self.order = stages, depth, lanes, order
        self.n, self.k = stages.n, stages.k
        if self.fan is NULL:
            self.fan = <Fan *>zeroed(depth, sizeof(Fan))
            self.graph = <Graph *>zeroed(depth, sizeof(Graph))
            self.reach = <Reach *>zeroed(depth, sizeof(Reach))
            self.links = <Links *>zeroed(depth * depth, sizeof(Links))
            self.J = <real **>zeroed(depth, sizeof(real *))
        for l in range(depth):
            self.fan[l] = fan_layout(arena, f"fan{l}.", &stages[l])
        self.layout_reach(arena, threads)
        self.width = 0
        for l in range(depth):
            self.J[l] = arena.reals(f"J{l}", "influence", lanes * self.reach[l].entries)
            self.width = max(self.width, <long>min(2.0**60, self.reach[l].most) + stages[l].m)
        self.squares = arena.doubles("squares", "workspace", <double>threads * self.n)
        self.h_hat = arena.reals("h_hat", "workspace", <double>threads * stages[0].m)
        self.room = arena.reals("room", "workspace", <double>threads * self.width)

    cdef layout_reach(self, Arena arena, long threads):
        cdef Graph *borrowed = <Graph *>calloc(self.depth, sizeof(Graph))
        cdef char *inside = <char *>calloc(2 * self.n, 1)
        cdef int64_t *place = <int64_t *>calloc(self.n, sizeof(int64_t))
        cdef int l
        try:
            if borrowed is NULL or inside is NULL or place is NULL:
                raise MemoryError("could not allocate what the pattern of the influence needs")
            for l in range(self.depth):
                graph_borrow(&borrowed[l], &self.stages[l])
            for l in range(self.depth):
                self.graph[l] = graph_layout(arena, f"graph{l}.", &self.stages[l], &borrowed[l], threads)
                self.count_block(borrowed, l, inside)
                self.layout_block(arena, l)
                if self.reach[l].first is not NULL:
                    self.fill_block(borrowed, l, inside, place)
        finally:
            for l in range(self.depth if borrowed is not NULL else 0):
                graph_return(&borrowed[l])
            free(borrowed)
            free(inside)
            free(place)

    cdef void count_block(self, const Graph *graphs, int l, char *inside) noexcept nogil:
        cdef Reach *reach = &self.reach[l]
        cdef int64_t at
        cdef double size
        cdef long j, i, count
        cdef int s
        reach.units = reach.entries = reach.most = 0
        for s in range(self.depth):
            self.links[s * self.depth + l].count = 0
        for j in range(self.n):
            spread(graphs, self.n, self.depth, l, self.order, j, inside, inside + self.n)
            count = 0
            for i in range(self.n):
                count += inside[i]
            size = <double>count * self.k * weights_of(&self.stages[l], j)
            reach.units += count
            reach.entries += size
            reach.most = max(reach.most, size)
            for s in range(self.depth):
                at = 0
                self.links[s * self.depth + l].count += links_of(&graphs[s], self.n, inside, NULL, NULL, NULL, &at)

    cdef layout_block(self, Arena arena, int l):
        cdef Reach *reach = &self.reach[l]
        cdef Links *links
        cdef int s
        reach.first = arena.integers(f"reach{l}.first", "workspace", <double>self.n + 1)
        reach.unit = arena.ids(f"reach{l}.unit", "workspace", reach.units)
        reach.base = arena.integers(f"reach{l}.base", "workspace", <double>self.n + 1)
        for s in range(self.depth):
            links = &self.links[s * self.depth + l]
            links.first = arena.integers(f"links{s}.{l}.first", "workspace", reach.units + 1)
            links.place = arena.ids(f"links{s}.{l}.place", "workspace", links.count)
            links.edge = arena.integers(f"links{s}.{l}.edge", "workspace", links.count)

    cdef void fill_block(self, const Graph *graphs, int l, char *inside, int64_t *place) noexcept nogil:
        cdef Reach *reach = &self.reach[l]
        cdef Links *links
        cdef int64_t row, at
        cdef long j, i, count
        cdef int s
        for j in range(self.n):
            spread(graphs, self.n, self.depth, l, self.order, j, inside, inside + self.n)
            count = 0
            for i in range(self.n):
                if inside[i]:
                    reach.unit[reach.first[j] + count] = <int32_t>i
                    place[i] = count
                    count += 1
            reach.first[j + 1] = reach.first[j] + count
            reach.base[j + 1] = reach.base[j] + count * self.k * weights_of(&self.stages[l], j)
            for s in range(self.depth):
                links = &self.links[s * self.depth + l]
                row = reach.first[j]
                at = links.first[row]
                links_of(&graphs[s], self.n, inside, place, links, &row, &at)

    cdef inline real *block(self, int l, long lane) noexcept nogil:
        return self.J[l] + lane * self.reach[l].base[self.n]

    cdef void clear(self, int l, long lane) noexcept nogil:
        memset(self.block(l, lane), 0, self.reach[l].base[self.n] * sizeof(real))

    cdef void prepare(self, Team team, int slot, const Record *record, long lane, int s) noexcept nogil:
        """What stage s needs of its record before blocks are advanced; a barrier must follow."""
        cdef long first = unit_first(team, self.n), last = unit_last(team, self.n)
        graph_values(&self.stages[s], record, &self.graph[s], lane, self.H_of(s, slot), first, last)
        if team.rank == 0:
            extend(&self.stages[s], record, lane, self.h_hat + slot * self.stages[0].m)

    cdef inline real *H_of(self, int s, int slot) noexcept nogil:
        return self.graph[s].H + slot * self.k * self.graph[s].into[self.n]

    cdef void advance(self, Team team, int rank, int slot, const Record *record, long lane, int s, int l) noexcept nogil:
        """The J_j of block l through stage s; the squares of each J_j are left in `squares`."""
        cdef const Stage *stage = &self.stages[l]
        cdef const real *D = record.D + lane * stage.k * stage.rows if s == l else NULL
        cdef const real *E = record.E + lane * stage.k * stage.k * stage.n
        cdef const real *h_hat = self.h_hat + slot * self.stages[0].m
        cdef const Links *links = &self.links[s * self.depth + l]
        cdef real *room = self.room + rank * self.width
        cdef real *J
        cdef long j
        for j in range(unit_first(team, self.n), unit_last(team, self.n)):
            J = self.block(l, lane) + self.reach[l].base[j]
            self.squares[slot * self.n + j] = trace_reach(stage, &self.fan[l], &self.reach[l], links, E, self.H_of(s, slot),
                                                          self.graph[s].into[self.n], D, j, h_hat, J, room)

    cdef void credit(self, Team team, const real *delta, int l, real *gradient) noexcept nogil:
        """gradient of the stage += sum over lanes and (i, c) of delta[c,i] J_j[(i,c),:]."""
        cdef const Stage *stage = &self.stages[l]
        cdef Reach *reach = &self.reach[l]
        cdef long j, lane, place, c, width
        cdef const real *J
        cdef real *y = self.room + team.rank * self.width
        for j in range(unit_first(team, self.n), unit_last(team, self.n)):
            width = self.fan[l].start[(j + 1) * stage.r] - self.fan[l].start[j * stage.r]
            memset(y, 0, width * sizeof(real))
            for lane in range(self.lanes):
                J = self.block(l, lane) + reach.base[j]
                for place in range(reach.first[j], reach.first[j + 1]):
                    for c in range(self.k):
                        axpy(width, delta[(lane * self.k + c) * self.n + reach.unit[place]], J, y)
                        J += width
            fan_scatter(stage, &self.fan[l], j, y, gradient)

    cdef double total(self, int slot) noexcept nogil:
        """Squares of a whole block, added in the order of units."""
        cdef double total = 0
        cdef long j
        for j in range(self.n):
            total += self.squares[slot * self.n + j]
        return total

    cdef void rescale(self, int l, long lane, double factor) noexcept nogil:
        if factor == 0:
            self.clear(l, lane)
        elif factor < 1:
            scale(self.reach[l].base[self.n], <real>factor, self.block(l, lane))
