"""What is learned: predict the next character of a text, or the next value of a series."""

from dataclasses import dataclass

import numpy as np

from rtrl import data
from rtrl.readouts import Linear, Softmax

__all__ = ["Task"]


@dataclass(frozen=True, eq=False)
class Task:
    """One stream, and how a network meets it.

    Attributes
    ----------
    name : str
        Where the stream comes from.
    stream : ndarray [N]
        Ids (int32) of a text, or numbers (float64) of a series, standardised.
    classes : int
        Different characters; 0 for a series.
    """

    name: str
    stream: np.ndarray
    classes: int

    @classmethod
    def of_text(cls, path=None):
        """A text file, or the default text; errors as `rtrl.data.read_text`."""
        text = data.default_text() if path is None else data.read_text(path)
        ids, vocabulary = data.encode(text)
        return cls("help topics of Python's pydoc" if path is None else str(path), ids, len(vocabulary))

    @classmethod
    def of_series(cls, path, column=None):
        """One column of a CSV file; errors as `rtrl.data.read_series`."""
        return cls(str(path) + ("" if column is None else f", column {column}"), data.read_series(path, column), 0)

    @property
    def inputs(self):
        """Width of the network's input."""
        return self.classes or 1

    @property
    def readout(self):
        """Readout and loss."""
        return Softmax(self.classes) if self.classes else Linear(1)

    @property
    def score_name(self):
        """Unit of `score`."""
        return "bits/char" if self.classes else "MSE/variance"

    def score(self, losses):
        """Mean loss in bits per character, or the mean squared error in units of the series' variance."""
        # The loss of a Linear readout is half the squared error, and a standardised series has variance 1.
        return float(np.mean(losses)) * (1 / np.log(2) if self.classes else 2)

    def batch(self, lanes, steps, first=0):
        """Inputs and targets of `steps` steps from step `first` on, as `Session.run` takes them."""
        xs, ys = data.lanes(self.stream, lanes, steps, first)
        return (xs, ys) if self.classes else (xs[..., None], ys[..., None])

    def references(self, xs, ys):
        """Scores of predictors that do not learn, on the same targets, by name."""
        if self.classes:
            counts = np.bincount(ys.ravel())
            shares = counts[counts > 0] / ys.size
            return {"unigram entropy of the scored characters": float(-(shares * np.log2(shares)).sum())}
        return {"predicting the last value": float(np.mean((ys - xs) ** 2)), "predicting the mean": float(np.mean(ys**2))}
