"""Online training of recurrent networks: real-time recurrent learning and its affordable approximations."""

from rtrl.cells import GRU, LSTM, RHN, RNN
from rtrl.estimators import KFRTRL, RTRL, TBPTT, UORO, Immediate
from rtrl.info import __version__, random_signs, show_config
from rtrl.network import Network
from rtrl.optimizers import SGD, Adam, RMSprop
from rtrl.readouts import Bernoulli, Linear, Softmax
from rtrl.session import Session

__all__ = [
    "GRU",
    "KFRTRL",
    "LSTM",
    "RHN",
    "RNN",
    "RTRL",
    "SGD",
    "TBPTT",
    "UORO",
    "Adam",
    "Bernoulli",
    "Immediate",
    "Linear",
    "Network",
    "RMSprop",
    "Session",
    "Softmax",
    "__version__",
    "random_signs",
    "show_config",
]
