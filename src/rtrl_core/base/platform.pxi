# Floor 0: what Cython needs to know of platform.h, simd.h, tiles.h and signs.h.
from libc.stdint cimport int8_t, int32_t, int64_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset
from libc.math cimport ceil, exp, isfinite, log1p, sqrt, INFINITY, NAN
from cython.parallel cimport parallel

cdef extern from "platform.h" nogil:
    ctypedef float real          # float or double: the C compiler sees the typedef of platform.h, so a Python
                                 # number must come through <double> or it is rounded to float on the way
    const int RTRL_WIDTH
    const int RTRL_ALIGN
    const int RTRL_OPENMP
    const long PANEL
    real real_sqrt(real x)
    uint64_t work_begins()
    void work_ends(uint64_t mode)
    ctypedef struct Barrier:
        pass
    ctypedef struct Team:
        int rank
        int size
        Barrier *barrier
    Team team_here(Barrier *barrier)
    void team_barrier(Team team)
    long team_first(Team team, long count)
    long team_last(Team team, long count)

cdef extern from "simd.h" nogil:
    const long VEC

cdef extern from "tiles.h" nogil:
    long tiles_reals(long rows, long inner)
    long tiles_step(long inner)
    void tiles_fill(long rows, long inner, long first, long last, const real *A, long lda, real *room)
    void tiles_product(long rows, long inner, const real *left, const real *panel, real *out, long ldo, int accumulate, const real *next)

cdef extern from "signs.h" nogil:
    uint64_t signs_key(uint64_t seed, uint64_t step, uint64_t lane, uint64_t stage)
    uint64_t signs_word(uint64_t key, uint64_t block)
    void signs_fill(uint64_t key, long count, real *out)

# Units are handed to threads in groups of 16, so that a vector loop has its remainder at the same
# place for every thread count.
cdef enum:
    UNIT_GROUP = 16


cdef inline long unit_first(Team team, long n) noexcept nogil:
    return min(n, UNIT_GROUP * team_first(team, (n + UNIT_GROUP - 1) // UNIT_GROUP))


cdef inline long unit_last(Team team, long n) noexcept nogil:
    return min(n, UNIT_GROUP * team_last(team, (n + UNIT_GROUP - 1) // UNIT_GROUP))


cdef inline Team nobody_else() noexcept nogil:
    cdef Team team
    team.rank, team.size, team.barrier = 0, 1, NULL
    return team


cdef struct Share:
    long first      # lanes [first, last) are this thread's ...
    long last
    Team team       # ... and this team works on each of them together


cdef inline Share share_lanes(Team team, long lanes) noexcept nogil:
    """Whole lanes to each thread where there are enough, otherwise all threads on every lane."""
    cdef Share share
    if lanes >= team.size:
        share.first, share.last = team_first(team, lanes), team_last(team, lanes)
        share.team = nobody_else()
    else:
        share.first, share.last = 0, lanes
        share.team = team
    return share
