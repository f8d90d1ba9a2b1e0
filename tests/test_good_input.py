"""What is taken although it is not laid out as the engine wants it, sessions in several threads, and Ctrl-C."""

import threading
import time

import numpy as np
import pytest
from common import CELLS, assert_same_bits, assert_same_session, python, session, stream

import rtrl
from rtrl import checkpoint

LANES, UNITS = 2, 4


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_any_layout_and_width_is_taken(cell):
    """Views with strides, reversed, read-only or in another byte order, smaller types, lists: the same bits."""
    xs, ys = stream(12, LANES)
    ids = stream(12, LANES, dense=False)[0]
    xs = xs.astype(np.float32).astype(float)  # so that float32 holds the same numbers
    read_only = xs.copy()
    read_only.flags.writeable = False
    same = [
        (xs, ys),
        (np.asfortranarray(xs), np.asfortranarray(ys)),
        (np.repeat(xs, 2, 0)[::2], np.repeat(ys, 3, 1)[:, ::3]),
        (xs[::-1].copy()[::-1], ys.astype(np.int8)),
        (xs.astype(">f8"), ys.astype(">i4")),
        (xs.astype(np.float32), ys.tolist()),
        (xs.tolist(), ys),
        (read_only, ys),
        (list(xs), list(ys)),
        (np.ma.array(xs), ys),
    ]
    runs = [session(cell, rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=LANES).run(*each) for each in same]
    for losses in runs[1:]:
        assert_same_bits(losses, runs[0])
    by_id = [
        session(cell, rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=LANES).run(each, ys)
        for each in (ids, ids.astype(np.uint8), np.asfortranarray(ids), ids.tolist(), np.repeat(ids, 2, 1)[:, ::2])
    ]
    for losses in by_id[1:]:
        assert_same_bits(losses, by_id[0])


def test_any_layout_of_credit_gradients_and_masks():
    """The low level takes views as well."""
    rng = np.random.default_rng(0)
    xs, credits, masks = rng.normal(size=(6, LANES, 3)), rng.normal(size=(6, LANES, UNITS)), rng.random((6, LANES)) < 0.3
    compact, views = (session(rtrl.GRU(UNITS), rtrl.UORO(), rtrl.SGD(0.1), readout=None, batch_size=LANES) for _ in range(2))
    for x, credit, mask in zip(xs, credits, masks):
        compact.advance(x)
        compact.feedback(credit)
        compact.apply(compact.gradient())
        compact.reset(mask)
        views.advance(np.repeat(x, 2, 1)[:, ::2])
        views.feedback(np.asfortranarray(credit))
        views.apply({name: np.asfortranarray(value).astype(">f8") for name, value in reversed(views.gradient().items())})
        views.reset(np.repeat(mask, 3)[::3])
    assert_same_session(compact, views)


def test_two_threads_at_once():
    """The second caller is told, whatever it calls; the first is not disturbed."""
    inside, go_on, losses = threading.Event(), threading.Event(), []

    def rate(step):
        inside.set()
        assert go_on.wait(60)
        return 0.1

    ran, twin = (session(rtrl.GRU(UNITS), rtrl.UORO(), rtrl.SGD(each), batch_size=LANES) for each in (rate, 0.1))
    xs, ys = stream(50, LANES)
    worker = threading.Thread(target=lambda: losses.append(ran.run(xs, ys)))
    worker.start()
    assert inside.wait(60)
    for call in (
        lambda: ran.step(xs[0], ys[0]),
        lambda: ran.run(xs, ys),
        lambda: ran.predict(xs[0]),
        lambda: ran.evaluate(xs, ys),
        lambda: ran.advance(xs[0]),
        lambda: ran.feedback(np.ones((LANES, UNITS))),
        ran.gradient,
        ran.reset,
        ran.influence,
        lambda: ran.apply(ran.network.parameters()),
        lambda: ran.shadow(rtrl.RTRL()),
        lambda: ran.save("never written"),
    ):
        with pytest.raises(RuntimeError, match="in use by another thread"):
            call()
    go_on.set()
    worker.join()
    assert_same_bits(losses[0], twin.run(xs, ys))
    assert_same_session(ran, twin)


def test_a_call_waits_while_another_thread_saves(tmp_path, monkeypatch):
    """Checkpoints from a thread of their own do not make a step fail."""
    ran, twin = (session(rtrl.GRU(UNITS), rtrl.UORO(), rtrl.SGD(0.1)) for _ in range(2))
    inside, save = threading.Event(), checkpoint.save

    def slow(*arguments):
        inside.set()
        time.sleep(0.1)
        save(*arguments)

    monkeypatch.setattr(checkpoint, "save", slow)
    saver = threading.Thread(target=ran.save, args=(tmp_path / "session",))
    saver.start()
    assert inside.wait(60)
    xs, ys = stream(20, 1)
    losses = ran.run(xs, ys)
    saver.join()
    assert_same_bits(losses, twin.run(xs, ys))
    assert rtrl.Session.load(tmp_path / "session").steps == 0


def test_sessions_of_several_threads():
    """Each thread with a session of its own: all of them learn what they learn alone."""
    sessions, (xs, ys) = [session(rtrl.RHN(20), rtrl.KFRTRL(), rtrl.SGD(0.1), threads=t) for t in (1, 2, 1, 2)], stream(2000, 1)
    workers = [threading.Thread(target=each.run, args=(xs, ys)) for each in sessions[1:]]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sessions[0].run(xs, ys)
    for each in sessions[1:]:
        assert_same_session(each, sessions[0])


@pytest.mark.parametrize("call", ["run", "evaluate"])
def test_ctrl_c_is_heard(call):
    """Within a second or so, and the session goes on afterwards."""
    code = """
        import signal, sys, time
        import numpy as np
        import rtrl
        from common import session
        ran = session(rtrl.RHN(64), rtrl.KFRTRL(), rtrl.SGD(1e-3))
        ids = np.zeros(1_000_000, np.int32)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        began = time.perf_counter()
        try:
            getattr(ran, sys.argv[1])(ids, ids)
        except KeyboardInterrupt:
            print(time.perf_counter() - began)
        before = ran.steps
        print(np.isfinite(ran.run(ids[:5], ids[:5])).all(), ran.steps - before)
    """
    seconds, *after = python(code, call).stdout.split()
    assert float(seconds) < 2 and after == ["True", "5"]
