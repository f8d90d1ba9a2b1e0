"""Estimators that are written in Python, as the engine calls them when they watch a session.

They are those of `rtrl.reference`, or classes with the methods of `rtrl.reference.Estimator`: one object a lane, all arrays
float64, the weights of a record those of the present moment (see `rtrl.reference.Record`).
"""

import numpy as np

from rtrl.estimators import Estimator as Spec
from rtrl.reference import Metric, Record

__all__ = ["Lanes"]

_METHODS = ("begin", "reset", "observe", "redirect", "feedback", "gradient")


class Lanes:
    """One estimator for each lane of a session, made by a factory.

    Parameters
    ----------
    factory : callable
        Makes the estimator of one lane, as for `rtrl.reference.Learner`.
    session : Session
        What they watch.

    Raises
    ------
    TypeError, ValueError
        If the factory does not make such estimators.

    Attributes
    ----------
    fresh : bool
        Whether they observe a step when it is over.
    failure : BaseException or None
        What one of them raised; they were not called any more.
    """

    def __init__(self, factory, session):
        network, lanes = session.network, session.batch_size
        shapes = network._layout.cell_shapes
        width = network.compiled_cell().k * network.cell.hidden
        self.failure = None
        self._seed, self._hidden = session.seed, network.cell.hidden
        self._views = [network.parameters()[name] for name in shapes]
        self._weights = [np.array(view, float) for view in self._views]
        self._estimators = [_made(factory) for _ in range(lanes)]
        if len(set(map(id, self._estimators))) < lanes:
            raise ValueError("estimator must make a new object at every call, one for each lane; it gave the same one again")
        self.fresh = self._estimators[0].fresh
        self._gone = [True] * lanes  # there is no step that could be credited, because of a reset or because none has come yet
        masks = [mask for name, mask in network.masks().items() if name in shapes]
        for estimator in self._estimators:
            estimator.masks, estimator.metrics = masks, _metrics(session)
            estimator.begin([(width, *shape) for shape in shapes.values()])
        self.gradient()

    def observe(self, steps, signs):
        """Take in a step: (D, E, h_hat) of every stage for every lane; `signs(lane, stage, count)` gives its signs."""
        for lane, (estimator, records) in enumerate(zip(self._estimators, self._records(steps))):
            estimator.observe(records, lambda stage, count, lane=lane: signs(lane, stage, count))
        self._gone = [False] * len(steps)

    def credit(self, steps, deltas, errors):
        """Credit the current step with deltas [B, kn], and the errors [B, outputs] of the readout if they come from there.

        `steps` are those of a step that the estimators have not observed yet, otherwise None.
        """
        n = self._hidden
        records = [None] * len(deltas) if steps is None else self._records(steps)
        if steps is None:
            self._refresh()
        for lane, (estimator, delta) in enumerate(zip(self._estimators, deltas)):
            if errors is not None:
                delta[:n] = estimator.redirect(self._seed, errors[lane], delta[:n])
            if steps is not None or not self._gone[lane]:
                estimator.feedback(records[lane], delta)

    def gradient(self):
        """The sum over lanes of everything credited since the last call, list of [rn, m]."""
        self._refresh()
        totals = [np.zeros_like(W) for W in self._weights]
        for estimator in self._estimators:
            given = estimator.gradient()
            shapes, expected = [np.shape(gradient) for gradient in given], [total.shape for total in totals]
            if shapes != expected:
                raise ValueError(f"gradient of {type(estimator).__name__} must give arrays of shapes {expected}; got {shapes}")
            for total, gradient in zip(totals, given):
                total += gradient
        return totals

    def reset(self, lane):
        """A lane starts afresh."""
        self._estimators[lane].reset()
        self._gone[lane] = True

    def _refresh(self):
        """The weights are those of the moment, also in records of the past, as they are for the engine."""
        for W, view in zip(self._weights, self._views):
            W[...] = view

    def _records(self, steps):
        self._refresh()
        return [[Record(W, *record) for W, record in zip(self._weights, step)] for step in steps]


class _Metric(Metric):
    """The metric of one stage, read from the memory of a session's optimizer."""

    def __init__(self, inverse, slope):
        self.inverse, self.slope = inverse, np.zeros_like(inverse) if slope is None else slope
        self.inverse.flags.writeable = self.slope.flags.writeable = False


def _metrics(session):
    """Metrics of the stages, if the optimizer keeps any."""
    layout, arrays = session.network._layout, session._arrays
    if "optimizer.inverse" not in arrays:
        return None
    inverse, slope = (layout.views(arrays[name]) if name in arrays else {} for name in ("optimizer.inverse", "optimizer.slope"))
    return [_Metric(inverse[name], slope.get(name)) for name in layout.cell_shapes]


def _made(factory):
    """What a factory makes, checked."""
    expected = "a class such as rtrl.reference.KFRTRL, or a function without arguments that makes such an estimator"
    if not callable(factory):
        raise TypeError(f"estimator must be a spec such as rtrl.RTRL(), {expected}; got {factory!r}")
    if isinstance(factory, type) and issubclass(factory, Spec):
        raise TypeError(f"estimator must be an object, such as rtrl.RTRL(), not the class; got {factory!r}")
    made = factory()
    missing = [name for name in _METHODS if not callable(getattr(made, name, None))]
    if missing or isinstance(made, type):
        raise TypeError(
            f"estimator must be {expected}; got {made!r} from {factory!r}, which has no {', '.join(missing) or 'self'} "
            "(see rtrl.reference.Estimator)"
        )
    if not isinstance(getattr(made, "fresh", None), bool):
        raise TypeError(f"fresh of {made!r} must be True or False: does it observe a step after it is credited?")
    return made
