"""What a run of a study is told: frozen dataclasses whose fields are the options of the command, and of sweeps."""

import argparse
import dataclasses
import hashlib
import itertools
import json
import re
import shlex
from dataclasses import dataclass
from typing import ClassVar

from rtrl._spec import Spec
from rtrl.commands import options as shared
from rtrl.comparison.specs import split

__all__ = ["Settings", "add_options", "chosen", "preset", "setting"]

_OURS = ("read", "words", "shown", "extends", "flag", "rows")  # metadata of a field that argparse does not know


def setting(default, read, words, **more):
    """A field that is an option: its default, the function that reads it from text, and the words of its help.

    Parameters
    ----------
    default : object
        None: the option may be left out, and the help shows no default.
    read : callable or None
        None: a flag, False unless it is given.
    words : str
        For the help.
    **more
        For `argparse`, such as choices; or
        shown=False: changes no result, so it is no part of a run's description; extends=True: more of it goes on with the same
        run, so it is no part of its name; flag: another name of the option;
        rows: text of the option's default where it takes a list, and makes a run of each.
    """
    return dataclasses.field(default=default, metadata={"read": read, "words": words, **more})


def preset(settings, name, default):
    """A field of a class of settings with another default, for a class that builds on it."""
    return dataclasses.field(default=default, metadata=settings.__dataclass_fields__[name].metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Base of what runs are told.

    Attributes
    ----------
    seed : int
        Of everything random.
    threads : int
        Of a session; no result depends on it.
    """

    study: ClassVar[str] = ""
    named: ClassVar[tuple] = ("estimator", "seed")  # fields that name a run where people read it

    seed: int = setting(0, shared.whole(0, 2**63 - 1), "seed of weights, data and random signs", metavar="N")
    threads: int = setting(1, shared.whole(1, 1024), "threads of a session", metavar="N", shown=False)

    def __post_init__(self):
        if isinstance(cell := getattr(self, "cell", None), Spec):
            object.__setattr__(self, "hidden", cell.hidden)

    @classmethod
    def flags(cls):
        """Options, without their dashes, of the fields that may change a result, by field; flags without a value left out."""
        told = [field for field in _fields(cls) if field.metadata.get("shown", True) and field.metadata["read"] is not None]
        return {field.name: _flag(field)[2:] for field in told}

    @classmethod
    def worth(cls, runs):
        """Of all combinations that lists of options make, those that are run; a study may leave some out."""
        return runs

    def start(self):
        """The run, see `rtrl.experiments.runs.Run`."""
        raise NotImplementedError

    @property
    def work(self):
        """How much a run has to do, in its own units."""
        return self.steps

    def check(self, state):
        """Raise ValueError if a run that kept this state has read other data than these settings give; see `Run.save`."""

    def describe(self):
        """All fields that may change a result, as plain data."""
        return {field.name: _plain(getattr(self, field.name)) for field in _fields(self) if field.metadata.get("shown", True)}

    @property
    def title(self):
        """The run in a few words."""
        return ", ".join(
            str(value) if isinstance(value, str) else f"{name} {value}"
            for name, value in ((name, _plain(getattr(self, name))) for name in self.named)
            if value is not None
        )

    @property
    def name(self):
        """Name of the run's folder: its title and a digest of all settings that more work would not change."""
        extends = [field.name for field in _fields(self) if field.metadata.get("extends")]
        told = {name: value for name, value in self.describe().items() if name not in extends}
        text = json.dumps([self.study, told], sort_keys=True)
        words = re.sub(r"[^A-Za-z0-9.]+", "-", self.title).strip("-").lower()
        return f"{words}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"

    @property
    def command(self):
        """What to type for this run."""
        words = ["python", "-m", "rtrl", "experiment", self.study]
        for field in _fields(self):
            value = getattr(self, field.name)
            if ("rows" in field.metadata or value != field.default) and field.metadata.get("shown", True):
                words += [_flag(field)] if value is True else [_flag(field), str(_plain(value))]
        return shlex.join(words)


def _plain(value):
    return str(value) if isinstance(value, Spec) else value


def _fields(settings):
    return [field for field in dataclasses.fields(settings) if "words" in field.metadata]


def _flag(field):
    return "--" + field.metadata.get("flag", field.name).replace("_", "-")


def add_options(parser, settings):
    """Add an option for every field of a class of settings."""
    for field in _fields(settings):
        more = {key: value for key, value in field.metadata.items() if key not in _OURS}
        default = field.metadata.get("rows", argparse.SUPPRESS if field.default is None else _plain(field.default))
        how = {"type": field.metadata["read"], "default": default, **more}
        if field.metadata["read"] is None:
            how = {"action": "store_true"}
        parser.add_argument(_flag(field), dest=field.name, help=field.metadata["words"], **how)
    parser.add_argument(
        "--sweep",
        nargs="+",
        default=argparse.SUPPRESS,
        metavar="NAME=A,B",
        help="runs with each value of an option in turn, all combinations, such as: --sweep lr=3e-4,1e-3 seed=0,1,2",
    )


def chosen(parser, settings, options):
    """Settings of all runs that were asked for: a list as the value of an option makes one of each of its items."""
    values = {field.name: getattr(options, field.name, field.default) for field in _fields(settings)}
    swept = set()
    for text in getattr(options, "sweep", ()):
        name, values_of = _swept(parser, settings, text)
        if name in swept:
            parser.error(f"argument --sweep: {text.partition('=')[0]} has two lists of values")
        swept.add(name)
        values[name] = values_of
    if "hidden" in swept | getattr(options, "given", set()):
        shared.check_hidden(parser, *(_listed(values[name]) for name in ("cell", "hidden")))
    lists = {name: value for name, value in values.items() if isinstance(value, tuple)}
    try:
        runs = [settings(**{**values, **dict(zip(lists, each))}) for each in itertools.product(*lists.values())]
    except ValueError as error:
        parser.error(str(error))
    return settings.worth(runs)


def _listed(value):
    return value if isinstance(value, tuple) else (value,)


def _swept(parser, settings, text):
    """Name of a field and its values from NAME=A,B."""
    name, _, items = text.partition("=")
    fields = {_flag(field)[2:]: field for field in _fields(settings) if field.metadata["read"] is not None}
    if name not in fields:
        parser.error(f"argument --sweep: NAME=A,B is needed with one of {', '.join(fields)} as its name; got {text!r}")
    found = []
    for item in split(items):
        try:
            value = fields[name].metadata["read"](item)
        except (argparse.ArgumentTypeError, ValueError) as error:
            parser.error(f"argument --sweep: {name}: {error}")
        choices = fields[name].metadata.get("choices")
        if choices is not None and value not in choices:
            parser.error(f"argument --sweep: {name}: {item!r} is none of {', '.join(choices)}")
        found += _listed(value)
    return fields[name].name, tuple(dict.fromkeys(found))
