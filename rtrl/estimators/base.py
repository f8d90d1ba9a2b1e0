"""What all estimators are, and the one that is exact."""

from dataclasses import dataclass
from typing import ClassVar

from rtrl._spec import Spec, flag, option

__all__ = ["RTRL", "Estimator"]


class Estimator(Spec):
    """Base of all estimators."""

    _family = "estimators"
    kind: ClassVar[str]

    def check(self, network):
        """Refuse a network that this estimator cannot serve, before anything is allocated.

        Raises
        ------
        ValueError
            Saying why, and what would do.
        """

    def suited(self, network, lanes):
        """This estimator, with options that were left open chosen for the sizes of a network and the number of lanes."""
        return self


@dataclass(frozen=True)
class RTRL(Estimator):
    """Exact real-time recurrent learning (Williams and Zipser 1989, doi:10.1162/neco.1989.1.2.270).

    Time 2 k n^2 r n m a step, lane and stage; memory k n r n m.

    Parameters
    ----------
    fresh : bool
        See the module; for this estimator it only changes rounding.
    """

    fresh: bool = option(flag, True, kw_only=True)
    kind: ClassVar[str] = "exact"
