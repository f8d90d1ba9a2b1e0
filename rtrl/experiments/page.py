"""A folder of results as one page: tables, figures, and the commands that made them."""

import collections
import functools
import itertools
import os
import re
from pathlib import Path

import rtrl
from rtrl.commands import options as shared
from rtrl.experiments import STUDIES, markdown, plots, report
from rtrl.experiments.store import place, read_result
from rtrl.experiments.sweeps import sweeps

__all__ = ["write"]

_LONGEST = 20  # unfinished runs of a sweep that are named one by one


def write(folder, path):
    """Write results as a page in Markdown, with figures beside it.

    Parameters
    ----------
    folder : path-like
        All runs below it are shown; those of one study that lie in different folders have sections of their own.  They may
        come from somebody else: what is in them stays text.
    path : path-like
        The page; the figure of a section is `path` with the name of the section in place of its ending.

    Raises
    ------
    ValueError
        If there is no result, or what lies there is none.
    OSError
        If a file cannot be read or written.
    """
    sections = _sections(place(folder))
    if not sections:
        raise ValueError(f"there are no results below {folder}")
    path = place(path)
    shared.try_folder(path.parent, [path.name])
    blocks = ["# Results", f"Made by `python -m rtrl report` of version {rtrl.__version__}."]
    figures = _figures(path, [(name, where) for name, where, _ in sections])
    for (name, where, results), figure in zip(sections, figures):
        blocks += report.made(functools.partial(_section, name, where, figure), results)
    path.write_text("\n\n".join(blocks) + "\n", encoding="utf-8", errors="backslashreplace")


def _sections(folder):
    """Study, folder in words, and results of each section, studies in the order of `STUDIES`."""
    found = {}
    for file in sorted(folder.glob("**/run.json"), key=_natural):
        result = read_result(file.parent)
        found.setdefault((result.study, file.parent.parent), []).append(result)
    order = {name: i for i, name in enumerate(STUDIES)}
    places = sorted(found, key=lambda place: (order.get(place[0], len(order)), *place))
    paths = {each: os.path.relpath(each[1], folder) for each in places}
    words = {(name, where): _words(name, paths[name, where]) for name, where in places}
    several = collections.Counter((name, words[name, where]) for name, where in places)
    words.update({each: paths[each] for each in places if several[each[0], words[each]] > 1})
    return [(each[0], words[each], sorted(found[each], key=_numbers)) for each in places]


def _figures(path, sections):
    """A file for the figure of each section (study, folder in words): beside the page, and never one for two of them."""
    found = []
    for section in sections:
        words = "-".join(word for part in section for word in re.findall(r"[\w.]+", part))
        taken = {each.name.casefold() for each in found}
        names = (f"{path.stem}-{words}{'' if i == 1 else f'-{i}'}.png" for i in itertools.count(1))
        found.append(path.with_name(next(name for name in names if name.casefold() not in taken)))
    return found


def _natural(path):
    """A path's place among others, in which tbptt-5 comes before tbptt-15."""
    return [int(part) if i % 2 else part for i, part in enumerate(re.split("([0-9]+)", str(path)))]


def _numbers(result):
    """The settings that are numbers: runs are shown in their order, and not in that of the names of their folders."""
    return [value for value in result.settings.values() if isinstance(value, (int, float))]


def _words(study, path):
    """A folder below that of the page in words; nothing for the one that the command makes by itself."""
    return " ".join(part for part in Path(path).parts if part not in (os.curdir, os.pardir, study))


def _section(name, where, figure, results):
    """Blocks of one study's results in one folder."""
    heading = f"## {markdown.text(f'{name} ({where})' if where else name)}"
    study = STUDIES.get(name)
    if study is None:
        return [heading, "This version does not know the study.", *_runs(results, {})]
    blocks = [heading, f"{study.HELP[0].upper()}{study.HELP[1:]}.", study.DESCRIPTION]
    known = [each for each in results if each.rows]
    if known:
        blocks += [markdown.text(block) if isinstance(block, str) else markdown.table(block) for block in study.tables(known)]
        blocks += [_figure(study, known, figure)]
    else:
        blocks += ["There are no results yet."]
    return [*blocks, *_runs(results, study.Settings.flags())]


def _figure(study, results, path):
    """The figure's place in the page, once it is written."""
    try:
        figure = study.draw(results)
    except RuntimeError:
        return "The figure needs matplotlib: pip install 'rtrl[plot]'."
    plots.save(figure, path)
    return f"![{study.HELP}]({markdown.link(path.name)})"


def _runs(results, flags):
    """How the results were made: commands, work, time, versions."""
    blocks = ["### Runs", _versions(results)]
    blocks += [_sweep(each, flags) for each in sweeps(results, flags)]
    return blocks


def _versions(results):
    names = ("version", "commit", "cpu_level")
    found = {}
    for each in results:
        words = ", ".join(f"{name.replace('_', ' ')} {each.about[name]}" for name in names if name in each.about)
        found[words] = found.get(words, 0) + 1
    if len(found) == 1:
        return f"All with {markdown.text(words)}."
    return "\n".join(f"- {count} with {markdown.text(words)}" for words, count in found.items())


def _sweep(sweep, flags):
    """The runs of one command, as an item of a list."""
    results = sweep.results
    seconds = [each.seconds for each in results]
    count = f"{len(results)} runs, " if len(results) > 1 else f"{markdown.item(results[0].about['title'])}: "
    each = f", {report.duration(min(seconds))} to {report.duration(max(seconds))} each" if len(results) > 1 else ""
    lines = [f"- {markdown.code(sweep.command(flags))}", f"{count}wall time {report.duration(sum(seconds))}{each}"]
    seeds = sorted({each.settings["seed"] for each in results if "seed" in each.settings})
    lines += [markdown.text(f"seeds {', '.join(map(str, seeds))}")] if len(seeds) > 1 else []
    missing = [each for each in results if not each.done]
    if not missing:
        lines += [f"{'all ' if len(results) > 1 else ''}done: {_work(results)}"]
    else:
        lines += [f"**not finished: {len(missing)} of {len(results)}** (`--resume` goes on with them)"]
        lines += [f"{markdown.item(each.about['title'])}: {_work([each])}" for each in missing[:_LONGEST]]
        lines += [f"and {len(missing) - _LONGEST} more"] if len(missing) > _LONGEST else []
    return "\n  - ".join(lines)


def _work(results):
    """Work done of all work, of runs that agree in it or not."""
    return ", ".join(dict.fromkeys(f"{each.step:,} of {each.work:,} {markdown.text(each.unit)}" for each in results))
