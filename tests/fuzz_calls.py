"""Random calls of the whole public surface, valid and invalid, in a process that test_fuzz.py watches.

Hypothesis draws numbers; they stand for a method and for its arguments, most of them right and some of them odd.
After every call: only documented exceptions, nothing changed by a refused one; at the end the session still learns.
"""

import collections
import itertools
import json
import os
import sys
import warnings
import zlib

import numpy as np
from common import CELLS, ESTIMATORS, INPUTS, OPTIMIZERS, OUTPUTS, READOUTS
from fuzz_values import ODD
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rtrl

EXAMPLES, CALLS = 210, 50
NETS = [*CELLS.values(), rtrl.RNN(64)]  # the last one is large enough for a matrix unit
DOCUMENTED = (TypeError, ValueError, RuntimeError, MemoryError, OSError)
STATES = ("no readout", "needs", "no target", "finite")  # words of errors about the session, not about an argument
counts = collections.Counter()
os.chdir(sys.argv[1])  # odd names of files are names in there
log = os.open("log", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)


class Fuzzed:
    """One session and what may be asked of it; `draw` gives the next small number of the example (0 after its end)."""

    def __init__(self, numbers):
        self.numbers = itertools.chain(numbers, itertools.repeat(0))
        self.new(valid=True)

    def draw(self, count):
        return next(self.numbers) % count

    def pick(self, values):
        return list(values)[self.draw(len(values))]

    def maybe(self, valid):
        """The valid argument, or now and then something odd."""
        odd = self.draw(8) == 7
        self.odd = self.odd or odd
        return ODD[self.draw(len(ODD))] if odd else valid

    # What is right at the moment

    def x(self, *steps):
        lanes, rng = self.session.batch_size, np.random.default_rng(self.draw(256))
        size = [1, 1, 1e3, 1e30][self.draw(4)]
        if self.draw(2):
            return rng.integers(0, INPUTS, (*steps, lanes))
        return size * rng.normal(size=(*steps, lanes, INPUTS))

    def y(self, *steps):
        lanes, rng, readout = self.session.batch_size, np.random.default_rng(self.draw(256)), self.session.network.readout
        if isinstance(readout, rtrl.Softmax):
            return rng.integers(-1, OUTPUTS, (*steps, lanes))
        y = rng.random((*steps, lanes, OUTPUTS))
        return np.where(rng.random(y.shape) < 0.2, np.nan, y)

    def mask(self, *shape):
        return np.random.default_rng(self.draw(256)).random(shape) < 0.3

    def pairs(self):
        steps = 1 + self.draw(5)
        arguments = [self.maybe(self.x(steps)), self.maybe(self.y(steps))]
        return [*arguments, self.maybe(self.mask(steps, self.session.batch_size))] if self.draw(3) == 0 else arguments

    def gradients(self):
        scale = [1, 1e3, 1e300][self.draw(3)]
        good = {name: np.full(view.shape, scale) for name, view in self.session.network.parameters().items()}
        name = self.pick(good)
        return self.maybe({**good, name: self.maybe(good[name])})

    # What may be called

    def new(self, valid=False):
        maybe = (lambda value: value) if valid else self.maybe
        readouts = [*READOUTS.values(), *READOUTS.values(), None]
        net = rtrl.Network(
            maybe(self.pick(NETS)),
            maybe(INPUTS),
            maybe(self.pick(readouts)),
            dtype=maybe(self.pick(["float32", "float64"])),
            seed=maybe(self.draw(10)),
            weight_std=maybe(self.pick([None, 0.1, 3.0, 1e20])),
            input_std=maybe(self.pick([None, 0.1, 3.0, 1e20])),
        )
        made = rtrl.Session(
            net,
            maybe(self.pick(ESTIMATORS.values())),
            maybe(self.pick([*OPTIMIZERS.values(), rtrl.SGD(1e3), None])),
            batch_size=maybe(1 + self.draw(3)),
            seed=maybe(self.draw(10)),
            threads=maybe(self.pick([1, 1, 2, 3, None])),
            update_every=maybe(self.pick([None, 1, 5])),
            shadow=maybe(self.pick([None, None, rtrl.RTRL(), [rtrl.UORO(), rtrl.TBPTT(2)]])),
            influence_cap=maybe(self.pick([1e8, 1.0])),
        )
        # What is odd and right (one lane more, an input fewer) must not hide the arguments that fit.
        self.session = made if made.batch_size < 4 and net.inputs == INPUTS else self.session

    def step(self):
        self.session.step(self.maybe(self.x()), self.maybe(self.y()))

    def run(self):
        self.session.run(*self.pairs())

    def evaluate(self):
        self.session.evaluate(*self.pairs())

    def predict(self):
        self.session.predict(self.maybe(self.x()))

    def predict_run(self):
        self.session.predict_run(self.maybe(self.x(1 + self.draw(5))))

    def advance(self):
        self.session.advance(self.maybe(self.x()))

    def feedback(self):
        shape = self.session.batch_size, self.session.network.cell.hidden
        self.session.feedback(self.maybe(np.full(shape, [1, 1e30][self.draw(2)])))

    def gradient(self):
        gradient = self.session.gradient()
        if self.draw(2) and self.session.optimizer is not None:
            self.session.apply(gradient)

    def apply(self):
        self.session.apply(self.gradients())

    def reset(self):
        self.session.reset(self.maybe(self.mask(self.session.batch_size)))

    def look(self):
        assert self.session.steps == self.session.health()["steps"] and self.session.nbytes["total"] > 0
        assert self.session.hidden.shape == (self.session.batch_size, self.session.network.cell.hidden)
        repr(self.session)
        self.session.influence()

    def shadow(self):
        if len(self.session.shadows) < 3:
            self.session.shadow(self.maybe(self.pick(ESTIMATORS.values())))

    def weights(self):
        view = self.pick(self.session.network.parameters().values())
        view[...] = [view * 0.5, view * 2, -view, 1e20, 0][self.draw(5)]

    def save_and_load(self):
        self.session.save(self.maybe("session"))
        if os.path.exists("session"):
            options = {"threads": self.maybe(self.pick([1, 2])), "optimizer": self.maybe(None)}
            self.session = rtrl.Session.load(self.maybe("session"), **options)

    def load_foreign(self):
        self.pick([rtrl.Session, rtrl.Network]).load(self.maybe(self.pick(["network", "foreign", "none"])))

    def signs(self):
        rtrl.random_signs(*(self.maybe(self.draw(100)) for _ in range(5)))

    def spec(self):
        kind = self.pick([rtrl.RNN, rtrl.GRU, rtrl.RHN, rtrl.TBPTT, rtrl.UORO, rtrl.Softmax, rtrl.Adam, rtrl.SGD, rtrl.RMSprop])
        made = kind(*(ODD[self.draw(len(ODD))] for _ in range(self.draw(4))))
        assert eval(f"rtrl.{made!r}", {"rtrl": rtrl, "nan": np.nan}) == made if not callable(getattr(made, "lr", None)) else True

    METHODS = [
        "step",
        "run",
        "evaluate",
        "predict",
        "predict_run",
        "advance",
        "feedback",
        "gradient",
        "apply",
        "reset",
        "look",
        "shadow",
        "weights",
        "save_and_load",
        "load_foreign",
        "signs",
        "spec",
        "new",
        "step",
        "run",
        "advance",
        "feedback",
    ]

    def digest(self):
        """Everything that a call could have changed, as one number."""
        total = 0
        for array in (*self.session._arrays.values(), self.session.network._flat):
            total = zlib.crc32(array, total)
        return total

    def call(self):
        name, self.odd = self.pick(self.METHODS), False
        os.write(log, f"{name} {self.session!r}\n".encode())
        before, session = self.digest(), self.session
        try:
            getattr(self, name)()
        except DOCUMENTED as error:
            counts[f"{name} refused"] += 1
            counts[type(error).__name__] += 1
            if name not in ("gradient", "save_and_load", "new"):  # several calls, of which an earlier one may have been right
                unchanged = session is self.session and self.digest() == before
                assert unchanged, f"{name} raised {error!r} and changed the session"
            fair = self.odd or name in ("load_foreign", "spec") or any(word in str(error) for word in STATES)
            assert fair, f"{name} refused what is right: {error!r}"
        else:
            counts[f"{name} accepted"] += 1
        counts["calls"] += 1

    def still_usable(self):
        self.session.reset()
        before, lanes = self.session.steps, self.session.batch_size
        assert self.session.advance(np.zeros(lanes, int)).shape == (lanes, self.session.network.cell.hidden)
        assert self.session.steps == before + 1


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(st.binary(min_size=CALLS * 16, max_size=CALLS * 16))
def calls(numbers):
    os.ftruncate(log, 0)
    fuzzed = Fuzzed(numbers)
    for _ in range(CALLS):
        fuzzed.call()
    fuzzed.still_usable()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    rtrl.Network(rtrl.RNN(3), 2).save("network")
    with open("foreign", "w") as file:
        file.write("not ours")
    calls()
    print(json.dumps(counts))
