"""Where networks and sessions are saved: links, special files, permissions, open files, and what killed writers left."""

import errno
import gzip
import io
import os
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from checkpoint_cases import make
from common import assert_same_bits, assert_same_session, network, python, stream

import rtrl
from rtrl import _files

KINDS = {"session": (make, rtrl.Session.load), "network": (lambda: network(rtrl.GRU(4)), rtrl.Network.load)}
both = pytest.mark.parametrize("made, load", KINDS.values(), ids=KINDS)


def same(a, b):
    net_a, net_b = (each if isinstance(each, rtrl.Network) else each.network for each in (a, b))
    assert_same_bits(net_a.parameters(), net_b.parameters())
    assert repr(a) == repr(b)


def changed(made):
    """One whose weights are others than those of the first that is made."""
    found = made()
    (found if isinstance(found, rtrl.Network) else found.network).parameters()["readout.weight"][0, 0] += 1
    return found


# Special files and links


@both
def test_special_files_are_refused(made, load, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(tmp_path / "socket"))
    os.symlink(tmp_path / "pipe", tmp_path / "link")
    before = sorted(os.listdir(tmp_path))
    for name in before:
        with pytest.raises(OSError, match="not a regular file") as refused:
            made().save(tmp_path / name)
        assert refused.value.errno == errno.EINVAL and name in str(refused.value)
    with pytest.raises(OSError, match="not a regular file"):
        made().save(os.devnull)
    server.close()
    assert sorted(os.listdir(tmp_path)) == before
    assert stat.S_ISFIFO(os.stat(tmp_path / "pipe").st_mode) and stat.S_ISSOCK(os.stat(tmp_path / "socket").st_mode)


