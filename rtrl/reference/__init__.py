"""The executable specification of rtrl in plain NumPy.

Every formula of the compiled engine stands here once more, written to be read; the engine is tested against it sign
for sign. It imports nothing but NumPy and is not meant to be fast.

    records      (W, D, E, h_hat), the waist between cells and estimators, and the Jacobian products
    cells        RNN, GRU, LSTM, RHN
    estimators   RTRL, UORO, Immediate
    kronecker    KFRTRL
    optimal      OK, BlockOK
    local        SnAp, RFLO
    learned      KeRNL, DNI
    nobacktrack  NoBackTrack
    reversed     ReversedKFRTRL
    truncated    TBPTT, bptt, complex_step_gradient
    signs        the counter-based random signs
    readouts     Softmax, Linear, Bernoulli
    optimizers   SGD, RMSprop, Adam
    kalman       Kalman, Metric
    learner      the clock of a time step
"""

from .cells import GRU, LSTM, RHN, RNN, Cell
from .estimators import RTRL, UORO, Estimator, Immediate, balance
from .kalman import Kalman, Metric
from .kronecker import KFRTRL
from .learned import DNI, KeRNL
from .learner import Learner
from .local import RFLO, SnAp, feedback_weights, reachable
from .nobacktrack import NoBackTrack
from .optimal import OK, BlockOK
from .optimizers import SGD, Adam, Optimizer, RMSprop, clip_by_norm
from .readouts import Bernoulli, Linear, Readout, Softmax
from .records import Record, backward, dense_D, immediate, immediate_gradient, jacobian, pull, push
from .reversed import ReversedKFRTRL
from .signs import random_signs
from .truncated import TBPTT, bptt, complex_step_gradient

__all__ = [
    "GRU",
    "LSTM",
    "RHN",
    "RNN",
    "Cell",
    "KFRTRL",
    "RTRL",
    "TBPTT",
    "UORO",
    "Estimator",
    "Immediate",
    "OK",
    "BlockOK",
    "NoBackTrack",
    "ReversedKFRTRL",
    "Bernoulli",
    "Linear",
    "Readout",
    "Softmax",
    "SGD",
    "Adam",
    "Kalman",
    "Metric",
    "Optimizer",
    "RMSprop",
    "clip_by_norm",
    "DNI",
    "KeRNL",
    "RFLO",
    "SnAp",
    "feedback_weights",
    "reachable",
    "Learner",
    "random_signs",
    "balance",
    "Record",
    "backward",
    "dense_D",
    "immediate",
    "immediate_gradient",
    "jacobian",
    "pull",
    "push",
    "bptt",
    "complex_step_gradient",
]
