/* Floor 0: the barrier of a team, one for each session.
 *
 * OpenMP's own barrier spins for about a millisecond before it sleeps.  When another process, or a thread
 * of the same team, needs that core, every one of the several barriers of a time step costs a
 * millisecond: 10 to 100 times the step itself.  On Linux a thread here spins for about 0.1 ms, which
 * covers an ordinary imbalance, and then sleeps in the kernel until the last one arrives.
 */
#ifndef RTRL_BARRIER_H
#define RTRL_BARRIER_H

typedef struct Barrier {
    int waiting;    /* members that have arrived */
    unsigned phase; /* how often all have arrived; wraps in a stream that never ends */
    int sleepers;   /* members that wait in the kernel */
} Barrier;

#if defined(__linux__) && defined(_OPENMP) && defined(__GNUC__)
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RTRL_SPINS 2000

RTRL_INLINE void barrier_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#else
    __asm__ __volatile__("" ::: "memory");
#endif
}

RTRL_INLINE void barrier_wait(Barrier *barrier, int size) {
    unsigned phase = __atomic_load_n(&barrier->phase, __ATOMIC_ACQUIRE);
    if (__atomic_add_fetch(&barrier->waiting, 1, __ATOMIC_ACQ_REL) == size) {
        __atomic_store_n(&barrier->waiting, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&barrier->phase, phase + 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&barrier->sleepers, __ATOMIC_SEQ_CST))
            syscall(SYS_futex, &barrier->phase, FUTEX_WAKE_PRIVATE, size, NULL, NULL, 0);
        return;
    }
    for (int spin = 0; spin < RTRL_SPINS; spin++) {
        if (__atomic_load_n(&barrier->phase, __ATOMIC_ACQUIRE) != phase) return;
        barrier_pause();
    }
    __atomic_add_fetch(&barrier->sleepers, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&barrier->phase, __ATOMIC_SEQ_CST) == phase)
        syscall(SYS_futex, &barrier->phase, FUTEX_WAIT_PRIVATE, phase, NULL, NULL, 0);
    __atomic_sub_fetch(&barrier->sleepers, 1, __ATOMIC_SEQ_CST);
}
#else
RTRL_INLINE void barrier_wait(Barrier *barrier, int size) {
    (void)barrier;
    (void)size;
#ifdef _OPENMP
#pragma omp barrier
#endif
}
#endif

RTRL_INLINE void team_barrier(Team team) {
    if (team.size > 1) barrier_wait(team.barrier, team.size);
}

RTRL_INLINE Team team_here(Barrier *barrier) {
#ifdef _OPENMP
    Team team = {omp_get_thread_num(), omp_get_num_threads(), barrier};
#else
    Team team = {0, 1, barrier};
#endif
    return team;
}

#endif
