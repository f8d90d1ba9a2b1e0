"""Readouts: outputs z = V [h ; 1] and the loss between them and a target, in nats."""

from dataclasses import dataclass

from rtrl._spec import Spec, integer, made_spec, option

__all__ = ["Bernoulli", "Linear", "Readout", "Softmax"]


def _outputs(name, value):
    return integer(name, value, most=2**24)


class Readout(Spec):
    """Base of all readouts."""

    _family = "readouts"


@dataclass(frozen=True)
class Softmax(Readout):
    """Probabilities of classes, with cross-entropy.  Targets are ids [B]; -1 means no target.

    Parameters
    ----------
    classes : int
        Number of classes.
    """

    classes: int = option(_outputs)


@dataclass(frozen=True)
class Linear(Readout):
    """Real outputs, with half the squared error summed over outputs.  Targets [B, outputs]; NaN means no target.

    Parameters
    ----------
    outputs : int
        Number of outputs.
    """

    outputs: int = option(_outputs)


@dataclass(frozen=True)
class Bernoulli(Readout):
    """Probabilities of independent events, with cross-entropy summed over outputs.

    Targets [B, outputs] in [0, 1]; NaN means no target.

    Parameters
    ----------
    outputs : int
        Number of outputs.
    """

    outputs: int = option(_outputs)


def __getattr__(name):
    spec = globals()[name] = made_spec(Readout, name)
    return spec
