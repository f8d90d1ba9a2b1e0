"""What users have in place of plain arrays: masked arrays, gaps, scalars, tables, files, and an error state of their own."""

import numpy as np
import pytest
from common import assert_same_bits, python, stream

import rtrl
from rtrl import _arguments, data

NAN = float("nan")


def session(cell, estimator, optimizer, *, inputs=3, readout=rtrl.Softmax(4), dtype="float64", **options):
    """A session on a small new network."""
    return rtrl.Session(rtrl.Network(cell, inputs, readout, dtype, seed=1), estimator, optimizer, **options)


class NAType:
    """As the NA of pandas: it is neither equal to anything nor true or false."""

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")

    __eq__ = __ne__ = lambda self, other: self
    __hash__ = None


class Table:
    """As a table of pandas: columns of their own types behind `iloc`."""

    def __init__(self, **columns):
        self.columns, self._columns = list(columns), list(columns.values())
        self.shape = (len(self._columns[0]), len(columns))
        self.iloc = self

    def __getitem__(self, place):
        rows, column = place
        assert rows == slice(None)
        return np.asarray(self._columns[column])


class Polars(Table):
    """As a table of polars: columns by their number."""

    def __init__(self, **columns):
        super().__init__(**columns)
        del self.iloc


def ran(xs, ys, readout=None, inputs=3, lanes=1, resets=None, **options):
    """Losses of a new session."""
    options = {"readout": readout or rtrl.Linear(1), "inputs": inputs, "batch_size": lanes, **options}
    return session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), **options).run(xs, ys, resets)


rng = np.random.default_rng(0)
X, Y, IDS = rng.normal(size=(12, 3)), rng.normal(size=(12, 1)), rng.integers(0, 4, 13)


def test_what_is_masked_is_no_target():
    hide = np.zeros(Y.shape, bool)
    hide[[2, 7]] = True
    dirty = np.where(hide, -9999.0, Y)
    wanted = ran(X, np.where(hide, NAN, Y))
    for masked in (np.ma.array(dirty, mask=hide), list(np.ma.array(dirty, mask=hide))):
        assert_same_bits(ran(X, masked), wanted)
    hide = IDS[1:] == 3
    wanted = ran(IDS[:-1], np.where(hide, -1, IDS[1:]), rtrl.Softmax(4), inputs=4)
    assert np.isnan(wanted).sum() == hide.sum() > 0
    for kind in (np.int64, np.uint8, np.float32):
        assert_same_bits(ran(IDS[:-1], np.ma.array(IDS[1:].astype(kind), mask=hide), rtrl.Softmax(4), inputs=4), wanted)


def test_one_step_of_a_masked_target_changes_no_weight():
    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=rtrl.Linear(1))
    before = {name: view.copy() for name, view in learner.network.parameters().items()}
    assert np.isnan(learner.step(X[0], np.ma.array([5.0], mask=True)))
    with pytest.raises(ValueError, match="no target"):
        learner.evaluate(X[:1], np.ma.array(Y[:1], mask=[[True]]))
    assert_same_bits(learner.network.parameters(), before)


MASKED = np.ma.array(X, mask=np.eye(12, 3, dtype=bool))


@pytest.mark.parametrize(
    "call",
    [
        lambda s: s.run(MASKED, Y),
        lambda s: s.step(MASKED[0], Y[0]),
        lambda s: s.advance(MASKED[0]),
        lambda s: s.predict(MASKED[0]),
        lambda s: s.predict_run(MASKED),
        lambda s: s.evaluate(MASKED, Y),
        lambda s: s.run(list(MASKED), Y),
        lambda s: s.run(np.ma.masked_equal(IDS[:12] % 3, 1), Y),
        lambda s: s.run(np.array([0.0, NAN, 1.0]), Y[:3]),
        lambda s: s.feedback(np.ma.array(np.ones(4), mask=[0, 1, 0, 0])),
        lambda s: s.apply({name: np.ma.masked_less(view, 0) for name, view in s.network.parameters().items()}),
        lambda s: s.reset(np.ma.array([True], mask=[True])),
        lambda s: s.run(X, Y, resets=np.ma.array(np.zeros(12, bool), mask=np.arange(12) == 3)),
        lambda s: rtrl.Network(rtrl.RNN(4), 3, mask=np.ma.array(np.ones((4, 8), bool), mask=np.eye(4, 8, dtype=bool))),
        lambda s: data.lanes(np.ma.array(X[:, 0], mask=X[:, 0] > 0), 2),
    ],
)
def test_what_is_masked_elsewhere_is_refused_with_its_place(call):
    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=rtrl.Linear(1))
    learner.advance(X[0])
    with pytest.raises(ValueError, match="must have no missing values; one is missing at index"):
        call(learner)
    assert learner.steps == 1


