# Floor 0: what this processor can run, and whether the build has OpenMP.
cdef extern from *:
    """
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
    """
    int rtrl_avx2()
    int rtrl_avx512()


def supported_levels():
    """CPU levels that this processor can run, slowest first."""
    return ["baseline"] + (["avx2"] if rtrl_avx2() else []) + (["avx512"] if rtrl_avx512() else [])
