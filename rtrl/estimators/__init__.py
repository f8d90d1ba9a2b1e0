"""Estimators of the gradient: how the influence of the weights on the state is carried forward.

Exact real-time recurrent learning keeps G = d s / d W, with G <- H G + F at every step, and the
gradient of a loss is delta G, delta = d loss / d s.  The others keep something cheaper.  `kind` says
what the result is: "exact", "unbiased" (right on average) or "biased".

`fresh` estimators form the gradient of step t as (delta H) G + delta F from G before the step was taken in,
so the newest step is exact and the noise is smaller, at no cost.  Times and memory below are for one lane and one stage; with
L stages, memory grows with L, and the times of forward estimators with L^2.
"""

from rtrl._spec import made_spec
from rtrl.estimators.base import RTRL, Estimator
from rtrl.estimators.biased import DNI, RFLO, TBPTT, Immediate, KeRNL, SnAp
from rtrl.estimators.unbiased import KFRTRL, OK, UORO, BlockOK, NoBackTrack, ReversedKFRTRL

__all__ = [
    "DNI",
    "OK",
    "BlockOK",
    "KFRTRL",
    "RFLO",
    "RTRL",
    "TBPTT",
    "UORO",
    "Estimator",
    "Immediate",
    "KeRNL",
    "NoBackTrack",
    "ReversedKFRTRL",
    "SnAp",
]


def __getattr__(name):
    spec = globals()[name] = made_spec(Estimator, name)
    return spec