def test_a_mask_without_anything_masked_says_nothing():
    assert_same_bits(ran(np.ma.array(X), np.ma.array(Y, mask=np.zeros(Y.shape, bool))), ran(X, Y))


@pytest.mark.parametrize("lanes", [1, 2])
def test_the_last_axis_may_be_left_out_with_one_input_and_one_output(lanes):
    xs, ys = rng.normal(size=(6, lanes)), rng.normal(size=(6, lanes))
    wanted = ran(xs[..., None], ys[..., None], inputs=1, lanes=lanes)
    assert_same_bits(ran(xs, ys, inputs=1, lanes=lanes), wanted)
    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), inputs=1, readout=rtrl.Linear(1), batch_size=lanes)
    assert_same_bits([learner.step(x, y) for x, y in zip(xs, ys)], wanted)
    assert learner.predict(xs[0]).shape == (lanes, 1) and learner.predict_run(xs).shape == (6, lanes, 1)
    assert learner.advance(xs[0]).shape == (lanes, 4)


def test_plain_numbers_are_a_step_of_one_sensor():
    learner, twin = (session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), inputs=1, readout=rtrl.Linear(1)) for _ in range(2))
    for x, y in ((0.3, 0.5), (1, 0), (np.float32(0.25), np.float64(0.5)), (True, False), (0.1, None)):
        target = NAN if y is None else y
        assert_same_bits(learner.step(x, target), twin.step(np.array([[float(x)]]), np.array([[float(target)]])))
    assert_same_bits(learner.predict(2), twin.predict([[2.0]]))
    assert_same_bits(learner.run(range(5), range(5)), twin.run(np.arange(5.0)[:, None], np.arange(5.0)[:, None]))


def test_booleans_are_numbers():
    xs = rng.random((8, 3)) < 0.5
    ys = rng.random((8, 2)) < 0.5
    assert_same_bits(ran(xs, ys, rtrl.Bernoulli(2)), ran(xs.astype(float), ys.astype(float), rtrl.Bernoulli(2)))
    assert_same_bits(ran(X[:8], ys[:, 0], rtrl.Softmax(2)), ran(X[:8], ys[:, 0].astype(int), rtrl.Softmax(2)))


def test_resets_may_be_0_and_1():
    resets = rng.random((12, 1)) < 0.3
    wanted = ran(X, Y, resets=resets)
    for same in (resets.astype(int), resets.astype(np.float32), resets[:, 0], resets.tolist(), resets.astype(object)):
        assert_same_bits(ran(X, Y, resets=same), wanted)


def test_lanes_are_reset_by_mask_or_by_number():
    for lanes, mask in ((2, [0, 0, 1]), ([0, 2], [1, 0, 1]), (np.array([1, 1]), [0, 1, 0]), ([], [0, 0, 0]), (None, [1, 1, 1])):
        one, other = (session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), batch_size=3) for _ in range(2))
        for each in (one, other):
            each.run(*stream(4, 3))
        one.reset(lanes)
        other.reset(np.array(mask, bool))
        assert_same_bits(one.hidden, other.hidden)
        assert (one.hidden.any(1) == ~np.array(mask, bool)).all()


