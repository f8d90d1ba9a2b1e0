"""A child that was forked while its parent used a session: it goes on with its copy, or is told why it cannot."""

import os
from textwrap import dedent

import pytest
from common import python

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

BEGINNING = """
    import os, threading, time
    import numpy as np
    import rtrl
    from common import session

    def child(act):
        number = os.fork()
        if number == 0:
            try:
                act()
                os._exit(0)
            except RuntimeError as error:
                print(error, flush=True)
                os._exit(7)
        return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
"""


def test_a_child_forked_between_two_steps_goes_on():
    """The thread that held the session has no life in the child, but left everything whole."""
    code = """
        inside, go_on = threading.Event(), threading.Event()

        def rate(step):
            inside.set()
            go_on.wait(60)
            return 0.1

        ran = session(rtrl.GRU(4), rtrl.UORO(), rtrl.SGD(rate))
        ids = np.zeros(5, int)
        worker = threading.Thread(target=ran.run, args=(ids, ids))
        worker.start()
        inside.wait(60)

        def act():
            go_on.set()
            ran.run(ids, ids)
            assert ran.steps == 5
            ran.reset()

        print(child(act), child(lambda: child(act) and os._exit(1)))
        go_on.set()
        worker.join()
        print(ran.steps, child(lambda: ran.step(0, 0)))
    """
    assert python(dedent(BEGINNING) + dedent(code)).stdout.split() == ["0", "0", "5", "0"]


def test_a_child_forked_in_the_middle_of_a_step_is_told():
    """Whatever it calls; another network's session serves it."""
    code = """
        ran, other = session(rtrl.RNN(150), rtrl.RTRL(), rtrl.SGD(1e-3)), session(rtrl.RNN(4), rtrl.RTRL())
        ids = np.zeros(6, int)
        worker = threading.Thread(target=ran.run, args=(ids, ids))
        worker.start()
        told = []
        while worker.is_alive() and 7 not in told:
            time.sleep(0.02)
            told.append(child(lambda: (other.step(0, 0), ran.hidden)))
        worker.join()
        print(7 in told, set(told) <= {0, 7}, ran.steps, child(lambda: ran.step(0, 0)))
    """
    words, *_, last = python(dedent(BEGINNING) + dedent(code)).stdout.strip().splitlines()
    assert "forked while another thread was in the middle of a step" in words
    assert last.split() == ["True", "True", "6", "0"]


def test_a_handler_that_forks_in_a_run():
    """Its child is in the run too: it may look, as the handler may, and end the run."""
    code = """
        import signal
        ran = session(rtrl.GRU(4), rtrl.UORO(), rtrl.SGD(0.1))
        ids = np.zeros(200_000, int)

        def look():
            assert ran.hidden.shape == (1, 4) and np.isfinite(ran.evaluate([0], [0]))

        def change():
            look()
            ran.reset()

        def handler(*_):
            try:
                ran.reset()  # between two runs
            except RuntimeError:
                signal.setitimer(signal.ITIMER_REAL, 0)
                codes.extend([child(look), child(change)] if not codes else [])

        codes = []
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        while not codes:
            ran.run(ids, ids)
        print(*codes)
        print(ran.steps % len(ids))
    """
    words, *rest = python(dedent(BEGINNING) + dedent(code)).stdout.strip().splitlines()
    assert "inside a run of this session" in words and rest == ["0 7", "0"]
