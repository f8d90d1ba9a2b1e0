"""The folder of a run: rows as they come, and a checkpoint that a kill at any moment leaves whole.

run.json         what was asked for, and with which version
rows.jsonl       results, one line each, the same at every repetition
times.jsonl      seconds of each window, and what else differs from one repetition to the next
state.json       where the checkpoint is: its file, and how many bytes of the two files above it stands for
step-N.npz       arrays of the checkpoint

A checkpoint is there once state.json has been replaced, which a file system does at once or not at all.  Lines that came
after it are cut off when the run is resumed, and come again.  How the files are read, see `records`.
"""

import contextlib
import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import rtrl
from rtrl.experiments.records import in_line, is_plain, read_lines, read_run, read_state, sealed
from rtrl.experiments.report import line

try:
    import fcntl
except ImportError:  # not on every system; then two runs in one folder are the user's to avoid
    fcntl = None  # type: ignore[assignment]

__all__ = ["Result", "Store", "place", "read_result", "read_results"]

_LINES = ("rows", "times")
_THEN = ", then "  # between the versions that have worked on a run, one after the other


@dataclass
class Result:
    """What a run has found.

    Attributes
    ----------
    study : str
        Name of the study.
    settings : dict
        As `Settings.describe` gives them.
    rows, times : list of dict
        What its windows gave.
    done : bool
        Whether it came to its end.
    about : dict
        Title, command, version and CPU level.
    step, work : int
        What is done up to its checkpoint, and all that it has to do.
    unit : str
        Of both.
    folder : Path or None
        Where it was read.
    """

    study: str
    settings: dict
    rows: list = field(default_factory=list)
    times: list = field(default_factory=list)
    done: bool = False
    about: dict = field(default_factory=dict)
    step: int = 0
    work: int = 1
    unit: str = "steps"
    folder: Path | None = None

    @property
    def seconds(self):
        """Time of all windows."""
        return sum(each["seconds"] for each in self.times)


