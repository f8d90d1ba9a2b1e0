"""Files that somebody made on purpose, with a right digest: refused, or a session that runs; never the end of the process."""

import io
import json
import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from checkpoint_cases import contents, forge, make
from common import network, python, stream

import rtrl
import rtrl_core
from rtrl import _files


def test_every_block_of_integers_has_limits(tmp_path):
    """Each block set to numbers around and far beyond its limits.  A process of its own, because what is wrong ends it."""
    code = """
        import io, sys
        import numpy as np
        import rtrl
        from checkpoint_cases import LANES, contents, forge, limited, limited_session, use

        blocks = refused = taken = 0
        for case, options in limited().items():
            ran = limited_session(**options)
            ran.save(sys.argv[1])
            description, arrays = contents(sys.argv[1])
            for name, kind, code, _, count, (least, most, _) in [each for arena in ran._engine.arenas() for each in arena.blocks]:
                if kind == "workspace" or not count or code[0] != "i":
                    continue
                blocks, count = blocks + 1, int(count)
                saved, info = arrays[f"block/{name}"], np.iinfo(code)
                least_of, most_of = (np.broadcast_to(limit, count).astype(object) for limit in (least, most))
                for place in sorted({0, len(saved) // 2, len(saved) - 1}):
                    low, high = least_of[place], most_of[place]
                    for value in sorted({-1, -2**31, 2**31 - 1, info.min, info.max, low - 1, low, high, high + 1}):
                        print(case, name, place, value, flush=True)
                        changed = saved.copy()
                        changed[place] = value
                        file = io.BytesIO()
                        forge(file, description, {**arrays, f"block/{name}": changed})
                        try:
                            loaded = rtrl.Session.load(file)
                        except ValueError as error:
                            assert name in str(error), error
                            refused += 1
                            continue
                        assert ((least <= changed) & (changed <= most)).all()
                        use(loaded)
                        taken += 1
        print("done", blocks, refused, taken)
    """
    done, blocks, refused, taken = python(code, tmp_path / "file").stdout.split("\n")[-2].split()
    assert done == "done" and int(blocks) > 150 and int(refused) > 1000 and int(taken) > 500


def test_lanes_of_one_step_have_ids_or_numbers(tmp_path):
    """-1 stands for numbers: it comes in all lanes of a step or in none, and only where there are numbers."""
    for dense in (False, True):
        ran = make(estimator="tbptt block")
        ran.run(*stream(3, 2, dense=dense))
        ran.save(tmp_path / "file")
        description, arrays = contents(tmp_path / "file")
        for name in ("block/session.record0.ids", "block/estimator.0.ids"):
            saved = arrays[name].copy()
            arrays[name][-1] = -1
            if dense:
                arrays[name][-2] = 0
            forge(tmp_path / "file", description, arrays)
            with pytest.raises(ValueError, match="ids is .* out of range"):
                rtrl.Session.load(tmp_path / "file")
            arrays[name][:] = saved


def test_numbers_that_cannot_be(tmp_path):
    """Mean squares are not negative; all else may be any number, because a session that diverged can be saved too."""
    ran = make(optimizer="adam", dtype="float32")
    ran.run(*stream(3, 2))
    ran.save(tmp_path / "file")
    description, arrays = contents(tmp_path / "file")
    arrays["block/optimizer.q"][5] = -1
    forge(tmp_path / "file", description, arrays)
    with pytest.raises(ValueError, match=r"optimizer.q is -1.0 at index 5"):
        rtrl.Session.load(tmp_path / "file")
    for value in (np.nan, np.inf, -np.inf, 3e38):
        for name, array in arrays.items():
            if array.dtype.kind == "f":
                array[...] = abs(value) if name == "block/optimizer.q" else value
        forge(tmp_path / "file", description, arrays)
        loaded = rtrl.Session.load(tmp_path / "file")
        with pytest.warns(RuntimeWarning):
            loaded.run(*stream(9, 2))


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


VALUES = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    10**400,
    1.5,
    float("nan"),
    float("inf"),
    1e-320,
    "",
    "3",
    [],
    [2],
    {},
    nested(50),
]


def test_every_field_of_the_description(tmp_path):
    """Each field set to values of every kind: refused in words, or a session that runs."""
    ran = make(shadow=rtrl.UORO())
    ran.run(*stream(3, 2))
    ran.save(tmp_path / "file")
    description, arrays = contents(tmp_path / "file")

    def fields(part, way=()):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            yield (*way, key)
            if isinstance(value, dict | list):
                yield from fields(value, (*way, key))

    tried = taken = 0
    for *way, last in fields({name: description[name] for name in description.keys() - {"rtrl", "format", "digest"}}):
        for value in VALUES:
            forged = json.loads(json.dumps(description))
            part = forged
            for key in way:
                part = part[key]
            part[last] = value
            forge(tmp_path / "file", forged, arrays)
            tried += 1
            try:
                loaded = rtrl.Session.load(tmp_path / "file")
            except ValueError as error:
                assert "file" in str(error)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", RuntimeWarning)  # of what an influence cap of 1e-320 does
                    loaded.run(*stream(3, 2))
                taken += 1
    assert tried > 400 and taken < tried / 4


