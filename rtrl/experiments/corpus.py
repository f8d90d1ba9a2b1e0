"""Texts to learn, to hold out and to test with, as ids of one alphabet.

What a character is:

text      a character of UTF-8
bytes     a byte of the file
mikolov   lines without the spaces at their ends, " " as "_", one symbol for the end of a line, "<unk>" as five characters: what
          Mikolov et al. 2012, "Subword language modeling with neural networks", made of the Penn Treebank
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from rtrl import data

__all__ = ["CONVENTIONS", "Corpus", "read"]

CONVENTIONS = ("text", "mikolov", "bytes")
_HELD_OUT = 10  # one part of so many, where no file is given


@dataclass(frozen=True, eq=False)
class Corpus:
    """Ids [characters] of three texts; `test` may be None."""

    train: np.ndarray
    valid: np.ndarray
    test: np.ndarray | None
    classes: int

    @property
    def digest(self):
        """A few letters that tell these texts from others."""
        found = hashlib.blake2b(digest_size=8)
        for each in (self.train, self.valid, self.test):
            found.update(b"" if each is None else each.tobytes())
            found.update(b"|")
        return found.hexdigest()


def read(convention, text=None, valid=None, test=None):
    """Read texts.

    Parameters
    ----------
    convention : str
        One of `CONVENTIONS`.
    text, valid, test : path-like or None
        Files; without `text` the help text that comes with Python, without `valid` the last tenth of the text is held out.

    Returns
    -------
    Corpus

    Raises
    ------
    OSError, ValueError
        As `rtrl.data.read_text` and `rtrl.data.default_text`.
    """
    if text is None and (valid is not None or test is not None):
        raise ValueError("a text to hold out or to test with needs one to learn: --text")
    texts = [data.default_text() if text is None else _characters(convention, text)]
    texts += [_characters(convention, each) for each in (valid, test) if each is not None]
    ids, vocabulary = data.encode("".join(texts))
    *cut, end = np.cumsum([len(each) for each in texts])
    parts = np.split(ids, cut)
    if valid is None:
        held = len(parts[0]) // _HELD_OUT
        parts[:1] = [parts[0][:-held], parts[0][-held:]]
    return Corpus(parts[0], parts[1], parts[2] if test is not None else None, len(vocabulary))


def _characters(convention, path):
    """A file as a string of characters."""
    text = data.read_text(path, raw=convention == "bytes")
    if convention != "mikolov":
        return text
    return "".join(each.strip().replace(" ", "_") + "\n" for each in text.removesuffix("\n").split("\n"))
