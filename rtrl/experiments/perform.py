"""Doing runs: one after the other here, or many at once on whatever has `map` or `submit`."""

import contextlib
import functools
import time

from rtrl.experiments.records import WRONG, said
from rtrl.experiments.store import Store, read_result

__all__ = ["Cores", "Refused", "connect", "joined", "perform", "perform_all"]

_NAMED = 3  # refused runs that a message names


class Refused(ValueError):
    """A run cannot start: its settings do not fit together, or it does not fit into memory.  Others may."""


def perform(settings, folder, resume=False, every=60.0, tell=None, show=None):
    """Do one run to its end.

    Parameters
    ----------
    settings : rtrl.experiments.settings.Settings
        What to run.
    folder : path-like
        Where the run gets a folder of its own.
    resume : bool
        Go on where it was stopped, if it has begun.
    every : float
        Seconds between checkpoints; 0: one after each window.
    tell : callable or None
        Called as tell(run, step) now and then.
    show : callable or None
        Called with each new row.

    Returns
    -------
    Result

    Raises
    ------
    Refused
        If the run cannot start; no file was made or changed then.
    ValueError
        If the folder has this run's results already and `resume` is False, is in use, or damaged.
    OSError
        If a file cannot be read or written.
    """
    tell, show = tell or (lambda run, step: None), show or (lambda row: None)
    store = Store(folder, settings)
    if store.check(resume) and store.reached() >= settings.work:
        with _resumed(store):
            settings.check(store.kept())  # its results may soon stand beside those of others
        found = read_result(store.folder)
        for row in found.rows:
            show(row)
        return found
    run = _started(settings)
    try:
        saved = store.open(resume)
        for row in read_result(store.folder).rows:
            show(row)
        if saved:
            with _resumed(store):
                run.load(*saved)
                if run.step not in (store.step, run.steps):
                    raise ValueError(f"its checkpoint is of {run.unit} {run.step}, and not {store.step}")
            if run.step > store.step:
                store.commit(run)  # more steps were asked for, and it has none left to do
        _advance(run, store, every, tell, show, _resumed(store) if saved else contextlib.nullcontext())
    finally:
        store.close()
    return read_result(store.folder)


def _started(settings):
    try:
        return settings.start()
    except (ValueError, MemoryError) as error:
        raise Refused(f"{settings.title}: {error}") from error


@contextlib.contextmanager
def _resumed(store):
    """Where a checkpoint may turn out to be none of this run: its numbers can be of any kind."""
    try:
        yield
    except WRONG as error:
        raise ValueError(f"{store.folder} cannot be resumed: {said(error)}") from error


def _advance(run, store, every, tell, show, first):
    """Do all windows, the first of them in a context."""
    kept = time.perf_counter()
    while run.step < run.steps:
        began = time.perf_counter()
        with first:
            rows, measured = run.window(functools.partial(tell, run))
        first = contextlib.nullcontext()
        store.add(rows, {"step": run.step, "seconds": time.perf_counter() - began, **measured})
        for row in rows:
            show(row)
        if run.step >= run.steps or time.perf_counter() - kept >= every:
            store.commit(run)
            kept = time.perf_counter()


def perform_all(runs, folder, executor, resume=False, every=60.0):
    """Do many runs at once.

    Parameters
    ----------
    runs : list of Settings
        What to run.
    folder : path-like
        As for `perform`; all workers must see it.
    executor : object
        With `submit(function, argument)` that gives something with `result()`, such as `concurrent.futures` and a client of
        dask.distributed have, or with `map(function, arguments)`.
    resume, every
        As for `perform`.

    Yields
    ------
    Result
        In the order of `runs`.

    Raises
    ------
    Refused
        After all others are done, if some cannot start.
    """
    work = functools.partial(_attempt, folder=folder, resume=resume, every=every)
    if hasattr(executor, "submit"):
        found = (future.result() for future in [executor.submit(work, each) for each in runs])
    else:
        found = executor.map(work, runs)
    refused = []
    for each in found:
        if isinstance(each, Refused):
            refused.append(each)
        else:
            yield each
    if refused:
        raise joined(refused)


def joined(refused):
    """One `Refused` of several."""
    words = "; ".join(map(str, refused[:_NAMED])) + (f"; and {len(refused) - _NAMED} more" if len(refused) > _NAMED else "")
    return Refused(f"{len(refused)} runs cannot start: {words}") if len(refused) > 1 else refused[0]


def _attempt(settings, **how):
    """What `perform` gives, or the reason why it cannot start."""
    try:
        return perform(settings, **how)
    except Refused as error:
        return error


class Cores:
    """Executor on cores of this machine; needs joblib (the extra `sweep`).

    Parameters
    ----------
    jobs : int
        Processes; -1: one a core.

    Raises
    ------
    RuntimeError
        If joblib is not installed; the message says what to do.
    """

    def __init__(self, jobs):
        try:
            import joblib
        except ImportError as error:
            raise RuntimeError(f"--jobs needs joblib ({error}): pip install 'rtrl[sweep]', or leave out --jobs") from None
        self._parallel = joblib.Parallel(n_jobs=jobs, return_as="generator")
        self._delayed = joblib.delayed

    def map(self, function, arguments):
        """Results in the order of the arguments."""
        return self._parallel(self._delayed(function)(each) for each in arguments)


def connect(address):
    """A client of a scheduler of dask.distributed, as executor on the machines of its workers.

    Parameters
    ----------
    address : str
        Such as "tcp://host:8786".

    Raises
    ------
    RuntimeError
        If it is not installed; the message says what to do.
    OSError
        If the scheduler cannot be reached.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise RuntimeError(f"--scheduler needs distributed ({error}): pip install 'rtrl[cluster]', or leave it out") from None
    return Client(address)