@both
def test_links_are_followed(made, load, tmp_path):
    """Absolute, relative, chains of them, through folders, and those to a file that is not there yet."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "here").mkdir()
    real = tmp_path / "disk" / "file"
    links = {
        "absolute": real,
        "relative": "../disk/file",
        "chain": "relative",
        "through a folder": "folder/file",
        "folder": "../disk",
    }
    for name, target in links.items():
        os.symlink(target, tmp_path / "here" / name)
    for name in links.keys() - {"folder"}:
        for written in (made(), changed(made)):  # the first dangles
            written.save(tmp_path / "here" / name)
            same(load(real), written)
            same(load(tmp_path / "here" / name), written)
        real.unlink()
    assert {name: os.readlink(tmp_path / "here" / name) for name in links} == {name: str(path) for name, path in links.items()}
    assert os.listdir(tmp_path / "disk") == []


@both
def test_links_that_lead_nowhere(made, load, tmp_path):
    os.symlink("b", tmp_path / "a")
    os.symlink("a", tmp_path / "b")
    os.symlink("itself", tmp_path / "itself")
    os.symlink("missing/file", tmp_path / "no folder")
    for name, number in {"a": errno.ELOOP, "b": errno.ELOOP, "itself": errno.ELOOP, "no folder": errno.ENOENT}.items():
        with pytest.raises(OSError) as refused:
            made().save(tmp_path / name)
        assert refused.value.errno == number
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "itself", "no folder"]


@both
def test_folders_are_refused(made, load, tmp_path):
    (tmp_path / "folder").mkdir()
    os.symlink("folder", tmp_path / "link")
    for name in ("folder", "folder/", "link", "link/", "missing/"):
        with pytest.raises(IsADirectoryError):
            made().save(f"{tmp_path}/{name}")
    assert sorted(os.listdir(tmp_path)) == ["folder", "link"]


@both
def test_paths_of_every_kind(made, load, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for path in ("~/a", os.fsencode(tmp_path / "b"), b"~/c", "d", Path("~/e"), tmp_path / "\N{GREEK SMALL LETTER ALPHA}"):
        made().save(path)
        same(load(path), made())
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "d", "e", "\N{GREEK SMALL LETTER ALPHA}"]


# Permissions, and the folder


@both
def test_permissions_stay(made, load, tmp_path):
    path = tmp_path / "file"
    mask = os.umask(0o022)
    try:
        made().save(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        for mode in (0o600, 0o640, 0o666, 0o400):
            path.chmod(mode)
            changed(made).save(path)
            same(load(path), changed(made))
            assert stat.S_IMODE(path.stat().st_mode) == mode
    finally:
        os.umask(mask)


@both
def test_nobody_else_could_read_it_meanwhile(made, load, tmp_path, monkeypatch):
    (tmp_path / "file").touch(0o600)
    modes = []
    store = _files._store
    monkeypatch.setattr(
        _files, "_store", lambda file, entries: modes.append(os.fstat(file.fileno()).st_mode) or store(file, entries)
    )
    made().save(tmp_path / "file")
    assert [stat.S_IMODE(mode) for mode in modes] == [0o600]


@both
def test_file_and_folder_are_on_the_disk_in_this_order(made, load, tmp_path, monkeypatch):
    done = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: done.append(stat.S_ISDIR(os.fstat(handle).st_mode)) or fsync(handle))
    monkeypatch.setattr(os, "replace", lambda *names: done.append("replace") or replace(*names))
    made().save(tmp_path / "file")
    assert done == [False, "replace", True]


# Open files


class Pipe(io.RawIOBase):
    """A file that cannot seek and takes a little at a time."""

    def __init__(self, content=b""):
        self.content, self.place = bytearray(content), 0

    def writable(self):
        return True

    def readable(self):
        return True

    def write(self, data):
        self.content += bytes(data[:1000])
        return min(len(data), 1000)

    def readinto(self, out):
        part = self.content[self.place : self.place + min(len(out), 1000)]
        out[: len(part)] = part
        self.place += len(part)
        return len(part)


@both
def test_open_files(made, load, tmp_path):
    memory, pipe = io.BytesIO(), Pipe()
    with open(tmp_path / "file", "wb") as file, tempfile.TemporaryFile() as temporary, gzip.open(tmp_path / "z", "wb") as packed:
        for target in (memory, pipe, file, temporary, packed):
            made().save(target)
            assert not target.closed
        same(load(memory), made())  # wherever it stands: a file is found from its end
        same(load(temporary), made())
        temporary.seek(0)
        same(load(temporary), made())
    same(load(tmp_path / "file"), made())
    same(load(Pipe(pipe.content)), made())
    with open(tmp_path / "file", "rb") as file, gzip.open(tmp_path / "z") as packed:
        same(load(file), made())
        same(load(packed), made())
        assert not file.closed
    behind = io.BytesIO()
    behind.write(b"something before")
    made().save(behind)
    same(load(behind), made())


@both
def test_a_socket(made, load):
    here, there = socket.socketpair()
    found = []

    def read():
        with there.makefile("rb") as file:
            found.append(load(file))

    reader = threading.Thread(target=read)
    reader.start()
    with here.makefile("wb") as file:
        made().save(file)
    here.close()
    reader.join(60)
    there.close()
    same(found[0], made())


@both
def test_files_that_are_open_for_something_else(made, load, tmp_path):
    made().save(tmp_path / "file")
    for text in (io.StringIO(), tempfile.TemporaryFile("w+"), open(tmp_path / "text", "w+")):
        for use in (made().save, load):
            with pytest.raises(TypeError, match="open for bytes .* not for text"):
                use(text)
        text.seek(0)
        assert text.read() == ""
        text.close()
    with open(tmp_path / "file", "rb") as file, pytest.raises(OSError, match="not writable"):
        made().save(file)
    with open(tmp_path / "other", "wb") as file, pytest.raises(OSError, match="not readable"):
        load(file)
    for wrong in (3, None, object(), bytearray(b"file")):
        for use in (made().save, load):
            with pytest.raises(TypeError, match="a path or an open binary file"):
                use(wrong)


def test_a_damaged_open_file(tmp_path):
    file = io.BytesIO()
    make().save(file)
    for content in (b"", b"text", file.getvalue()[:-30], file.getvalue()[:5000]):
        with pytest.raises(ValueError, match="not a complete file of rtrl"):
            rtrl.Session.load(io.BytesIO(content))


# Writers that were killed, and others


def killed_writer(path):
    """A child that dies between the last byte and the renaming."""
    code = """
        import os, signal, sys
        from checkpoint_cases import make
        from rtrl import _files
        _files.os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL)
        make().save(sys.argv[1])
    """
    assert python(code, path, check=False).returncode == -signal.SIGKILL


def test_what_a_killed_writer_left_is_swept_away(tmp_path):
    path = tmp_path / "file"
    make().save(path)
    os.symlink("file", tmp_path / "link")
    killed_writer(path)
    assert len(os.listdir(tmp_path)) == 3
    assert_same_session(rtrl.Session.load(path), make())
    make().save(tmp_path / "link")
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_names_that_only_look_similar_stay(tmp_path):
    path = tmp_path / "file"
    killed_writer(path)
    (left,) = os.listdir(tmp_path)
    others = [
        f"{left}x",
        f"x{left}",
        left[:-1],
        left.replace("~rtrl", "~rtrX"),
        left.replace("file", "fil."),
        "file.tmp",
        "file.part",
    ]
    for name in others:
        (tmp_path / name).write_text("precious")
    make().save(tmp_path / "another file")
    assert left in os.listdir(tmp_path)  # it is of another path
    others.append("file.~rtrl-00000000")
    (tmp_path / others[-1]).mkdir()
    make().save(path)
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "file", "another file"])


def test_the_file_of_a_living_writer_stays(tmp_path):
    """It is held by a lock until it has its name; the save that comes in between takes nothing away."""
    code = """
        import os, sys
        from checkpoint_cases import make
        from rtrl import _files
        replace = os.replace
        def wait(*names):
            print("here", flush=True)
            sys.stdin.readline()
            replace(*names)
        _files.os.replace = wait
        make(seed=1).save(sys.argv[1])
        print("done")
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path / "file"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout.readline() == "here\n"
    make(seed=2).save(tmp_path / "file")
    assert len(os.listdir(tmp_path)) == 2 and rtrl.Session.load(tmp_path / "file").seed == 2
    assert child.communicate("\n", timeout=60)[0] == "done\n"
    assert os.listdir(tmp_path) == ["file"] and rtrl.Session.load(tmp_path / "file").seed == 1