def test_ids_may_come_as_whole_numbers_of_a_float_type():
    wanted = ran(IDS[:-1], IDS[1:], rtrl.Softmax(4), inputs=4)
    assert_same_bits(ran(IDS[:-1].astype(float), IDS[1:].astype(np.float32), rtrl.Softmax(4), inputs=4), wanted)
    gaps = np.where(np.arange(12) % 5 == 0, NAN, IDS[1:])
    assert_same_bits(
        ran(IDS[:-1], gaps, rtrl.Softmax(4), inputs=4),
        ran(IDS[:-1], np.where(np.isnan(gaps), -1, IDS[1:]), rtrl.Softmax(4), inputs=4),
    )
    with pytest.raises(TypeError, match=r"ys must be integer ids; got an array of float64 \(.*0.5.* at index 2\)"):
        ran(IDS[:-1], np.where(np.arange(12) == 2, 0.5, IDS[1:]), rtrl.Softmax(4), inputs=4)


@pytest.mark.parametrize("table", [Table, Polars])
def test_tables_and_columns_with_gaps(table):
    na = NAType()
    whole = np.arange(12) % 2 == 0
    xs = table(a=X[:, 0], b=(X[:, 1] > 0), c=np.arange(12, dtype=np.int16))
    plain = np.stack([X[:, 0], X[:, 1] > 0, np.arange(12)], 1)
    gaps = np.array([y if keep else na for y, keep in zip(Y[:, 0], whole)], object)
    wanted = ran(plain, np.where(whole[:, None], Y, NAN))
    assert_same_bits(ran(xs, gaps), wanted)
    assert_same_bits(ran(xs, table(y=gaps)), wanted)
    assert_same_bits(ran(xs, [y if keep else None for y, keep in zip(Y[:, 0], whole)]), wanted)
    labels = np.array([int(i) if keep else na for i, keep in zip(IDS, whole)], object)
    assert_same_bits(ran(plain, labels, rtrl.Softmax(4)), ran(plain, np.where(whole, IDS[:12], -1), rtrl.Softmax(4)))
    for bad in (np.array(["x"] * 12), np.zeros(12, "M8[s]"), np.array([1.5, "x"] * 6, object)):
        with pytest.raises(TypeError, match="^xs, column 'day',? must be"):
            ran(table(a=X[:, 0], day=bad, c=X[:, 1]), Y)
    with pytest.raises(ValueError, match=r"^xs must have no missing values; one is missing at index \(1, 1\)"):
        ran(table(a=X[:, 0], b=gaps, c=X[:, 1]), Y)


def test_the_callers_error_state_changes_nothing():
    tiny = np.full((5, 3), 1e-300)

    def losses():
        learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.Adam(0.1), readout=rtrl.Linear(1), dtype="float32")
        found = [learner.run(tiny, tiny[:, :1]), learner.step(tiny[0], tiny[0, :1]), learner.evaluate(tiny, tiny[:, :1])]
        learner.advance(tiny[0])
        learner.feedback(np.full(4, 1e-300))
        learner.apply({name: np.full(view.shape, 1e-300) for name, view in learner.gradient().items()})
        rtrl.Network(rtrl.LSTM(5), 3, rtrl.Softmax(3), weight_std=1e-42)
        return np.concatenate([np.ravel(each) for each in (*found, learner.predict(tiny[0]))])

    wanted = losses()
    with np.errstate(all="raise"):
        assert_same_bits(losses(), wanted)


def test_a_number_too_large_for_the_type_is_named_as_it_came():
    with pytest.raises(ValueError, match=r"xs must be finite in float32; got .*1e\+300.* at index \(1, 0\)"):
        ran(np.array([[0, 0, 0], [1e300, 0, 0]]), Y[:2], dtype="float32")


def test_long_arrays_are_converted_piece_by_piece(monkeypatch):
    xs, ys = X.repeat(30, 0), Y.repeat(30, 0)
    resets = rng.random((360, 1)) < 0.1
    wanted = ran(xs, ys, resets=resets)
    monkeypatch.setattr(_arguments, "_PIECE", 30)
    assert_same_bits(ran(xs, ys, resets=resets), wanted)
    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=rtrl.Linear(1))
    xs[300, 2] = NAN
    for call in (learner.run, learner.evaluate):
        with pytest.raises(ValueError, match=r"index \(300, 2\)"):
            call(xs, ys)
    assert learner.steps == 0


