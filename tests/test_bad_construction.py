"""Specs, networks and sessions that cannot be: refused when they are made, at once, and with a reason."""

import numpy as np
import pytest
from common import CELLS, READOUTS, python, session

import rtrl

NAN, INF = float("nan"), float("inf")
HUGE = 10**30


def whole_numbers(name, make, largest):
    """Bad values of an option that must be a whole number of at least 1."""
    for value in (0, -1, -(2**31), largest + 1, 2**31, 2**63, HUGE, -HUGE):
        yield name, make, value, ValueError
    for value in (True, 1.0, NAN, INF, "4", None, [4], np.float32(3), np.array([4]), 1j, object()):
        yield name, make, value, TypeError


def numbers(name, make, *out_of_range):
    """Bad values of an option that must be a finite number in some range."""
    for value in (NAN, INF, -INF, -1, *out_of_range):
        yield name, make, value, ValueError
    for value in ("0.1", None, [0.1], True, 1j, np.array([0.1, 0.2])):
        yield name, make, value, TypeError


def choices(name, make, *wrong):
    for value in wrong:
        yield name, make, value, (TypeError, ValueError)


OPTIMIZERS = (rtrl.SGD, rtrl.RMSprop, rtrl.Adam)
BAD = [
    *(bad for cell in (rtrl.RNN, rtrl.GRU, rtrl.LSTM, rtrl.RHN) for bad in whole_numbers("hidden", cell, 2**20)),
    *whole_numbers("depth", lambda v: rtrl.RHN(3, v), 64),
    *choices("nonlinearity", lambda v: rtrl.RNN(3, v), "sigmoid", "", None, 3, b"tanh", ["tanh"]),
    *numbers("leak", lambda v: rtrl.RNN(3, leak=v), 0, 1.5),
    *whole_numbers("horizon", rtrl.TBPTT, 2**31 - 1),
    *choices("sliding", lambda v: rtrl.TBPTT(3, v), 1, None, "yes"),
    *(
        bad
        for spec in (rtrl.RTRL, rtrl.UORO, rtrl.KFRTRL)
        for bad in choices("fresh", lambda v, s=spec: s(fresh=v), 1, None, "no")
    ),
    *whole_numbers("classes", rtrl.Softmax, 2**24),
    *whole_numbers("outputs", rtrl.Linear, 2**24),
    *whole_numbers("outputs", rtrl.Bernoulli, 2**24),
    *(bad for spec in OPTIMIZERS for bad in numbers("lr", spec)),
    *(bad for spec in OPTIMIZERS for bad in numbers("weight_decay", lambda v, s=spec: s(0.1, weight_decay=v))),
    *(bad for spec in OPTIMIZERS for bad in numbers("clip_norm", lambda v, s=spec: s(0.1, clip_norm=v), 0) if bad[2] is not None),
    *numbers("momentum", lambda v: rtrl.SGD(0.1, momentum=v), 1),
    *numbers("alpha", lambda v: rtrl.RMSprop(0.1, alpha=v), 1),
    *numbers("eps", lambda v: rtrl.RMSprop(0.1, eps=v), 0),
    *numbers("eps", lambda v: rtrl.Adam(0.1, eps=v), 0),
    *choices("betas", lambda v: rtrl.Adam(0.1, betas=v), 0.9, (0.9,), (0.9, 1), (-0.1, 0.9), (0.9, "a"), (0.9, NAN), None, "ab"),
    *choices("nesterov", lambda v: rtrl.SGD(0.1, momentum=0.5, nesterov=v), 1, None),
    *choices("nesterov", lambda v: rtrl.SGD(0.1, nesterov=v), True),
    *whole_numbers("inputs", lambda v: rtrl.Network(rtrl.RNN(2), v), 2**24),
    *choices("cell", lambda v: rtrl.Network(v, 2), None, "RNN", rtrl.RNN, rtrl.UORO(), 5),
    *choices("readout", lambda v: rtrl.Network(rtrl.RNN(2), 2, v), "Softmax", rtrl.Softmax, rtrl.RNN(2), 5),
    *choices("dtype", lambda v: rtrl.Network(rtrl.RNN(2), 2, dtype=v), "float16", "int32", "real", 5, int, ">f4", [1], {}),
    *choices("seed", lambda v: rtrl.Network(rtrl.RNN(2), 2, seed=v), -1, 2**64, 1.5, None, "a", True),
    *(bad for bad in numbers("weight_std", lambda v: rtrl.Network(rtrl.RNN(2), 2, weight_std=v)) if bad[2] is not None),
    *(bad for bad in numbers("input_std", lambda v: rtrl.Network(rtrl.RNN(2), 2, input_std=v)) if bad[2] is not None),
    *whole_numbers("batch_size", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), batch_size=v), 2**31 - 1),
    *(
        bad
        for bad in whole_numbers("threads", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), threads=v), 1024)
        if bad[2] is not None
    ),
    *(
        bad
        for bad in whole_numbers("update_every", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), update_every=v), 2**31 - 1)
        if bad[2] is not None
    ),
    *choices("seed", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), seed=v), -1, 2**64, 1.5, None, "a", True),
    *numbers("influence_cap", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), influence_cap=v), 0),
    *choices("network", lambda v: rtrl.Session(v, rtrl.RTRL()), None, rtrl.RNN(2), "net", rtrl.Network),
    *choices("estimator", lambda v: session(rtrl.RNN(2), v), None, rtrl.RTRL, "RTRL", rtrl.RNN(2)),
    *choices("optimizer", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), v), 0.1, rtrl.SGD, "SGD", rtrl.RTRL()),
    *choices(
        "shadow|estimator", lambda v: session(rtrl.RNN(2), rtrl.RTRL(), shadow=v), 5, "RTRL", [None], [rtrl.RTRL], rtrl.SGD(0.1)
    ),
    *choices("estimator", lambda v: session(rtrl.RNN(2), rtrl.RTRL()).shadow(v), None, rtrl.RTRL, [rtrl.RTRL()]),
    *(
        bad
        for i, name in enumerate(("seed", "step", "lane", "stage", "count"))
        for bad in choices(
            name, lambda v, i=i: rtrl.random_signs(*[v if i == j else 1 for j in range(5)]), -1, 2**64, 1.5, None, "a"
        )
    ),
    *choices("mode", rtrl.show_config, "print", None, 3),
]