def test_two_threads_save_to_one_path(tmp_path):
    """Both are there in turn, whole, and nothing else."""
    sessions = [make(seed=seed) for seed in (1, 2)]

    def save(ran):
        for _ in range(20):
            ran.save(tmp_path / "file")
            assert rtrl.Session.load(tmp_path / "file").seed in (1, 2)

    failed = []
    threads = [threading.Thread(target=lambda ran=ran: failed.append(ran) if save(ran) else None) for ran in sessions]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", lambda arguments: failed.append(arguments.exc_value))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == [] and os.listdir(tmp_path) == ["file"]


def test_a_writer_without_locks_still_saves(tmp_path, monkeypatch):
    """Some network file systems have none: then nothing is swept away, and nothing is lost."""
    killed_writer(tmp_path / "file")

    def flock(file, operation):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(_files.fcntl, "flock", flock)
    make().save(tmp_path / "file")
    assert len(os.listdir(tmp_path)) == 2
    assert_same_session(rtrl.Session.load(tmp_path / "file"), make())


class Interrupt(BaseException):
    pass


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of interrupts in a finalizer of zipfile
def test_an_interrupt_comes_out_as_itself(tmp_path):
    """At every line of the writer, one after the other: the old file stays and nothing else, or the new one is there."""
    ran = make()
    ran.save(tmp_path / "file")
    ran.run(*stream(3, 2))
    files, count, at, interrupted, saved = (_files.__file__, _files.zipfile.__file__), 0, 0, 0, 0

    def trace(frame, event, argument):
        nonlocal count
        if frame.f_code.co_filename not in files:
            return None
        if event == "line":
            count += 1
            if count == at:
                raise Interrupt
        return trace

    while True:
        at, count = at + 7, 0
        sys.settrace(trace)
        try:
            ran.save(tmp_path / "file")
        except Interrupt:
            interrupted += 1
        finally:
            sys.settrace(None)
        saved += rtrl.Session.load(tmp_path / "file").steps == 3
        if count < at:
            break
    assert interrupted > 50 and saved >= 1 and os.listdir(tmp_path) == ["file"]


# Files of version 0.1


@pytest.mark.filterwarnings("error")
def test_files_of_version_0_1(tmp_path):
    """Made by that version in the middle of a block, with something credited; the losses are those that it went on with."""
    files = Path(__file__).with_name("files")
    ran = rtrl.Session.load(files / "session-0.1.npz")
    net = rtrl.Network.load(files / "network-0.1.npz")
    assert repr(net) == "Network(RHN(hidden=2, depth=2), inputs=2, readout=Linear(outputs=1), dtype='float32', mask=<20 of 32>)"
    assert repr(ran.network) == repr(net) and ran.estimator == rtrl.KFRTRL(block=3) and ran.steps == 5 and ran.first_lane == 0
    xs, ys = np.sin(np.arange(40.0)).reshape(10, 2, 2), np.cos(np.arange(20.0)).reshape(10, 2, 1)
    expected = [0.22127125636946043, 0.3087801665406875, 0.177284828200594, 0.30809706747128374, 0.28305488182159255]
    assert np.allclose(ran.run(xs[5:], ys[5:]), expected, rtol=1e-5, atol=0)
