"""Strings in which what comes next depends on what came long before."""

import numpy as np

from rtrl._spec import integer
from rtrl.readouts import Softmax
from rtrl.tasks.streams import Sequences

__all__ = ["Anbn", "Brackets", "Recall"]


class _Strings(Sequences):
    """Next-character prediction on strings that all start with the same character, with nothing between them.

    Attributes
    ----------
    vocabulary : str
        Character of each id.
    """

    vocabulary: str

    def __init__(self, batch_size, seed):
        super().__init__(batch_size, seed)
        self.inputs, self.readout = len(self.vocabulary), Softmax(len(self.vocabulary))

    def draw(self, generator):
        string = np.asarray(self.string(generator))
        return string, np.append(string[1:], string[0])

    def string(self, generator):
        """Ids of a random string."""
        raise NotImplementedError


class Anbn(_Strings):
    """a^k newline b^k newline with k uniform on {low .. high} (Tallec and Ollivier 2018, arXiv:1702.05043).

    Parameters
    ----------
    low, high : int
        Limits of k.
    batch_size, seed : int
        As for every stream.
    """

    vocabulary = "ab\n"

    def __init__(self, low=1, high=32, batch_size=1, seed=0):
        self.low = integer("low", low)
        self.high = integer("high", high, least=self.low)
        super().__init__(batch_size, seed)

    def string(self, generator):
        count = generator.integers(self.low, self.high + 1)
        return np.concatenate([np.zeros(count, int), [2], np.ones(count, int), [2]])

    @property
    def floor(self):
        """Entropy of a string per character, in bits, for one who knows the grammar: nothing less can be reached."""
        counts = np.arange(self.low, self.high + 1)
        return float(np.log2(len(counts)) / np.mean(2 * counts + 2))


class Brackets(_Strings):
    """Distant brackets: "[" s letters "]" k other letters "[" the same s letters "]" newline (arXiv:1702.05043).

    From the input of a letter to the loss of its repetition are s + k + 1 steps.

    Parameters
    ----------
    s, k, a : int
        Letters in brackets, letters between them, and size of the alphabet.
    batch_size, seed : int
        As for every stream.
    """

    def __init__(self, s=1, k=5, a=10, batch_size=1, seed=0):
        self.s, self.k, self.a = integer("s", s), integer("k", k, least=0), integer("a", a, most=26)
        self.vocabulary = "[]\n" + "abcdefghijklmnopqrstuvwxyz"[:a]
        super().__init__(batch_size, seed)

    def string(self, generator):
        letters = 3 + generator.integers(0, self.a, self.s + self.k)
        inside, between = letters[: self.s], letters[self.s :]
        return np.concatenate([[0], inside, [1], between, [0], inside, [1, 2]])

    @property
    def length(self):
        """Characters of a string."""
        return 2 * self.s + self.k + 5

    @property
    def answers(self):
        """Places in a string, from 0, whose targets are the repeated letters."""
        return np.arange(self.s + self.k + 2, 2 * self.s + self.k + 2)

    @property
    def floor(self):
        """Entropy of a string per character, in bits."""
        return float((self.s + self.k) * np.log2(self.a) / self.length)


class Recall(Sequences):
    """Name the marked symbol after a gap of other symbols of the same alphabet; nothing else has a loss.

    A string is the cue (one of `symbols` ids that are marked), `gap` random distractors (the same symbols, not marked), and a
    question.  The only target is the symbol of the cue, at the question, `gap` + 1 steps after the cue.  Lanes never start
    anew: nothing but the next cue tells that a string has ended.

    Parameters
    ----------
    symbols : int
        Different symbols.
    gap : int
        Distractors between cue and question.
    batch_size, seed : int
        As for every stream.
    """

    def __init__(self, symbols=4, gap=4, batch_size=1, seed=0):
        self.symbols, self.gap = integer("symbols", symbols, least=2), integer("gap", gap, least=0)
        self.inputs, self.readout = 2 * symbols + 1, Softmax(symbols)
        super().__init__(batch_size, seed)

    def draw(self, generator):
        cue, *others = generator.integers(0, self.symbols, 1 + self.gap)
        xs = np.concatenate([[cue], self.symbols + np.array(others, int), [2 * self.symbols]])
        ys = np.full(len(xs), -1)
        ys[-1] = cue
        return xs, ys
