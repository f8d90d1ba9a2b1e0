# Floor 0: what this processor can run.
cdef extern from "cpu.h":
    int rtrl_avx2()
    int rtrl_avx512()
    int rtrl_amx()


def supported_levels():
    """CPU levels that this processor can run, slowest first."""
    levels = {"baseline": True, "avx2": rtrl_avx2(), "avx512": rtrl_avx512(), "amx": rtrl_amx()}
    return [level for level, runs in levels.items() if runs]