def test_an_array_that_is_changed_meanwhile_is_checked_again(monkeypatch):
    """A schedule is asked after all steps were checked, and before the first is played."""
    monkeypatch.setattr(_arguments, "_PIECE", 10)
    ids = IDS.repeat(10)

    def rate(step):
        ids[100] = 2**31 - 1
        return 0.1

    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(rate), inputs=4, readout=rtrl.Softmax(4))
    with pytest.raises(ValueError, match="xs must be ids from 0 to 3; got 2147483647"):
        learner.run(ids, IDS.repeat(10))
    assert learner.steps == 100
    ids[100] = 0


def test_a_file_of_ids_takes_no_multiple_of_its_size(tmp_path):
    code = """
        import resource, sys
        import numpy as np
        import rtrl

        lanes, steps = 4096, 2500
        ids = np.lib.format.open_memmap(sys.argv[1], "w+", np.uint8, (steps, lanes))
        ids[:] = np.arange(lanes) % 4
        ids.flush()
        del ids
        ids = np.load(sys.argv[1], mmap_mode="r")
        network = rtrl.Network(rtrl.RNN(1), 4, rtrl.Softmax(4))
        learner = rtrl.Session(network, rtrl.Immediate(), rtrl.SGD(0.1), batch_size=lanes, threads=1)
        learner.run(ids[:10], ids[1:11])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        learner.run(ids[:-1], ids[1:])
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / ids.nbytes)
    """
    assert float(python(code, str(tmp_path / "ids.npy")).stdout) < 3


def test_numbers_at_odd_addresses_are_copied():
    raw = bytearray(1 + 8 * 24)
    odd = np.frombuffer(raw, np.float64, 24, 1).reshape(8, 1, 3)
    odd[:] = rng.normal(size=odd.shape)
    assert not odd.flags.aligned
    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=rtrl.Linear(3), dtype="float64")
    network = learner.network
    for checked in (
        _arguments.inputs(network, 1, "xs", odd, False),
        _arguments.targets(network, network.compiled_readout(), 1, "ys", odd, 8, False),
    ):
        assert checked[0] is None and checked[1].flags.aligned and checked[1].flags.c_contiguous
    twin = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(0.1), readout=rtrl.Linear(3), dtype="float64")
    assert_same_bits([learner.step(x, x) for x in odd], [twin.step(x, x) for x in odd.copy()])


@pytest.mark.parametrize(
    "make",
    [
        lambda: rtrl.SGD(1e39),
        lambda: rtrl.SGD(0.1, weight_decay=1e39),
        lambda: rtrl.Adam(0.1, eps=1e39),
        lambda: rtrl.RMSprop(1e39),
        lambda: rtrl.Kalman(0.1, prior=1e39),
        lambda: rtrl.Adam(0.1, clip_norm=1e39),
    ],
)
def test_options_beyond_float32_are_refused_there(make):
    network = {dtype: rtrl.Network(rtrl.GRU(4), 3, rtrl.Softmax(4), dtype=dtype) for dtype in ("float32", "float64")}
    with pytest.raises(ValueError, match="must be at most 3.40282e.38 in float32; got 1e.39"):
        rtrl.Session(network["float32"], rtrl.KFRTRL(), make())
    rtrl.Session(network["float64"], rtrl.KFRTRL(), make())


def test_schedules_and_weights_beyond_float32_are_refused():
    learner = session(rtrl.GRU(4), rtrl.KFRTRL(), rtrl.SGD(lambda step: 1e39), dtype="float32")
    with pytest.raises(ValueError, match="learning rate of step 0 must be at most 3.40282e.38 in float32"):
        learner.run(*stream(3, 1))
    assert learner.steps == 0
    for options in ({"weight_std": 1e39}, {"input_std": 1e39}):
        with pytest.raises(ValueError, match="too large for weights of float32"):
            rtrl.Network(rtrl.GRU(4), 3, **options)
