"""Methods as text, ESTIMATOR + OPTIMIZER: `TBPTT(5, sliding=True) + Adam`, `scrambled KFRTRL + Adam`."""

import argparse
import re
from dataclasses import dataclass

from rtrl.comparison.specs import parse, split
from rtrl.estimators import Estimator
from rtrl.optimizers import Optimizer

__all__ = ["DEFAULTS", "Method", "methods"]

_FILTER = "Kalman('quasi-diagonal', prior=0.01)"
DEFAULTS = (
    "TBPTT(1) + Adam",
    "TBPTT(5, sliding=True) + Adam",
    "TBPTT(15, sliding=True) + Adam",
    "RTRL + Adam",
    f"TBPTT(5, sliding=True) + {_FILTER}",
    f"TBPTT(15, sliding=True) + {_FILTER}",
    f"RTRL + {_FILTER}",
    "NoBackTrack('kalman') + Kalman",
    "NoBackTrack('kalman') + Kalman(fisher='exact')",
    f"NoBackTrack('kalman') + {_FILTER}",
    "NoBackTrack('kalman') + Kalman('quasi-diagonal', 'exact')",
    f"scrambled NoBackTrack('kalman') + {_FILTER}",
    "NoBackTrack + SGD",
    "NoBackTrack + Adam",
    "UORO + Adam",
    "KFRTRL + Adam",
    "scrambled KFRTRL + Adam",
    "BlockOK(4, 8) + Adam",
    f"KFRTRL + {_FILTER}",
    f"BlockOK(4, 8) + {_FILTER}",
)
_SCRAMBLED = "scrambled "


@dataclass(frozen=True)
class Method:
    """Where gradients come from, and what is done with them.

    Attributes
    ----------
    estimator : rtrl.estimators.Estimator
        Where they come from.
    optimizer : str
        Name of the optimizer, with its options, but without a learning rate.
    scrambled : bool
        Whether all but the newest step's part of each gradient gets a random sign: the control that has the size of the
        method's gradients, and learns nothing over more than one step.
    """

    estimator: Estimator
    optimizer: str
    scrambled: bool = False

    @classmethod
    def parse(cls, text):
        """The method that a text describes.

        Raises
        ------
        ValueError
            If it describes none; the message says why.
        """
        words = text.strip()
        scrambled = words.startswith(_SCRAMBLED)
        parts = words.removeprefix(_SCRAMBLED).split("+")
        if len(parts) != 2:
            raise ValueError(f"{text.strip()!r} is no method, such as KFRTRL + Adam")
        if re.search(r"\blr\s*=", parts[1]):
            raise ValueError(f"{text.strip()!r}: learning rates are given by --lr-scale")
        estimator, optimizer = parse(parts[0], Estimator), _optimizer(parts[1])
        if scrambled and getattr(optimizer, "fisher", "outer") != "outer":
            raise ValueError(f"{text.strip()!r}: the control has its changed gradients alone, so it needs fisher='outer'")
        if getattr(estimator, "metric", "") == "kalman" and type(optimizer).__name__ != "Kalman":
            raise ValueError(f"{text.strip()!r}: this estimator needs the metric of Kalman")
        return cls(estimator, str(optimizer).replace("(1.0, ", "(", 1).replace("(1.0)", "", 1), scrambled)

    def __str__(self):
        return f"{_SCRAMBLED * self.scrambled}{self.estimator} + {self.optimizer}"

    @property
    def family(self):
        """Name of the optimizer alone."""
        return self.optimizer.partition("(")[0]

    def made_optimizer(self, lr, clip_norm=None):
        """The optimizer with a learning rate, and a largest norm of gradients unless it has one or a trust region."""
        made = _optimizer(self.optimizer)
        own = made.clip_norm is not None or hasattr(made, "trust")
        return made.replace(lr=lr, clip_norm=made.clip_norm if own else clip_norm)


def methods(text):
    """Methods separated by commas, those inside parentheses apart, each once, as the texts that they are known by."""
    parts = [part for part in split(text) if part.strip()]
    try:
        found = tuple(dict.fromkeys(str(Method.parse(part)) for part in parts))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if not found:
        raise argparse.ArgumentTypeError("at least one method is needed")
    return found


def _optimizer(text):
    """The optimizer of a text that says everything but the learning rate, which comes first, and is 1."""
    name, parenthesis, options = text.strip().partition("(")
    return parse(f"{name}(1.0, {options}" if parenthesis else f"{name}(1.0)", Optimizer)