@pytest.mark.parametrize("name, make, value, error", BAD, ids=[f"{name}={value!r}"[:40] for name, _, value, _ in BAD])
def test_options(name, make, value, error):
    with pytest.raises(error, match=f"({name})"):
        make(value)


def test_unknown_options():
    for make in (rtrl.RNN, rtrl.GRU, rtrl.RHN, rtrl.TBPTT, rtrl.Softmax, rtrl.Linear, rtrl.SGD, rtrl.Adam):
        with pytest.raises(TypeError, match="size"):
            make(3, size=4)
        with pytest.raises(TypeError, match="missing"):
            make()
    with pytest.raises(TypeError, match="batchsize"):
        session(rtrl.RNN(2), rtrl.RTRL(), batchsize=2)
    for module, name in (("cells", "GRUU"), ("estimators", "BPTT"), ("readouts", "MSE"), ("optimizers", "Adamw")):
        with pytest.raises(AttributeError, match=name):
            getattr(getattr(rtrl, module), name)


def test_specs_do_not_change():
    for spec in (*CELLS.values(), *READOUTS.values(), rtrl.UORO(), rtrl.SGD(0.1)):
        with pytest.raises(AttributeError):
            setattr(spec, next(iter(spec.options())), 1)
    with pytest.raises(ValueError, match="hidden"):
        rtrl.RNN(3).replace(hidden=-3)


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert rtrl.RNN(np.int8(5)) == rtrl.RNN(5) and type(rtrl.RNN(np.int64(5)).hidden) is int
    assert rtrl.SGD(np.float32(0.5)) == rtrl.SGD(0.5)


# Too much memory: how much is said, at once, and nothing is allocated

TOO_LARGE = {
    "weights": lambda: rtrl.Network(rtrl.GRU(2**20), 2),
    "weights of inputs": lambda: rtrl.Network(rtrl.RNN(2**19), 2**24),
    "weights of outputs": lambda: rtrl.Network(rtrl.RNN(2**19), 1, rtrl.Softmax(2**24)),
    "influence of RTRL": lambda: session(rtrl.RNN(2000), rtrl.RTRL(), batch_size=64),
    "influence of UORO": lambda: session(rtrl.GRU(1000), rtrl.UORO(), batch_size=2**20),
    "influence of KF-RTRL": lambda: session(rtrl.LSTM(1000), rtrl.KFRTRL(), batch_size=2**20),
    "lanes": lambda: session(rtrl.RNN(200), rtrl.Immediate(), batch_size=2**31 - 1),
    "tape": lambda: session(rtrl.LSTM(1000), rtrl.TBPTT(1000), batch_size=10_000),
    "tape of many steps": lambda: session(rtrl.RNN(100), rtrl.TBPTT(2**31 - 1)),
    "tape of many steps and stages": lambda: session(rtrl.RHN(100, 64), rtrl.TBPTT(2**31 - 1, sliding=True)),
    "tape of half as many": lambda: session(rtrl.RNN(100), rtrl.TBPTT(2**30)),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_too_much_memory(case):
    """In a process of its own, so that a crash is seen as one, and so that its memory can be watched."""
    code = """
        import resource, sys, time
        from test_bad_construction import TOO_LARGE
        from common import network
        import rtrl
        rtrl.Session(network(rtrl.RNN(3)), rtrl.RTRL())
        before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
        try:
            TOO_LARGE[sys.argv[1]]()
        except MemoryError as error:
            print(error)
        print(time.perf_counter() - began)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    """
    message, seconds, kilobytes = python(code, case, timeout=60).stdout.splitlines()
    for words in (r"this needs ", " (", case.split()[0], "but only ", " are available"):
        assert words in message or words == "lanes"
    assert any(f" {unit} (" in message for unit in ("GiB", "TiB", "PiB"))
    assert float(seconds) < 2 and int(kilobytes) < 150_000  # the network of a case is itself some 30 MB


def test_memory_of_shadows_and_dense_inputs():
    """Both come later than the session; refused, they leave it as it was."""
    ran = session(rtrl.RNN(1000), rtrl.Immediate(), readout=None, batch_size=64)
    with pytest.raises(MemoryError, match="this needs .* GiB .*influence"):
        ran.shadow(rtrl.RTRL())
    assert ran.shadows == () and ran.advance(np.zeros(64, int)).shape == (64, 1000)


def test_a_limit_of_the_system_is_a_memory_error():
    """Where the machine has the memory but the process may not have it."""
    code = """
        import resource
        import rtrl
        from common import network
        net = network(rtrl.RNN(500))
        resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))
        try:
            rtrl.Session(net, rtrl.UORO(), batch_size=600)
        except MemoryError as error:
            print("refused", error)
        print(rtrl.Session(net, rtrl.UORO()).step([1, 2, 3], 1) > 0)
    """
    lines = python(code).stdout.splitlines()
    assert lines[0].startswith("refused") and "bytes" in lines[0] and lines[1] == "True"
