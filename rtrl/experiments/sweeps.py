"""Runs that one command makes: settings that are the same but for lists of values, all combinations."""

import shlex
from dataclasses import dataclass

__all__ = ["Sweep", "sweeps"]


@dataclass
class Sweep:
    """Runs that one command makes.

    Attributes
    ----------
    results : list of rtrl.experiments.store.Result
        Of these runs.
    values : dict of str to list
        The values that they have of settings that are not the same in all of them.
    """

    results: list
    values: dict

    def command(self, flags):
        """What to type for these runs.

        Parameters
        ----------
        flags : dict of str to str
            The option of each setting, without its dashes.
        """
        words = shlex.split(self.results[0].about["command"])
        for name in self.values:
            if (flag := f"--{flags[name]}") in words:
                place = words.index(flag)
                del words[place : place + 2]
        lists = [f"{flags[name]}={','.join(map(str, found))}" for name, found in self.values.items()]
        return shlex.join(words + (["--sweep", *lists] if lists else []))


def sweeps(results, flags):
    """The fewest sweeps that a simple search finds: one setting after the other is made a list where that is the same runs.

    Parameters
    ----------
    results : list of rtrl.experiments.store.Result
        Of one study.
    flags : dict of str to str
        Settings that a sweep may have as a list, with their options.

    Returns
    -------
    list of Sweep
    """
    found = [Sweep([each], {}) for each in results]
    several = {name: len({repr(each.settings.get(name)) for each in results}) for name in flags}
    for name in sorted((name for name in flags if several[name] > 1), key=lambda name: (name != "seed", several[name])):
        found = _merged(found, name)
    return found


def _merged(found, name):
    """Sweeps that differ in one setting alone as one."""
    groups = {}
    for each in found:
        settings = each.results[0].settings
        value = settings.get(name)
        same = {key: each.values.get(key, settings[key]) for key in settings if key != name}
        # Neither None nor a flag can stand in a list.
        alone = value is None or isinstance(value, bool) or any(value == other for _, other in groups.get(repr(same), ()))
        groups.setdefault(repr((same, len(groups)) if alone else same), []).append((each, value))
    merged = []
    for members in groups.values():
        values = {**members[0][0].values, **({name: [value for _, value in members]} if len(members) > 1 else {})}
        merged.append(Sweep([result for each, _ in members for result in each.results], values))
    return merged