class Store:
    """Files of one run.

    Parameters
    ----------
    folder : path-like
        Of all runs of a study.
    settings : rtrl.experiments.settings.Settings
        Those of this run.

    Attributes
    ----------
    step : int
        Work that the checkpoint stands for.
    """

    def __init__(self, folder, settings):
        self.folder, self._settings, self.step = place(folder) / settings.name, settings, 0
        self._files = {}

    def check(self, resume):
        """Whether the run has begun.

        Raises
        ------
        ValueError
            If it has, and nobody asked to resume it.
        """
        found = (self.folder / "run.json").exists()
        if found and not resume:
            raise ValueError(f"{self.folder} has results: --resume goes on with them")
        return found

    def reached(self):
        """Work that the checkpoint of a run that has begun stands for; errors as `open`."""
        state = self._checkpoint()
        return 0 if state is None else state["step"]

    def kept(self):
        """What that run kept as plain data."""
        return self._checkpoint()["state"]

    def _checkpoint(self):
        try:
            return read_state(self.folder)
        except ValueError as error:
            raise self._damaged(error) from None

    def _damaged(self, words):
        return ValueError(f"{self.folder} is damaged: {words}")

    def open(self, resume):
        """Make the folder, or go back to its checkpoint; where that is, as `Run.load` takes it, or None at the start.

        Raises
        ------
        ValueError
            If there are results that nobody asked to resume, another process is at work here, or the folder is damaged.
        """
        found = self.check(resume)
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in _LINES:
            path = self.folder / f"{name}.jsonl"
            if os.path.lexists(path) and not is_plain(path):
                raise self._damaged(f"{path.name} is no file of this folder")
            self._files[name] = open(path, "a+b")
        self._lock()
        state = self._checkpoint() if found else None
        before = self._before(state) if state is not None else {}
        for name, file in self._files.items():
            file.truncate(0 if state is None else state[name])
        if state is None or state["step"] < self._settings.work:
            asked = {"study": self._settings.study, "settings": self._settings.describe(), "work": self._settings.work}
            _replace(self.folder / "run.json", {**asked, **_about(self._settings, before)})
        self.step = 0 if state is None else state["step"]
        return state and (self.folder / state["file"], state["state"])

    def _before(self, state):
        """What run.json says, once all that the checkpoint names is there."""
        for name, file in self._files.items():
            if file.seek(0, os.SEEK_END) < state[name]:
                raise self._damaged(f"{name}.jsonl is shorter than at the last checkpoint")
        path = self.folder / state["file"]
        if not (os.path.lexists(path) and is_plain(path)):
            raise self._damaged(f"{path.name}, its checkpoint, is no file of this folder")
        try:
            return read_run(self.folder)
        except ValueError as error:
            raise self._damaged(error) from None

    def _lock(self):
        if fcntl is not None:
            try:
                fcntl.flock(self._files["rows"], fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{self.folder} is in use by another process") from None

    def add(self, rows, times):
        """Append results of a window."""
        for name, records in zip(_LINES, (rows, [times])):
            self._files[name].write("".join(map(line, records)).encode())
            self._files[name].flush()

    def commit(self, run):
        """Make a checkpoint."""
        file = f"step-{run.step}.npz"
        _no_link(self.folder / file)
        state = run.save(self.folder / file)
        sealed(self.folder / file)  # before anything names it
        sizes = {}
        for name, lines in self._files.items():
            os.fsync(lines.fileno())
            sizes[name] = lines.seek(0, os.SEEK_END)
        reached = {"step": run.step, "steps": run.steps, "unit": run.unit}
        _replace(self.folder / "state.json", {**reached, "file": file, **sizes, "state": state})
        self.step = run.step
        for old in self.folder.glob("step-*"):
            if old.name != file:
                with contextlib.suppress(OSError):
                    old.unlink()

    def close(self):
        for file in self._files.values():
            file.close()


def place(path):
    """A path as it was told, which may begin with ~."""
    return Path(os.path.expanduser(os.fsdecode(path)))


def read_result(folder):
    """The result in the folder of a run, lines left out that came after its checkpoint and cannot be read.

    Raises
    ------
    OSError
        If a file cannot be read.
    ValueError
        If they are no results, or damaged; the message names the folder, and says how.
    """
    folder = place(folder)
    try:
        state = read_state(folder) or {}  # before the lines: a run that is at work adds some
        about = read_run(folder)
        found = {name: read_lines(folder, name, state.get(name, 0)) for name in _LINES}
    except ValueError as error:
        raise ValueError(f"{folder} does not hold the results of a run: {error}") from None
    step, work = state.get("step", 0), about.pop("work", state.get("steps", 1))
    reached = {"step": step, "work": work, "unit": state.get("unit", Result.unit), "done": step >= work}
    settings, rows = in_line(about.pop("settings")), [in_line(row) for row in found["rows"]]
    about = in_line(about)
    return Result(about.pop("study"), settings, rows, found["times"], **reached, about=about, folder=folder)


def read_results(folder):
    """Results of all runs below a folder, by path; errors as `read_result`."""
    return [read_result(path.parent) for path in sorted(place(folder).glob("**/run.json"))]


def _replace(path, record):
    """Write a JSON file at once or not at all."""
    temporary = path.with_suffix(".tmp")
    _no_link(temporary)
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(line(record))
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    sealed(path)  # before what it named until now is removed


def _no_link(path):
    """Remove a link where a file will be written: it may lead out of the folder."""
    if path.is_symlink():
        path.unlink()


def _about(settings, before):
    """Under what a result must be read; of a run that others have begun (`before`), also under what they have."""
    config = rtrl.show_config("dicts")
    about = {"title": settings.title, "command": settings.command, "version": config["rtrl"], "cpu_level": config["cpu level"]}
    root = Path(rtrl.__file__).parents[1]
    if (root / ".git").exists():
        git = ["git", "-C", str(root), "describe", "--always", "--dirty", "--exclude=*"]
        with contextlib.suppress(OSError):
            asked = subprocess.run(git, capture_output=True, text=True, check=False)
            about |= {"commit": asked.stdout.strip()} if asked.returncode == 0 else {}
    for name in ("version", "cpu_level", "commit"):
        found = dict.fromkeys([*before.get(name, "").split(_THEN), about.get(name, "")])
        about |= {name: _THEN.join(each for each in found if each)} if any(found) else {}
    return about
