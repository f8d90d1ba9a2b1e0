"""Online training of recurrent networks: real-time recurrent learning and its affordable approximations."""

import importlib
from typing import TYPE_CHECKING

from rtrl.cells import GRU, LSTM, RHN, RNN
from rtrl.estimators import DNI, KFRTRL, OK, RFLO, RTRL, TBPTT, UORO, BlockOK, Immediate, KeRNL, NoBackTrack, ReversedKFRTRL, SnAp
from rtrl.info import __version__, random_signs, show_config
from rtrl.network import Network
from rtrl.optimizers import SGD, Adam, Kalman, RMSprop
from rtrl.readouts import Bernoulli, Linear, Softmax
from rtrl.session import Session

if TYPE_CHECKING:
    from rtrl import data as data
    from rtrl import experiments as experiments
    from rtrl import reference as reference
    from rtrl import tasks as tasks

__all__ = [
    "DNI",
    "OK",
    "BlockOK",
    "KeRNL",
    "NoBackTrack",
    "ReversedKFRTRL",
    "GRU",
    "KFRTRL",
    "LSTM",
    "RFLO",
    "RHN",
    "RNN",
    "RTRL",
    "SGD",
    "TBPTT",
    "UORO",
    "Adam",
    "Bernoulli",
    "Immediate",
    "Kalman",
    "Linear",
    "Network",
    "RMSprop",
    "Session",
    "SnAp",
    "Softmax",
    "__version__",
    "random_signs",
    "show_config",
]

_LATER = ("data", "experiments", "reference", "tasks")  # modules that are loaded when they are first asked for


def __getattr__(name):
    if name in _LATER:
        return importlib.import_module(f"rtrl.{name}")
    raise AttributeError(f"module 'rtrl' has no attribute {name!r}")


def __dir__():
    return sorted({*globals(), *_LATER})
