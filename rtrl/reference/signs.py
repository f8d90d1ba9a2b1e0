"""Counter-based random signs: a pure function of (seed, step, lane, stage, index).

    mix(z):  z ^= z >> 30 ; z *= 0xBF58476D1CE4E5B9 ; z ^= z >> 27 ; z *= 0x94D049BB133111EB ; z ^= z >> 31   (1)
    key    = mix(mix(mix(mix(seed + G) + step + G) + lane + G) + stage + G)                                   (2)
    word j = mix(key + (j + 1) G)                                                                             (3)
    sign i = +1 if bit i % 64 of word i // 64 is set, otherwise -1                                            (4)

with G = 0x9E3779B97F4A7C15 and every sum and product modulo 2**64: (1) and (3) are SplitMix64.

No generator is advanced, so results depend neither on the order of the lanes nor on the number of threads, a
checkpoint needs the step number only, and any run can be replayed sign for sign.

Cost: one word per 64 signs, no state.
Source: Steele, Lea, Flood, "Fast splittable pseudorandom number generators" (OOPSLA 2014), doi:10.1145/2660193.2660195.
"""

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
WORD = 2**64 - 1


def mix(z):
    """Finaliser of SplitMix64, equation (1), on a Python integer below 2**64."""
    z ^= z >> 30
    z = z * 0xBF58476D1CE4E5B9 & WORD
    z ^= z >> 27
    z = z * 0x94D049BB133111EB & WORD
    return z ^ z >> 31


def key(seed, step, lane, stage):
    """Key of one (step, lane, stage), equation (2); arguments are taken modulo 2**64."""
    state = mix(seed + GOLDEN & WORD)
    for counter in (step, lane, stage):
        state = mix(state + counter + GOLDEN & WORD)
    return state


def random_signs(seed, step, lane, stage, count):
    """The fair signs of one stage of one lane at one time step.

    Parameters
    ----------
    seed : int
        Seed of the session.
    step : int
        Time steps since the session began, from 0. A reset of the lane does not set it back.
    lane, stage : int
        Which stream of the batch, which stage of the cell.
    count : int
        Number of signs. A shorter request returns a prefix of a longer one.

    Returns
    -------
    ndarray of int8 [count]
        Entries +1 and -1.
    """
    start = key(int(seed), int(step), int(lane), int(stage))
    words = [mix(start + (j + 1) * GOLDEN & WORD) for j in range(-(-count // 64))]
    bits = [words[i // 64] >> i % 64 & 1 for i in range(count)]
    return np.array([1 if bit else -1 for bit in bits], dtype=np.int8)
