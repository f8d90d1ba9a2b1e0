"""What is compared with the rivals, and the ratios that we want (float32, one thread, medians in one run).

A case whose estimator this version does not have is left out.
"""

from dataclasses import dataclass, field, fields

import rtrl

__all__ = ["CASES", "DIRECT", "Case", "blocked"]


def blocked(block):
    """KF-RTRL in its time-blocked form, or None where there is none."""
    has = any(each.name == "block" for each in fields(rtrl.KFRTRL))
    return rtrl.KFRTRL(block=block) if has else None


DIRECT = blocked(1) or rtrl.KFRTRL()  # KF-RTRL step by step, which is what the rivals have


@dataclass(frozen=True)
class Case:
    """One algorithm at one size against several rivals.

    Attributes
    ----------
    ours : tuple of Estimator
        The first is what the rivals compute too; others are told by `repr`.
    targets : dict of (str, int) to float
        (rival, index of ours) -> least ratio; None: measured, but nothing was promised.
    steps : int
        Of one call; for TBPTT a multiple of the horizon.
    """

    cell: str
    hidden: int
    lanes: int
    ours: tuple
    targets: dict
    steps: int
    options: dict = field(default_factory=dict)


def _numpy(hidden, estimator, **options):
    options |= {"optimizer": rtrl.SGD(0.01), "ids": 10, "dtype": "float64"}
    return Case("RNN", hidden, 1, (estimator,), {("NumPy", 0): 20.0}, 500 if type(estimator) is not rtrl.RTRL else 100, options)


def _without_none(estimators):
    return tuple(each for each in estimators if each is not None)


_KF = _without_none((DIRECT, blocked(8)))
CASES = (
    Case("RHN", 256, 16, _KF, {("JAX", 0): 1.6, ("JAX", 1): 2.4, ("PyTorch", 0): 2.7, ("PyTorch", 1): 4.0}, 24),
    Case("RHN", 64, 1, _KF, {("JAX", 0): 4.0, ("JAX", 1): None, ("PyTorch", 0): None}, 200),
    Case("RHN", 64, 16, _KF, {("JAX", 0): 1.8, ("JAX", 1): None, ("PyTorch", 0): None}, 100),
    Case("RHN", 256, 16, (rtrl.UORO(),), {("JAX", 0): 3.0, ("PyTorch", 0): 8.0}, 25),
    Case("RHN", 64, 1, (rtrl.UORO(),), {("JAX", 0): 8.0, ("PyTorch", 0): None}, 200),
    Case("RHN", 256, 16, (rtrl.TBPTT(25),), {("JAX", 0): 2.3, ("PyTorch", 0): 4.0}, 100),
    Case("RHN", 64, 1, (rtrl.TBPTT(25),), {("JAX", 0): 1.5, ("PyTorch", 0): None}, 500),
    *(Case(cell, 256, 16, (rtrl.TBPTT(25),), {("PyTorch", 0): None}, 100) for cell in ("RNN", "GRU", "LSTM")),
    *(
        _numpy(hidden, estimator, **({"leak": 0.5} if type(estimator) is rtrl.RFLO else {}))
        for estimator in (rtrl.RTRL(), rtrl.UORO(), DIRECT, rtrl.RFLO())
        for hidden in (16, 32, 64)
    ),
)
