"""Files that are damaged, foreign or of the wrong kind, and folders that cannot be written."""

import os
import pickle

import numpy as np
import pytest
from checkpoint_cases import make
from common import assert_same_bits, assert_same_session, network, python, stream

import rtrl


@pytest.fixture
def saved(tmp_path):
    """A file of a session with every kind of content."""
    ran = make(estimator="tbptt block", shadow=rtrl.UORO())
    ran.run(*stream(6, 2))
    ran.save(tmp_path / "file")
    return tmp_path / "file"


def test_truncated_at_every_length(saved):
    whole = saved.read_bytes()
    lengths = {*range(0, len(whole), 97), *range(len(whole) - 300, len(whole))}
    for length in lengths:
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a complete file of rtrl"):
            rtrl.Session.load(saved)
    assert len(lengths) > 300


def test_flipped_bytes(saved):
    """A change is found, or it was one that means nothing (dates and the like): never another session."""
    whole, original = saved.read_bytes(), rtrl.Session.load(saved)
    found = 0
    for place in [*range(0, len(whole), 53), *range(len(whole) - 400, len(whole))]:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        saved.write_bytes(damaged)
        try:
            loaded = rtrl.Session.load(saved)
        except ValueError as error:
            assert str(saved) in str(error)
            found += 1
        else:
            assert_same_session(loaded, original)
            assert_same_bits(loaded._arrays, original._arrays)
    assert found > 200


def test_appended_and_foreign_files(saved, tmp_path):
    foreign = {
        "empty": b"",
        "text": b"a text\n" * 99,
        "zeros": bytes(5000),
        "pickle": pickle.dumps({"a": [1, 2]}),
        "pickle of an array": pickle.dumps(np.ones(9)),
        "zip without entries": b"PK\x05\x06" + bytes(18),
    }
    for name, content in foreign.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "array", np.ones((3, 3)))
    np.savez(tmp_path / "arrays", a=np.ones(3), b=np.arange(4))
    np.savez(tmp_path / "objects", description=np.array([{}], object))
    for name, text in {
        "not json": b"{",
        "a list": b"[1]",
        "no kind": b"{}",
        "later format": b'{"rtrl": "session", "format": 99}',
        "no contents": b'{"rtrl": "session", "format": 1}',
    }.items():
        np.savez(tmp_path / name, description=np.frombuffer(text, np.uint8))
    for path in set(tmp_path.iterdir()) - {saved}:
        for load in (rtrl.Session.load, rtrl.Network.load):
            with pytest.raises(ValueError, match="not a complete file of rtrl"):
                load(path)


def test_wrong_kind(saved, tmp_path):
    network(rtrl.RNN(5)).save(tmp_path / "net")
    with pytest.raises(ValueError, match="does not hold a session"):
        rtrl.Session.load(tmp_path / "net")
    with pytest.raises(ValueError, match="does not hold a network"):
        rtrl.Network.load(saved)


def test_unreadable(tmp_path):
    for load in (rtrl.Session.load, rtrl.Network.load):
        with pytest.raises(FileNotFoundError, match="nothing here"):
            load(tmp_path / "nothing here")
        with pytest.raises(IsADirectoryError):
            load(tmp_path)
        for wrong in (None, 3.5, ["a"]):
            with pytest.raises(TypeError):
                load(wrong)
        descriptor = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(TypeError):  # a number is no name: open() would read, and then close, what belongs to someone else
            load(descriptor)
        os.close(descriptor)


@pytest.mark.parametrize("make_it", [make, lambda: network(rtrl.GRU(4))], ids=["session", "network"])
def test_places_that_cannot_be_written(make_it, tmp_path):
    ran = make_it()
    (tmp_path / "a file").write_text("text")
    for path, error in {"missing/file": FileNotFoundError, "a file/file": NotADirectoryError, ".": OSError}.items():
        with pytest.raises(error):
            ran.save(tmp_path / path)
    with pytest.raises(TypeError):
        ran.save(None)
    assert os.listdir(tmp_path) == ["a file"] and (tmp_path / "a file").read_text() == "text"
    ran.save(tmp_path / "fine")
    assert sorted(os.listdir(tmp_path)) == ["a file", "fine"]


def test_no_permission(tmp_path):
    """As another user where this one may write everywhere."""
    folder = tmp_path / "folder"
    folder.mkdir(mode=0o555)
    code = """
        import os, sys
        from checkpoint_cases import make
        ran = make()
        if os.geteuid() == 0:
            os.setuid(65534)
        try:
            ran.save(sys.argv[1] + "/file")
        except PermissionError as error:
            print("refused", ran.steps)
    """
    assert python(code, folder).stdout.split() == ["refused", "0"]
    assert os.listdir(folder) == []


def test_a_full_disk_leaves_the_old_file(saved):
    """The write fails half way (here: at a limit on the size of files); the old file stays, and nothing else."""
    before = saved.read_bytes()
    code = """
        import resource, signal, sys
        import rtrl
        from common import stream
        ran = rtrl.Session.load(sys.argv[1])
        ran.run(*stream(4, 2))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        try:
            ran.save(sys.argv[1])
        except OSError as error:
            print("refused", ran.steps)
    """
    assert len(before) > 5000
    assert python(code, saved).stdout.split() == ["refused", "10"]
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_a_refused_load_needs_no_memory_first(saved):
    """Sizes in a file are checked like those of a user."""
    with np.load(saved) as archive:
        arrays = dict(archive)
    text = arrays["description"].tobytes()
    for old, new in ((b'"batch_size": 2', b'"batch_size": 2000000000'), (b'"hidden": 4', b'"hidden": 1000000')):
        assert old in text
        with open(saved, "wb") as file:
            np.savez(file, **{**arrays, "description": np.frombuffer(text.replace(old, new), np.uint8)})
        with pytest.raises((MemoryError, ValueError)):
            rtrl.Session.load(saved)


@pytest.mark.parametrize("block", ["ids", "fill"])
@pytest.mark.parametrize("value", [-(2**31), -2, 2**30])
def test_places_that_do_not_exist(block, value, tmp_path):
    """A well-formed file that someone else wrote: ids and places on the tape are checked before they are followed."""
    code = """
        import sys
        import numpy as np
        import rtrl
        from common import session, stream
        path, block, value = sys.argv[1], sys.argv[2], int(sys.argv[3])
        ran = session(rtrl.RNN(5), rtrl.TBPTT(4), rtrl.SGD(0.1), shadow=rtrl.RTRL())
        xs, ys = stream(6, 1, dense=False)
        ran.run(xs, ys)
        ran.advance(xs[0])
        ran.save(path)
        with np.load(path) as archive:
            arrays = dict(archive)
        for name in arrays:
            if name.endswith(block):
                arrays[name][...] = value
        with open(path, "wb") as file:
            np.savez(file, **arrays)
        try:
            rtrl.Session.load(path).run(xs, ys)
        except ValueError as error:
            print("refused", error)
    """
    assert python(code, tmp_path / "file", block, value).stdout.startswith("refused")
