"""Weights that do not exist: 0 and staying 0 whatever learns, saved with the network, not counted."""

import copy
import pickle

import numpy as np
import pytest
from common import ESTIMATORS, OPTIMIZERS, READOUTS, assert_same_bits, distance, flat, reference_twin, session, stream
from drivers import every_cell

import rtrl

# `ESTIMATORS`, and what only a mask or only one optimizer makes possible.
METRIC = [rtrl.NoBackTrack("kalman", state) for state in ("propagated", "local", "literal")]
EVERY_ESTIMATOR = [*ESTIMATORS.values(), rtrl.SnAp(2), *METRIC]

every_estimator = pytest.mark.parametrize("estimator", EVERY_ESTIMATOR, ids=repr)


def optimizers_for(estimator):
    """Those that an estimator can have: the metric of NoBackTrack is that of one of them."""
    return [OPTIMIZERS["kalman"]] if estimator in METRIC else list(OPTIMIZERS.values())


def some_mask(cell, seed=0, density=0.4):
    """An irregular mask: every map of every unit for itself, biases included."""
    shapes = rtrl.Network(cell, 3, weight_std=0).parameters()
    rng = np.random.default_rng(seed)
    return {name: rng.random(view.shape) < density for name, view in shapes.items()}


def masked_session(cell, estimator, optimizer=None, *, dtype="float64", **options):
    net = rtrl.Network(cell, 3, READOUTS["softmax"], dtype=dtype, seed=3, mask=some_mask(cell))
    return rtrl.Session(net, estimator, optimizer, **{"batch_size": 2, "seed": 5, "threads": 1, **options})


def missing(net):
    """The weights that do not exist, as one vector."""
    return np.concatenate([view[~net.masks()[name]] for name, view in net.parameters().items()])


def test_no_estimator_is_left_out():
    names = {type(each).__name__ for each in EVERY_ESTIMATOR}
    assert names == {name for name in rtrl.estimators.__all__ if hasattr(getattr(rtrl.estimators, name), "kind")} - {"Estimator"}


@pytest.mark.parametrize(
    "estimator, optimizer", [(each, other) for each in EVERY_ESTIMATOR for other in optimizers_for(each)], ids=repr
)
def test_every_estimator_and_optimizer(estimator, optimizer):
    """Equal to the reference, which has masks of its own; what is missing stays exactly 0."""
    for cell in (rtrl.GRU(4), rtrl.RHN(5, 2)):
        ours = masked_session(cell, estimator, optimizer)
        twin, (xs, ys) = reference_twin(ours), stream(15, 2)
        before = flat(ours.network.parameters())
        np.testing.assert_allclose(ours.run(xs, ys), twin.run(xs, ys), rtol=1e-9)
        assert distance(ours.network.parameters(), twin.parameters) < 1e-9
        assert missing(ours.network).size > 30 and not missing(ours.network).any()
        assert (flat(ours.network.parameters()) != before).any()


@every_estimator
@every_cell
def test_gradients_of_what_is_missing(cell, estimator):
    """Nothing in gradient()."""
    ran = masked_session(cell, estimator, optimizers_for(estimator)[0], update_every=20)
    ran.run(*stream(9, 2))
    gradient = ran.gradient()
    for name, mask in ran.network.masks().items():
        assert not gradient[name][~mask].any() and gradient[name].any()


@pytest.mark.parametrize(
    "estimator", [rtrl.TBPTT(9), rtrl.UORO(9), rtrl.OK(9), rtrl.BlockOK(1, 9), rtrl.BlockOK(6, 3), rtrl.SnAp(50)], ids=repr
)
@every_cell
def test_exact_ones_agree(cell, estimator):
    """Long windows, as many products as steps, and an order that reaches everything: all of them RTRL."""
    ran, exact = masked_session(cell, estimator), masked_session(cell, rtrl.RTRL())
    for each in (ran, exact):
        each.run(*stream(9, 2))
    assert distance(ran.gradient(), exact.gradient()) < 1e-12


@pytest.mark.parametrize(
    "estimator", [each for each in ESTIMATORS.values() if not isinstance(each, rtrl.KeRNL)], ids=repr
)  # KeRNL, SnAp of a higher order and metrics ask which weights there are
@every_cell
def test_a_mask_is_a_net_with_zeros(cell, estimator):
    """The same losses as the dense net whose weights happen to be 0 there, to the bit, and its gradients where weights exist."""
    ours = masked_session(cell, estimator)
    dense = session(cell, estimator, batch_size=2)
    for name, view in dense.network.parameters().items():
        np.testing.assert_array_equal(ours.network.parameters()[name], view * ours.network.masks()[name])
        view[...] = ours.network.parameters()[name]
    xs, ys = stream(9, 2)
    assert_same_bits(ours.run(xs, ys), dense.run(xs, ys))
    expected = {name: G * ours.network.masks()[name] for name, G in dense.gradient().items()}
    assert distance(ours.gradient(), expected) < 1e-14


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_cell
def test_files_and_copies(cell, dtype, tmp_path):
    for net in (rtrl.Network(cell, 3, dtype=dtype, mask=some_mask(cell)), rtrl.Network(cell, 3, dtype=dtype, sparsity=0.5)):
        net.save(tmp_path / "net")
        session(cell, rtrl.RTRL())
        rtrl.Session(net, rtrl.UORO(), batch_size=2).save(tmp_path / "session")
        others = [
            rtrl.Network.load(tmp_path / "net"),
            pickle.loads(pickle.dumps(net)),
            copy.deepcopy(net),
            rtrl.Session.load(tmp_path / "session").network,
        ]
        for other in others:
            assert repr(other) == repr(net) and other.parameter_count == net.parameter_count
            assert_same_bits(other.masks(), net.masks())
            assert_same_bits(other.parameters(), net.parameters())
            assert other.is_sparse and not missing(other).any()


