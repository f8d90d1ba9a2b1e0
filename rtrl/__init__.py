"""Online training of recurrent networks: real-time recurrent learning and its affordable approximations."""

from rtrl.cells import GRU, LSTM, RHN, RNN
from rtrl.estimators import DNI, KFRTRL, OK, RFLO, RTRL, TBPTT, UORO, BlockOK, Immediate, KeRNL, NoBackTrack, ReversedKFRTRL, SnAp
from rtrl.info import __version__, random_signs, show_config
from rtrl.network import Network
from rtrl.optimizers import SGD, Adam, Kalman, RMSprop
from rtrl.readouts import Bernoulli, Linear, Softmax
from rtrl.session import Session

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
