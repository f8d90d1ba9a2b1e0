"""Copies and pickles of sessions, networks and shadows: objects of their own that go on bit for bit."""

import copy
import pickle
import threading

import numpy as np
import pytest
from checkpoint_cases import cases, first_half, make, second_half, slow_down
from common import assert_same_bits, assert_same_session, network, python, stream

import rtrl

WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
    "oldest pickle": lambda each: pickle.loads(pickle.dumps(each, protocol=2)),
}
every_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.mark.parametrize("name", [name for name in cases() if name.startswith(("rhn 3", "optimizer")) or "," not in name[7:]])
def test_a_copy_goes_on_bit_for_bit(name):
    options, dense, stop = cases()[name]
    ran = make(**options)
    first_half(ran, dense, stop)
    copied = [way(ran) for way in WAYS.values()]
    expected, health = second_half(ran, dense, stop), ran.health()
    for each in copied:
        assert each.steps < ran.steps and each.network is not ran.network
        assert_same_bits(second_half(each, dense, stop), expected)
        assert each.health() == health and repr(each) == repr(ran)


@every_way
def test_a_copy_is_a_session_of_its_own(way):
    ran = make(shadow=rtrl.UORO())
    ran.run(*stream(5, 2))
    copied = way(ran)
    before = copy.deepcopy(copied)
    ran.run(*stream(5, 2, seed=4))
    assert_same_session(copied, before)
    ran.network.parameters()["readout.weight"][...] = 0
    assert_same_session(copied, before)
    assert copied.shadows[0] is not ran.shadows[0]
    assert_same_bits(copied.shadows[0].gradient(), before.shadows[0].gradient())


@every_way
def test_what_a_file_does_not_hold_is_kept(way):
    for threads in (None, 2):
        ran = make(optimizer="callable", threads=threads)
        copied = way(ran)
        assert copied.optimizer == ran.optimizer and copied.optimizer.lr is slow_down and copied._threads == threads


def test_a_rate_that_cannot_be_pickled():
    """pickle says so; a copy has the same function."""
    ran = rtrl.Session(network(rtrl.RNN(5)), rtrl.RTRL(), rtrl.SGD(lambda step: 0.1))
    with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
        pickle.dumps(ran)
    assert copy.copy(ran).optimizer.lr is copy.deepcopy(ran).optimizer.lr is ran.optimizer.lr


class Mine(rtrl.Session):
    """A session of somebody's own."""

    def twice(self, x, y):
        return self.step(x, y) + self.step(x, y)


@every_way
def test_a_subclass_stays_one(way):
    ran = Mine(network(rtrl.RNN(5)), rtrl.KFRTRL(), rtrl.SGD(0.1))
    x, y = (each[0] for each in stream(1, 1))
    copied = way(ran)
    assert type(copied) is Mine and copied.twice(x, y) == ran.twice(x, y)


@pytest.mark.parametrize("way", [copy.deepcopy, WAYS["pickle"]], ids=["deepcopy", "pickle"])
def test_what_belongs_together_stays_together(way):
    """A network beside its sessions is theirs in the copy as well."""
    net = network(rtrl.GRU(4))
    pair = [rtrl.Session(net, rtrl.RTRL(), rtrl.SGD(0.1)), rtrl.Session(net, rtrl.UORO())]
    for together in ([net, *pair], [*pair, net]):
        copied = way(together)
        nets = [each if isinstance(each, rtrl.Network) else each.network for each in copied]
        assert all(each is nets[0] for each in nets) and nets[0] is not net
        assert_same_bits(nets[0].parameters(), net.parameters())


@every_way
def test_networks_with_masks(way):
    net = network(rtrl.RHN(5, 2), sparsity=0.6)
    copied = way(net)
    assert_same_bits(copied.parameters(), net.parameters())
    assert_same_bits(copied.masks(), net.masks())
    copied.parameters()["cell.0.weight"][...] = 7
    assert not np.isin(7, net.parameters()["cell.0.weight"])


def test_a_shadow_alone_is_a_picture():
    ran = make(shadow=rtrl.UORO())
    ran.run(*stream(5, 2))
    picture = pickle.loads(pickle.dumps(ran.shadows[0]))
    expected = ran.shadows[0].gradient()
    cosines = ran.shadows[0].cosines
    ran.run(*stream(5, 2))
    assert_same_bits(picture.gradient(), expected)
    assert_same_bits(picture.cosines, cosines)


def test_another_process_goes_on(tmp_path):
    ran = make(estimator="kfrtrl blocks")
    ran.run(*stream(5, 2))
    (tmp_path / "pickle").write_bytes(pickle.dumps(ran))
    code = """
        import pickle, sys
        from common import stream
        with open(sys.argv[1], "rb") as file:
            print(pickle.load(file).run(*stream(9, 2)).tolist())
    """
    assert python(code, tmp_path / "pickle").stdout.strip() == repr(ran.run(*stream(9, 2)).tolist())


def test_joblib(tmp_path):
    joblib = pytest.importorskip("joblib")
    ran = make()
    joblib.dump(ran, tmp_path / "file")
    assert_same_session(joblib.load(tmp_path / "file"), ran)
    assert joblib.hash(ran) == joblib.hash(copy.deepcopy(ran))


def test_while_another_thread_learns(tmp_path):
    """Everything that looks at all weights is refused then, and leaves no file."""
    began, go = threading.Event(), threading.Event()

    def wait(step):
        began.set()
        assert go.wait(60)
        return 0.1

    net = network(rtrl.GRU(4))
    ran = rtrl.Session(net, rtrl.Immediate(), rtrl.SGD(wait), batch_size=2, threads=1)
    ways = [copy.copy, copy.deepcopy, pickle.dumps, lambda each: each.save(tmp_path / "file")]
    worker = threading.Thread(target=ran.run, args=stream(3, 2))
    worker.start()
    assert began.wait(60)
    for each in (net, ran):
        for way in [*ways, rtrl.Network.state_dict] if each is net else ways:
            with pytest.raises(RuntimeError, match="in use by another thread"):
                way(each)
    assert not (tmp_path / "file").exists()
    go.set()
    worker.join()
    for way in ways[:2]:
        way(ran)


def test_a_shadow_in_python_stays_behind():
    """As in a file: it is whatever object its maker made."""
    ran = make(shadow=rtrl.UORO())
    ran.shadow(rtrl.reference.RTRL)
    ran.run(*stream(3, 2))
    copied = copy.deepcopy(ran)
    assert [shadow.estimator for shadow in copied.shadows] == [rtrl.UORO()]
    assert_same_bits(copied.run(*stream(3, 2)), ran.run(*stream(3, 2)))
