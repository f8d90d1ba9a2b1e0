"""Recurrent cells: what a time step computes.

A cell is a chain of stages, each pointwise in its units.  With pre-activations z = W h_hat [r*n],
extended input h_hat = [h ; x ; 1] [m] and state s [k*n] (hidden units first), a stage computes
s' = phi(z, s).  Weights are [r*n, m], rows map-major; see docs/notation.md.
"""

from dataclasses import dataclass

from rtrl._spec import Spec, choice, fraction, integer, made_spec, option

__all__ = ["GRU", "LSTM", "RHN", "RNN", "Cell"]

_UNITS = 2**20


def _hidden(name, value):
    return integer(name, value, most=_UNITS)


class Cell(Spec):
    """Base of all cells."""

    _family = "cells"
    hidden: int


@dataclass(frozen=True)
class RNN(Cell):
    """Elman network: s' = (1 - leak) s + leak f(W h_hat).

    Parameters
    ----------
    hidden : int
        Units, n.
    nonlinearity : {"tanh", "relu", "identity"}
        f; with "identity", f(z) = z, the network is linear.
    leak : float
        Share of the new value, in (0, 1].
    """

    hidden: int = option(_hidden)
    nonlinearity: str = option(choice("tanh", "relu", "identity"), "tanh")
    leak: float = option(fraction, 1.0)


@dataclass(frozen=True)
class GRU(Cell):
    """Gated recurrent unit (Cho et al. 2014, arXiv:1406.1078) in the PyTorch form.

    Maps of W in order: R, Z, N_in (reads x and 1), N_hid (reads h and 1);
    s' = (1 - sig Z) tanh(N_in + sig(R) N_hid) + sig(Z) s.  The columns that a map does not read are 0 and must stay 0.
    From PyTorch's weights of a GRU with n units:

        W = network.parameters()["cell.0.weight"].reshape(4, n, -1)
        W[[0, 1, 2], :, n:-1] = weight_ih.reshape(3, n, -1)
        W[[0, 1, 3], :, :n] = weight_hh.reshape(3, n, n)
        W[:, :, -1] = 0
        W[[0, 1, 2], :, -1] += bias_ih.reshape(3, n)
        W[[0, 1, 3], :, -1] += bias_hh.reshape(3, n)

    Parameters
    ----------
    hidden : int
        Units, n.
    """

    hidden: int = option(_hidden)


@dataclass(frozen=True)
class LSTM(Cell):
    """Long short-term memory (Hochreiter and Schmidhuber 1997, doi:10.1162/neco.1997.9.8.1735), PyTorch form.

    Maps of W in order: i, f, g, o; the state is (h, c).

    Parameters
    ----------
    hidden : int
        Units, n.
    """

    hidden: int = option(_hidden)


@dataclass(frozen=True)
class RHN(Cell):
    """Recurrent highway network with coupled gates (Zilly et al. 2017, arXiv:1607.03474).

    Each of `depth` stages computes s' = s + sig(z1) (tanh(z0) - s); x enters the first.

    Parameters
    ----------
    hidden : int
        Units, n.
    depth : int
        Stages in one time step.
    """

    hidden: int = option(_hidden)
    depth: int = option(lambda name, value: integer(name, value, most=64), 1)


def __getattr__(name):
    spec = globals()[name] = made_spec(Cell, name)
    return spec