def test_sparsity():
    """The wanted share for every unit, shared by its maps; biases and the readout are full; the seed decides."""
    net = rtrl.Network(rtrl.LSTM(40), 20, rtrl.Softmax(5), sparsity=0.9, seed=4)
    mask = net.masks()["cell.0.weight"]
    assert (mask[:, :40].sum(1) == 4).all() and (mask[:, 40:60].sum(1) == 2).all() and mask[:, 60].all()
    assert (mask.reshape(4, 40, -1) == mask[:40]).all() and net.masks()["readout.weight"].all()
    assert net.parameter_count == 160 * 7 + 5 * 41 and ((net.parameters()["cell.0.weight"] != 0) == mask).all()
    same, other = (rtrl.Network(rtrl.LSTM(40), 20, sparsity=0.9, seed=seed).masks()["cell.0.weight"] for seed in (4, 5))
    assert (same == mask).all() and (other != mask).any()
    dense = rtrl.Network(rtrl.LSTM(40), 20, rtrl.Softmax(5), seed=4)
    np.testing.assert_array_equal(dense.parameters()["cell.0.weight"] * mask, net.parameters()["cell.0.weight"])
    # Never without any input at all, and each stage has a mask of its own.
    deep = rtrl.Network(rtrl.RHN(6, 2), 3, sparsity=0.99).masks()
    assert (deep["cell.0.weight"].sum(1) == 3).all() and (deep["cell.1.weight"].sum(1) == 2).all()
    assert (deep["cell.0.weight"][:, :6] != deep["cell.1.weight"][:, :6]).any()
    plain = rtrl.Network(rtrl.RNN(6), 3, sparsity=0.0)
    assert plain.parameter_count == 60 and not plain.is_sparse and plain._holes is None


def test_the_holes_of_the_gru_are_not_counted_twice():
    dense, sparse = rtrl.Network(rtrl.GRU(4), 3), rtrl.Network(rtrl.GRU(4), 3, mask=np.ones((16, 8), bool))
    assert dense.parameter_count == sparse.parameter_count == 16 * 8 - 16 - 12 == dense.masks()["cell.0.weight"].sum()
    assert not sparse.is_sparse
    net = rtrl.Network(rtrl.GRU(4), 3, mask=some_mask(rtrl.GRU(4)))
    assert net.masks()["cell.0.weight"].sum() < some_mask(rtrl.GRU(4))["cell.0.weight"].sum()


def test_what_is_written_where_no_weight_is():
    """A session sets it back to 0 when it starts."""
    net = rtrl.Network(rtrl.RNN(4), 3, sparsity=0.5)
    net.parameters()["cell.0.weight"][...] = np.nan
    net.parameters()["cell.0.weight"][net.masks()["cell.0.weight"]] = 1
    rtrl.Session(net, rtrl.RTRL())
    assert not missing(net).any() and (net.parameters()["cell.0.weight"] == net.masks()["cell.0.weight"]).all()


ONE, TWO = rtrl.RNN(4), rtrl.RHN(4, 2)
FULL = np.ones((4, 8), bool)


@pytest.mark.parametrize(
    "error, words, make",
    [
        (ValueError, "sparsity", lambda: rtrl.Network(ONE, 3, sparsity=1.0)),
        (ValueError, "sparsity", lambda: rtrl.Network(ONE, 3, sparsity=-0.1)),
        (ValueError, "sparsity", lambda: rtrl.Network(ONE, 3, sparsity=float("nan"))),
        (TypeError, "sparsity", lambda: rtrl.Network(ONE, 3, sparsity="0.9")),
        (TypeError, "sparsity", lambda: rtrl.Network(ONE, 3, sparsity=True)),
        (ValueError, "give one", lambda: rtrl.Network(ONE, 3, sparsity=0.5, mask=FULL)),
        (ValueError, r"shape \(4, 8\); got \(4, 7\)", lambda: rtrl.Network(ONE, 3, mask=FULL[:, 1:])),
        (TypeError, "boolean array; got an array of float64", lambda: rtrl.Network(ONE, 3, mask=np.ones((4, 8)))),
        (TypeError, "boolean", lambda: rtrl.Network(ONE, 3, mask="full")),
        (TypeError, "boolean", lambda: rtrl.Network(ONE, 3, mask=[[True], [True, False]])),
        (ValueError, "'cell.1.weight'", lambda: rtrl.Network(ONE, 3, mask={"cell.1.weight": FULL})),
        (
            ValueError,
            "'readout.weight'",
            lambda: rtrl.Network(ONE, 3, rtrl.Softmax(2), mask={"readout.weight": np.ones((2, 5), bool)}),
        ),
        (TypeError, "dict", lambda: rtrl.Network(TWO, 3, mask=np.ones((8, 8), bool))),
    ],
)
def test_bad_masks(error, words, make):
    with pytest.raises(error, match=words):
        make()


def test_stages_that_are_left_out_are_full():
    net = rtrl.Network(TWO, 3, mask={"cell.1.weight": np.zeros((8, 5), bool)})
    assert net.masks()["cell.0.weight"].all() and not net.masks()["cell.1.weight"].any() and net.is_sparse
