"""Sessions and networks in files: going on bit for bit after a kill, whole files or none, and clear refusals."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from checkpoint_cases import cases, file_of, first_half, make, second_half, slow_down
from common import CELLS, ESTIMATORS, OPTIMIZERS, READOUTS, assert_same_bits, assert_same_session, network, python, stream

import rtrl


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The folder that a process left behind which saved every case and was then killed."""
    folder = tmp_path_factory.mktemp("killed")
    code = """
        import os, signal, sys
        from checkpoint_cases import save_all
        save_all(sys.argv[1])
        os.kill(os.getpid(), signal.SIGKILL)
    """
    assert python(code, folder, check=False).returncode == -signal.SIGKILL
    return folder


@pytest.mark.parametrize("name", cases())
def test_resumes_bit_for_bit_after_a_kill(killed, name):
    options, dense, stop = cases()[name]
    uninterrupted = make(**options)
    first_half(uninterrupted, dense, stop)
    optimizer = uninterrupted.optimizer if options.get("optimizer") == "callable" else None
    resumed = rtrl.Session.load(file_of(killed, name), optimizer=optimizer, threads=1 if len(name) % 2 else 3)
    assert (resumed.steps, repr(resumed)) == (uninterrupted.steps, repr(uninterrupted))
    assert resumed.health() == uninterrupted.health() and resumed.nbytes.keys() == uninterrupted.nbytes.keys()
    assert_same_bits(second_half(resumed, dense, stop), second_half(uninterrupted, dense, stop))
    assert resumed.health() == uninterrupted.health()


def test_saving_changes_nothing(tmp_path):
    for estimator in ESTIMATORS:
        saved, twin = make(estimator=estimator), make(estimator=estimator)
        xs, ys = stream(9, 2)
        for x, y in zip(xs, ys):
            saved.save(tmp_path / "file")
            assert saved.step(x, y) == twin.step(x, y) or (y == -1).all()
        assert_same_session(saved, twin)
    assert os.listdir(tmp_path) == ["file"]


def test_a_kill_while_saving_leaves_a_whole_file(tmp_path):
    """Whenever the process dies, the name stands for a complete file: the one before or the one after."""
    path = tmp_path / "file"
    code = "import sys; from checkpoint_cases import make; ran = make()\nwhile True: ran.save(sys.argv[1]), print(flush=True)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    for delay in np.linspace(0, 0.02, 8):
        child = subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE, env=environment)
        child.stdout.readline()
        time.sleep(delay)
        child.kill()
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert_same_session(rtrl.Session.load(path), make())


def test_a_callable_rate_must_be_given_again(tmp_path):
    ran = make(optimizer="callable")
    ran.save(tmp_path / "file")
    with pytest.raises(ValueError, match="optimizer= to load"):
        rtrl.Session.load(tmp_path / "file")
    for wrong in (rtrl.Adam(0.1), rtrl.SGD(0.1)):
        with pytest.raises(ValueError, match="file"):
            rtrl.Session.load(tmp_path / "file", optimizer=wrong)
    loaded = rtrl.Session.load(tmp_path / "file", optimizer=rtrl.SGD(slow_down, momentum=0.5))
    xs, ys = stream(5, 2)
    assert_same_bits(loaded.run(xs, ys), ran.run(xs, ys))


@pytest.mark.parametrize(
    "saved, given, message",
    [
        (rtrl.SGD(0.1, momentum=0.5), rtrl.SGD(0.1), r"has momentum=0\.5 \(given to load: 0\.0\), and"),
        (
            rtrl.SGD(0.1),
            rtrl.SGD(0.1, momentum=0.5, nesterov=True),
            r"has momentum=0\.0 \(.* 0\.5\), nesterov=False \(.* True\)",
        ),
        (rtrl.Kalman(0.1), rtrl.Kalman(0.1, "quasi-diagonal"), r"has metric='diagonal' \(given to load: 'quasi-diagonal'\), and"),
        (
            rtrl.Kalman(0.1, fisher="exact"),
            rtrl.Kalman(0.1, prior=1),
            r"has fisher='exact' \(.* 'outer'\), prior=0\.001 \(.*\)",
        ),
    ],
)
def test_an_optimizer_with_other_options_is_named(saved, given, message, tmp_path):
    ran = rtrl.Session(network(CELLS["gru"]), rtrl.RTRL(), saved)
    ran.save(tmp_path / "file")
    with pytest.raises(ValueError, match=f"^the optimizer of the file {message}"):
        rtrl.Session.load(tmp_path / "file", optimizer=given)
    assert_same_session(rtrl.Session.load(tmp_path / "file", optimizer=saved.replace(lr=0.2)), ran)


def test_another_rate_may_be_given(tmp_path):
    """Documented for callables, and useful to go on with a lower rate: options that need no other memory."""
    make().save(tmp_path / "file")
    assert rtrl.Session.load(tmp_path / "file", optimizer=rtrl.Adam(1e-5)).optimizer == rtrl.Adam(1e-5)
    without = rtrl.Session(network(CELLS["gru"]), rtrl.RTRL())
    without.save(tmp_path / "without")
    assert rtrl.Session.load(tmp_path / "without").optimizer is None
    with pytest.raises(ValueError, match="optimizer"):
        rtrl.Session.load(tmp_path / "without", optimizer=rtrl.SGD(0.1))


# Networks and specs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("readout", [*READOUTS.values(), None], ids=[*READOUTS, "none"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_network(cell, readout, dtype, tmp_path):
    net = network(cell, readout, dtype)
    net.save(tmp_path / "net")
    for other in (rtrl.Network.load(tmp_path / "net"), pickle.loads(pickle.dumps(net)), copy.deepcopy(net)):
        assert repr(other) == repr(net) and other.parameter_count == net.parameter_count
        assert_same_bits(other.parameters(), net.parameters())
        other.parameters()["cell.0.weight"][0, 0] += 1
        assert other.parameters()["cell.0.weight"][0, 0] != net.parameters()["cell.0.weight"][0, 0]


@pytest.mark.parametrize("spec", [*CELLS.values(), *ESTIMATORS.values(), *READOUTS.values(), *OPTIMIZERS.values()], ids=repr)
def test_specs_are_data(spec):
    assert pickle.loads(pickle.dumps(spec)) == copy.deepcopy(spec) == eval(f"rtrl.{spec!r}") == spec
    assert hash(spec) == hash(copy.deepcopy(spec))
    assert pickle.loads(pickle.dumps(rtrl.SGD(slow_down))).lr is slow_down
