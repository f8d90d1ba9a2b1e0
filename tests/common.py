"""What the tests of the engine share: every cell and estimator, small streams, reference twins, child processes."""

import functools
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np

import rtrl
from rtrl import reference

INPUTS, OUTPUTS = 3, 4

CELLS = {
    "rnn": rtrl.RNN(5),
    "rnn relu leak": rtrl.RNN(5, "relu", 0.4),
    "rnn identity": rtrl.RNN(6, "identity", 0.4),
    "gru": rtrl.GRU(4),
    "lstm": rtrl.LSTM(4),
    "rhn": rtrl.RHN(5),
    "rhn 3": rtrl.RHN(4, 3),
}
ESTIMATORS = {
    "rtrl": rtrl.RTRL(),
    "rtrl eager": rtrl.RTRL(fresh=False),
    "uoro": rtrl.UORO(),
    "uoro eager": rtrl.UORO(fresh=False),
    "kfrtrl": rtrl.KFRTRL(),
    "kfrtrl eager": rtrl.KFRTRL(fresh=False),
    "immediate": rtrl.Immediate(),
    "tbptt block": rtrl.TBPTT(4),
    "tbptt sliding": rtrl.TBPTT(3, sliding=True),
    "uoro 3": rtrl.UORO(3),
    "nobacktrack": rtrl.NoBackTrack(),
    "nobacktrack eager": rtrl.NoBackTrack(fresh=False),
    "kfrtrl 2": rtrl.KFRTRL(average=2),
    "kfrtrl blocks": rtrl.KFRTRL(block=4),
    "reversed": rtrl.ReversedKFRTRL(),
    "ok": rtrl.OK(2),
    "ok eager": rtrl.OK(3, fresh=False),
    "block ok": rtrl.BlockOK(2, 3),
    "snap": rtrl.SnAp(),
    "snap fresh": rtrl.SnAp(fresh=True),
    "rflo": rtrl.RFLO(),
    "kernl": rtrl.KeRNL(0.03, 0.01),
    "dni": rtrl.DNI(0.03),
}
READOUTS = {"softmax": rtrl.Softmax(OUTPUTS), "linear": rtrl.Linear(OUTPUTS), "bernoulli": rtrl.Bernoulli(OUTPUTS)}
OPTIMIZERS = {
    "sgd": rtrl.SGD(0.1),
    "momentum": rtrl.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01, clip_norm=0.5),
    "rmsprop": rtrl.RMSprop(0.01),
    "adam": rtrl.Adam(0.01, clip_norm=1.0),
    "kalman": rtrl.Kalman(0.01, "quasi-diagonal", warm_up=2),
}

NO_TROUBLE = dict.fromkeys(
    (
        "influence_capped",
        "influence_not_finite",
        "state_not_finite",
        "loss_not_finite",
        "updates_skipped",
        "updates_scaled",
        "shadows_capped",
        "shadows_not_finite",
    ),
    0,
)


def network(cell, readout=READOUTS["softmax"], dtype="float64", seed=3, inputs=INPUTS, sparsity=None):
    """A small network, the same at every call."""
    return rtrl.Network(cell, inputs, readout, dtype=dtype, seed=seed, sparsity=sparsity)


def session(cell, estimator, optimizer=None, *, readout=READOUTS["softmax"], dtype="float64", sparsity=None, **options):
    """A session on such a network, on one thread unless told otherwise."""
    options = {"threads": 1, "seed": 5, **options}
    return rtrl.Session(network(cell, readout, dtype, sparsity=sparsity), estimator, optimizer, **options)


def troubles(of):
    """The counts of the guards of a session that are not 0."""
    return {name: count for name, count in of.health().items() if name in NO_TROUBLE and count}


