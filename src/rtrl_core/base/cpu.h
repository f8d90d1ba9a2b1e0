/* Floor 0: what this processor can run.  For the compiled core, and for setup.py, which builds the level of its own machine. */
#ifndef RTRL_CPU_H
#define RTRL_CPU_H

#if (defined(__GNUC__) || defined(__clang__)) && (defined(__x86_64__) || defined(__i386__))
static int rtrl_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int rtrl_avx512(void) {
    return rtrl_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq")
        && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
}
#else
static int rtrl_avx2(void) { return 0; }
static int rtrl_avx512(void) { return 0; }
#endif

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
/* AMX with bfloat16, and the system's leave to use its registers, which a process has to ask for once. */
static int rtrl_amx(void) {
    unsigned a, b, c, d, low, high;
    const unsigned tile_and_bf16 = 1u << 24 | 1u << 22, vector_bf16 = 1u << 5, tiles_kept = 3u << 17;
    if (!rtrl_avx512() || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & tile_and_bf16) != tile_and_bf16) return 0;
    if (!__get_cpuid_count(7, 1, &a, &b, &c, &d) || !(a & vector_bf16)) return 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & tiles_kept) == tiles_kept && syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* tiles */) == 0;
}
#else
static int rtrl_amx(void) { return 0; }
#endif

#endif
