# Floor 2: who reads whom among the units of a stage, and how far that carries.
#
#     Graph    the edges (i, i'): unit i reads unit i' through a weight of some map, and H on them
#     Reach    R_j, the units that unit j can reach within order - 1 time steps after its stage ran,
#              itself included; a time step is one round of all stages.  J_j is [R_j, k, weights of j]
#     Links    for every unit of every R_j, those of its edges that begin in the same R_j
#
# All of it follows from the masks and is worked out once, in `layout`: first on borrowed memory, to know
# how much there is, then once more into the arena.

cdef struct Graph:
    int64_t *into        # [n + 1] edges of unit i are into[i] to into[i + 1]
    int32_t *source      # [edges] i', ascending
    real *H              # [threads, k, edges]: d s'[c,i] / d h[i'] through z


cdef struct Reach:
    double units         # sum of |R_j|
    double entries       # of all J_j
    double most          # of the largest J_j
    int64_t *first       # [n + 1] R_j is unit[first[j]] to unit[first[j + 1]], ascending
    int32_t *unit        # [units]
    int64_t *base        # [n + 1] where J_j begins


cdef struct Links:
    double count
    int64_t *first       # [units + 1]
    int32_t *place       # [count] of i' in R_j
    int64_t *edge        # [count] of the graph


cdef inline bint reads(const Stage *stage, long i, long source) noexcept nogil:
    cdef long a
    for a in range(stage.r):
        if stage.mask is NULL or stage.mask[(a * stage.n + i) * stage.ldw + source] != 0:
            return True
    return False


cdef int graph_borrow(Graph *graph, const Stage *stage) except -1:
    """The graph of a stage on memory of its own, to be given back with graph_return."""
    cdef long i, source, edges = 0
    graph.into = <int64_t *>calloc(stage.n + 1, sizeof(int64_t))
    for i in range(stage.n):
        for source in range(stage.n):
            edges += reads(stage, i, source)
    graph.source = <int32_t *>calloc(edges + 1, sizeof(int32_t))
    if graph.into is NULL or graph.source is NULL:
        raise MemoryError(f"could not allocate {4 * edges} bytes for the graph of the units")
    edges = 0
    for i in range(stage.n):
        for source in range(stage.n):
            if reads(stage, i, source):
                graph.source[edges] = <int32_t>source
                edges += 1
        graph.into[i + 1] = edges
    return 0


cdef void graph_return(Graph *graph) noexcept nogil:
    free(graph.into)
    free(graph.source)


cdef Graph graph_layout(Arena arena, str name, const Stage *stage, const Graph *borrowed, long threads):
    cdef Graph graph
    cdef long edges = borrowed.into[stage.n]
    graph.into = arena.integers(name + "into", "workspace", <double>stage.n + 1)
    graph.source = arena.ids(name + "source", "workspace", edges)
    graph.H = arena.reals(name + "H", "workspace", <double>threads * stage.k * edges)
    if graph.into is not NULL:
        memcpy(graph.into, borrowed.into, (stage.n + 1) * sizeof(int64_t))
        memcpy(graph.source, borrowed.source, edges * sizeof(int32_t))
    return graph


cdef inline void graph_values(const Stage *stage, const Record *record, const Graph *graph, long lane, real *H,
                              long first, long last) noexcept nogil:
    """H[c, e] = sum_a D[c,a,i] W_h[a,i,i'] for the edges of units [first, last)."""
    cdef const real *D = record.D + lane * stage.k * stage.rows
    cdef long a, c, e, i
    cdef real value
    for i in range(first, last):
        for c in range(stage.k):
            for e in range(graph.into[i], graph.into[i + 1]):
                value = 0
                for a in range(stage.r):
                    value += D[c * stage.rows + a * stage.n + i] * stage.W[(a * stage.n + i) * stage.ldw + graph.source[e]]
                H[c * graph.into[stage.n] + e] = value


cdef void spread(const Graph *graphs, long n, int depth, int stage, long order, long j, char *inside,
                 char *before) noexcept nogil:
    """inside[i] = is unit i in R_j, for the weights of `stage`; before [n] is room."""
    cdef const Graph *hop
    cdef long i, e, t
    cdef int l
    cdef bint grown
    memset(inside, 0, n)
    inside[j] = 1
    for t in range(order - 1):
        grown = False
        for l in range(1, depth + 1):
            hop = graphs + (stage + l) % depth
            memcpy(before, inside, n)
            for i in range(n):
                if not before[i]:
                    for e in range(hop.into[i], hop.into[i + 1]):
                        if before[hop.source[e]]:
                            inside[i] = grown = True
                            break
        if not grown:
            break


cdef long links_of(const Graph *graph, long n, const char *inside, const int64_t *place, Links *links,
                   int64_t *row, int64_t *at) noexcept nogil:
    """Count the links of one R_j, or write them from at[0] on; row[0] counts the units that were written."""
    cdef long i, e, count = 0
    for i in range(n):
        if inside[i]:
            for e in range(graph.into[i], graph.into[i + 1]):
                if inside[graph.source[e]]:
                    if links is not NULL:
                        links.place[at[0] + count] = <int32_t>place[graph.source[e]]
                        links.edge[at[0] + count] = e
                    count += 1
            if links is not NULL:
                row[0] += 1
                links.first[row[0]] = at[0] + count
    at[0] += count
    return count


cdef double near_flops(const Stage *stages, int depth, long order):
    """About what a step of SnAp costs: order 1 takes all stages at once, for higher ones as if the edges were drawn at random."""
    cdef double n = stages.n, k = stages.k, total = 0, weights, edges, reach = 1, before = 0
    cdef long i, source
    cdef int l, passes = depth if order > 1 else 1
    if order > 1:
        edges = 0
        for i in range(stages.n):
            for source in range(stages.n):
                edges += reads(stages, i, source)
        while order > 1 and reach > before:
            before, order = reach, order - 1
            reach = min(n, reach + reach * edges / n * depth)
    else:
        edges = 0
    for l in range(depth):
        weights = 0
        for i in range(stages.n):
            weights += weights_of(stages + l, i)
        total += 2 * k * weights * reach * (k + 1 + edges / n * reach / n)
    return passes * total