def growing(estimator, optimizer=None, *, factor=2.0, dtype="float32", lanes=1, readout=rtrl.Linear(2), **options):
    """A relu net whose state and influence grow by `factor` at every step."""
    net = rtrl.Network(rtrl.RNN(3, "relu"), INPUTS, readout, dtype=dtype, seed=0)
    net.parameters()["cell.0.weight"][...] = np.hstack([factor * np.eye(3), np.ones((3, INPUTS + 1))])
    return rtrl.Session(net, estimator, optimizer, batch_size=lanes, threads=1, **options)


def stream(steps, lanes, readout=READOUTS["softmax"], *, dense=True, missing=0.2, seed=1, inputs=INPUTS):
    """Inputs and targets, some of them missing."""
    rng = np.random.default_rng(seed)
    xs = rng.normal(size=(steps, lanes, inputs)) if dense else rng.integers(0, inputs, (steps, lanes))
    if isinstance(readout, rtrl.Softmax):
        ys = rng.integers(0, readout.classes, (steps, lanes))
        ys[rng.random(ys.shape) < missing] = -1
    else:
        ys = rng.random((steps, lanes, readout.outputs))
        ys[rng.random(ys.shape) < missing] = np.nan
    return xs, ys


def reset_mask(steps, lanes, seed=2, rate=0.1):
    """Which lanes start afresh before which steps."""
    return np.random.default_rng(seed).random((steps, lanes)) < rate


def as_reference(spec):
    """A function that makes the object of `rtrl.reference` for a spec of the same name."""
    options = spec.options()
    if isinstance(spec, rtrl.Softmax):
        options = {"outputs": spec.classes}
    return functools.partial(getattr(reference, type(spec).__name__), **options)


def reference_twin(of):
    """The Learner of `rtrl.reference` that starts where a fresh session starts."""
    net = of.network
    weights = {name: view.astype(float) for name, view in net.parameters().items()}
    return reference.Learner(
        as_reference(net.cell)(),
        as_reference(of.estimator),
        [weights[name] for name in weights if name != "readout.weight"],
        net.readout and as_reference(net.readout)(),
        weights.get("readout.weight"),
        of.optimizer and as_reference(of.optimizer)(),
        of.batch_size,
        of.seed,
        of.update_every,
        masks=[mask for name, mask in net.masks().items() if name != "readout.weight"],
        first_lane=of.first_lane,
    )


def flat(arrays):
    """All numbers of a dict or list of arrays as one vector of float64."""
    arrays = arrays.values() if isinstance(arrays, dict) else arrays
    return np.concatenate([np.ravel(array).astype(float) for array in arrays])


def distance(a, b):
    """Largest difference of two dicts or lists of arrays, relative to the largest entry of the second."""
    a, b = flat(a), flat(b)
    return np.abs(a - b).max() / max(np.abs(b).max(), 1e-300)


def assert_same_bits(a, b):
    """Two arrays, or two dicts of arrays, have the same type, shape and bits."""
    if isinstance(a, dict):
        assert list(a) == list(b)
        for name in a:
            assert_same_bits(a[name], b[name])
        return
    a, b = np.asarray(a), np.asarray(b)
    assert (a.dtype, a.shape) == (b.dtype, b.shape)
    assert a.tobytes() == b.tobytes(), f"largest difference {np.nanmax(np.abs(a - b))}"


def assert_same_session(a, b):
    """Two sessions hold the same: weights, state, influence, counts."""
    assert_same_bits(a.network.parameters(), b.network.parameters())
    assert_same_bits(a.hidden, b.hidden)
    assert a.health() == b.health()
    assert_same_bits(a.influence(), b.influence())


def python(code, *arguments, environment=(), check=True, timeout=240):
    """Run a piece of Python in a process of its own, which can import what this one can.

    Returns
    -------
    subprocess.CompletedProcess
        With text output; `returncode` is negative where a signal ended it.
    """
    paths = os.pathsep.join(path for path in [str(Path(__file__).parent), *sys.path] if path)
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", textwrap.dedent(code), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": paths, **dict(environment)},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    if check and done.returncode:
        raise AssertionError(f"the child process ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done
