"""What calls cost around the arithmetic: small networks, where Python and bookkeeping are most of the time."""

import numpy as np
import pytest

import rtrl
from bench.workloads import IDS, make, step_flops, stream

_XS, _YS = stream(4096, 1)
_GROUP = "calls of a small network"


def small(estimator=rtrl.UORO()):
    """RNN n = 32, one lane, SGD at every step."""
    return make("RNN", 32, estimator, 1, optimizer=rtrl.SGD(0.01))


def test_run(time_steps):
    session, losses = small(), []
    time_steps(session, lambda steps: losses.append(session.run(_XS[:steps], _YS[:steps])), step_flops(session), _GROUP)
    assert np.isfinite(losses[0]).all()


def test_step_calls(time_steps):
    session, losses = small(), []

    def work(steps):
        for t in range(steps):
            losses.append(session.step(_XS[t], _YS[t]))

    time_steps(session, work, step_flops(session), _GROUP)
    count = 2
    assert (small().run(_XS[:count], _YS[:count]) == losses[:count]).all()


def test_outside_loss(time_steps):
    """advance, feedback, gradient, apply: a loss that rtrl does not know, here half the squared hidden units."""
    session = small()

    def work(steps):
        for t in range(steps):
            session.feedback(session.advance(_XS[t]))
            session.apply(session.gradient())

    time_steps(session, work, step_flops(session), _GROUP)
    assert session.health()["updates"] == session.steps
    assert np.isfinite(session.hidden).all()


def test_evaluate(time_steps):
    session, losses = small(), []
    forward = 2 * 32 * (32 + IDS + 1) + 2 * IDS * 32
    time_steps(session, lambda steps: losses.append(session.evaluate(_XS[:steps], _YS[:steps])), forward, _GROUP)
    assert abs(losses[0] - np.log(IDS)) < 0.5
    assert session.steps == 0


@pytest.mark.parametrize("form", ["ids", "one-hot numbers"])
def test_input_form(time_steps, form):
    session = make("RHN", 128, rtrl.KFRTRL(), 16)
    xs, ys = stream(512, 16)
    inputs = xs if form == "ids" else np.eye(IDS, dtype=np.float32)[xs]
    losses = []

    def work(steps):
        losses.append(session.run(inputs[:steps], ys[:steps]))

    time_steps(session, work, step_flops(session), "form of the input")
    count = len(losses[0])
    np.testing.assert_allclose(losses[0], make("RHN", 128, rtrl.KFRTRL(), 16).run(xs[:count], ys[:count]), rtol=1e-4)


def test_checkpoint(benchmark, tmp_path):
    session = make("RHN", 128, rtrl.KFRTRL(), 16)
    xs, ys = stream(8, 16)
    session.run(xs, ys)

    def save_and_load():
        session.save(tmp_path / "session.npz")
        return rtrl.Session.load(tmp_path / "session.npz")

    benchmark.group = "files"
    again = benchmark(save_and_load)
    benchmark.extra_info["bytes"] = session.nbytes["total"]
    assert (again.run(xs, ys) == session.run(xs, ys)).all()