@pytest.mark.parametrize("family", ["cells", "estimators", "optimizers", "readouts", "os", "__dict__"])
@pytest.mark.parametrize("name", ["__class__", "__getattr__", "__builtins__", "dataclass", "Estimator", "Cell", "np", ""])
def test_names_that_are_no_specs(family, name):
    with pytest.raises((ValueError, KeyError)):
        _files.unpack({"family": family, "name": name, "options": {}})


def test_a_description_that_is_nested_deep(tmp_path):
    for text in (b"[" * 10**6, b'{"rtrl": "session", "format": 1, "network": ' + b'{"a":' * 10**5):
        np.savez(tmp_path / "deep", description=np.frombuffer(text, np.uint8))
        with pytest.raises(ValueError, match="not a complete file of rtrl"):
            rtrl.Session.load(tmp_path / "deep.npz")


# Sizes


def entry(dtype, shape, content=b""):
    """An entry of NumPy's that claims a type and a shape."""
    head = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    head += b" " * (64 - (11 + len(head)) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_unpacks_to_more_is_refused_before_it_is_unpacked(compression, tmp_path):
    text = json.dumps({"rtrl": "session", "format": 1, "digest": "x"}).encode()
    with zipfile.ZipFile(tmp_path / "bomb", "w", compression) as archive:
        archive.writestr("description.npy", entry("|u1", (len(text),), text))
        with archive.open("array/a.npy", "w") as file:
            file.write(entry("|u1", (2**26,)))
            for _ in range(64):
                file.write(bytes(2**20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="compressed"):
        rtrl.Session.load(tmp_path / "bomb")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


def test_entries_that_claim_more_than_there_is(tmp_path):
    ran = make()
    ran.save(tmp_path / "file")
    with zipfile.ZipFile(tmp_path / "file") as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    for shape in ((2**40,), (2**70,), (-1,), (), (2, 2**40)):
        with zipfile.ZipFile(tmp_path / "file", "w") as archive:
            for name, content in entries.items():
                archive.writestr(name, entry("<f8", shape) if name == "array/block/session.s.npy" else content)
        with pytest.raises(ValueError, match="not a complete file of rtrl"):
            rtrl.Session.load(tmp_path / "file")


def test_one_place_in_the_file_for_many_entries(tmp_path):
    """Every entry of the directory points to the same megabyte."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("description.npy", entry("|u1", (2,), b"{}"))
        archive.writestr("array/a.npy", entry("|u1", (2**20,), bytes(2**20)))
        for i in range(1000):
            info = zipfile.ZipInfo(f"array/{i}.npy")
            for name in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(info, name, getattr(archive.infolist()[1], name))
            archive.filelist.append(info)
            archive.NameToInfo[info.filename] = info
    with pytest.raises(ValueError, match="larger than the file"):
        rtrl.Session.load(file)


@pytest.mark.parametrize(
    "field, value",
    [
        (("network", "cell", "options", "hidden"), 2**20),
        (("network", "inputs"), 2**24),
        (("network", "readout", "options", "classes"), 2**24),
        (("batch_size",), 2**31 - 1),
        (("batch_size",), 100_000),
        (("estimator", "options", "horizon"), 2**31 - 1),
        (("estimator", "options", "horizon"), 100_000),
        (("shadows",), [{"family": "estimators", "name": "KeRNL", "options": {}}] * 20),
    ],
)
def test_sizes_are_compared_before_memory_is_taken(field, value, tmp_path, monkeypatch):
    make(estimator="tbptt block").save(tmp_path / "file")
    description, arrays = contents(tmp_path / "file")
    *way, last = field
    part = description
    for key in way:
        part = part[key]
    part[last] = value
    forge(tmp_path / "file", description, arrays)
    asked = []
    for module in (rtrl.network, rtrl_core.core("float64")):
        monkeypatch.setattr(module, "check_memory", lambda total, parts: asked.append(total))
    with pytest.raises(ValueError, match=" must be .* of shape "):
        rtrl.Session.load(tmp_path / "file")
    assert sum(asked) < 2**20


def test_a_mask_of_other_numbers(tmp_path):
    net = network(rtrl.RNN(5), sparsity=0.5)
    net.save(tmp_path / "file")
    description, arrays = contents(tmp_path / "file")
    arrays["mask/cell.0.weight"].view(np.uint8)[0, 0] = 7
    forge(tmp_path / "file", description, arrays)
    with pytest.raises(ValueError, match="mask"):
        rtrl.Network.load(tmp_path / "file")
