"""`python -m rtrl report`: a folder of results as one page."""

import json
import re
import shlex
import shutil
import sys

import pytest

from rtrl.cli import main
from rtrl.experiments import markdown
from rtrl.experiments.settings import Settings
from rtrl.experiments.store import Result
from rtrl.experiments.sweeps import sweeps

COPY = ["experiment", "copy", "--hidden", "4", "--batch", "2", "--steps", "60", "--window", "20"]
NOISE = ["experiment", "noise", "--hidden", "4", "--steps", "5", "--samples", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("results")
    swept = ["--sweep", "seed=0,1", "lr=1e-3,3e-3"]
    assert main([*COPY, "--estimators", "UORO, BlockOK(4, 8)", *swept, "--out", str(out)]) == 0
    assert main([*COPY, "--estimators", "SnAp", "--out", str(out / "other")]) == 0
    assert main([*NOISE, "--estimators", "KFRTRL, SnAp(2)", "--out", str(out)]) == 0
    return out


@pytest.fixture
def page(folder, tmp_path, capsys):
    def made():
        path = tmp_path / "deep" / "page.md"
        assert main(["report", str(folder), "--out", str(path)]) == 0
        assert capsys.readouterr().out == f"{path}\n"
        return path.read_text()

    return made


def test_a_page_has_all_studies_with_tables_figures_and_runs(page, tmp_path):
    text = page()
    assert [line for line in text.splitlines() if line.startswith("## ")] == ["## copy", "## copy (other)", "## noise"]
    for name in ("copy", "copy-other", "noise"):
        assert f"](<page-{name}.png>)" in text
        assert (tmp_path / "deep" / f"page-{name}.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert "| UORO, lr 0.001 | 2 | 1.0 |" in text.replace(" 1.0 | 1.0 |", " 1.0 |", 1)
    assert "| KFRTRL | unbiased | 0 | 0 |" in text
    assert "SnAp(order=2) on rhn with n = 4 was left out" in text
    assert text.count("All with version") == 3
    assert "not finished" not in text


def test_numbers_in_names_count_as_numbers(tmp_path, capsys):
    """A window of 2 steps stands above one of 16, and seeds within each."""
    told = ["--estimators", "TBPTT(16), TBPTT(2)", "--sweep", "seed=0,1", "--out", str(tmp_path)]
    assert main([*COPY, *told]) == main(["report", str(tmp_path)]) == 0
    text = (tmp_path / "report.md").read_text()
    assert 0 < text.index("| TBPTT(2) |") < text.index("| TBPTT(16) |")


def test_commands_of_a_page_make_the_runs_that_it_shows(page, folder, tmp_path, capsys):
    text = page()
    commands = [shlex.split(line.strip("- `")) for line in text.splitlines() if line.startswith("- `python -m rtrl experiment")]
    assert len(commands) == 3
    for i, (command, where) in enumerate(zip(commands, (folder / "copy", folder / "other" / "copy", folder / "noise"))):
        assert main([*command[3:], "--out", str(tmp_path / str(i))]) == 0
        again = tmp_path / str(i) / where.name
        expected = {path.parent.name: path.read_bytes() for path in where.glob("*/rows.jsonl")}
        assert {path.parent.name: path.read_bytes() for path in again.glob("*/rows.jsonl")} == expected
    capsys.readouterr()


def test_unfinished_runs_are_named(page, folder):
    state = next((folder / "copy").glob("uoro*/state.json"))
    whole = state.read_text()
    state.write_text(json.dumps({**json.loads(whole), "step": 40}))
    try:
        text = page()
    finally:
        state.write_text(whole)
    assert "**not finished: 1 of 8** (`--resume` goes on with them)\n  - UORO, rhn, hidden 4, seed " in text
    assert ": 40 of 60 steps" in text


def test_a_study_of_another_version_is_listed(folder, page):
    run = folder / "other" / "copy" / "later" / "run.json"
    run.parent.mkdir()
    told = {"study": "later", "settings": {"seed": 0, "n": 3}, "title": "n 3", "command": "python -m rtrl experiment later"}
    run.write_text(json.dumps(told))
    try:
        text = page()
    finally:
        run.unlink()
        run.parent.rmdir()
    assert "## later (other copy)\n\nThis version does not know the study." in text
    assert "- `python -m rtrl experiment later`\n  - n 3: wall time 0 s\n  - **not finished: 1 of 1**" in text


def test_without_matplotlib_the_page_says_so(page, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert page().count("The figure needs matplotlib: pip install 'rtrl[plot]'.") == 3


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: None, "there are no results below"),
        (lambda path: (path / "run.json").write_text("{"), "does not hold the results of a run"),
        (lambda path: (path / "run.json").write_text("{}"), "does not hold the results of a run"),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, capsys, make, words):
    make(tmp_path)
    assert main(["report", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert words in shown.err
    assert not (tmp_path / "report.md").exists()


def found(**values):
    command = shlex.join(["python", *(word for name, value in values.items() for word in (f"--{name}", str(value)))])
    return Result("study", values, about={"command": command, "title": ""})


def test_sweeps_are_products_and_nothing_else():
    flags = {"seed": "seed", "lr": "rate", "span": "span"}
    runs = [found(span=span, lr=lr, seed=seed) for span in (2, 4) for lr in (0.1, 0.3) for seed in range(8)]
    (one,) = sweeps(runs, flags)
    assert one.values == {"seed": list(range(8)), "span": [2, 4], "lr": [0.1, 0.3]}
    assert len(one.results) == 32
    several = sweeps(runs[:-1], flags)  # one seed is missing in one place
    assert sorted(len(each.results) for each in several) == [7, 8, 16]
    none = sweeps([found(seed=None), found(seed=0), found(seed=0)], {"seed": "seed"})
    assert [len(each.results) for each in none] == [1, 1, 1]


def test_the_command_of_a_sweep_keeps_what_is_not_swept():
    (one,) = sweeps([found(lr=0.1, span=2, seed=seed) for seed in (3, 4)], {"seed": "seed", "span": "span"})
    assert one.command({"seed": "seed"}) == "python --lr 0.1 --span 2 --sweep seed=3,4"
    assert "threads" not in Settings.flags()
    assert Settings.flags() == {"seed": "seed"}


# --- results from elsewhere -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The folder of one run, in that of its study."""
    out = tmp_path_factory.mktemp("one")
    assert main([*COPY, "--estimators", "UORO", "--out", str(out)]) == 0
    return out / "copy"


def test_every_section_has_a_heading_and_a_figure_of_its_own(one, tmp_path):
    """Folders whose names are the same in words, or in a heading."""
    out = tmp_path / "out"
    for place in ("a b/copy", "a/b/copy", "a-b", "copy", "copy/copy", "A b"):
        shutil.copytree(one, out / place, dirs_exist_ok=True)
    assert main(["report", str(out)]) == 0
    text = (out / "report.md").read_text()
    headings = re.findall(r"^## .*$", text, re.M)
    figures = re.findall(r"^!\[.*\]\(<(.*)>\)$", text, re.M)
    assert len(headings) == len(set(headings)) == 6
    assert len(figures) == len({each.casefold() for each in figures}) == 6
    assert {path.name for path in out.glob("*.png")} == set(figures)


MARKUP = "<script>x</script> [a](b) ![c](d) **e** _f_ `g` | h\n\n# i\n\n- j\n\x1b[31m &lt; \\*"


@pytest.mark.parametrize("study", ["copy", "foreign"])
def test_markup_from_elsewhere_stays_text(one, tmp_path, study):
    shutil.copytree(one, tmp_path / "out" / "copy")
    (path,) = tmp_path.glob("out/copy/*/run.json")
    told = json.loads(path.read_text())
    command = f"python -m rtrl experiment copy --estimators '{MARKUP} ```'"
    told |= {"study": study, "title": f"- {MARKUP}", "command": command, "version": MARKUP, "work": 10**6}
    told["settings"] |= {"estimator": MARKUP, MARKUP: MARKUP}
    path.write_text(json.dumps(told))
    assert main(["report", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "report.md").read_text()
    (spans,) = [line for line in text.splitlines() if line.startswith("- ````python -m rtrl")]
    assert spans.endswith("```'````")
    assert "<script>" not in text.replace(spans, "")
    assert "&lt;script&gt;x&lt;/script&gt; \\[a\\](b) !\\[c\\](d) \\*\\*e\\*\\* \\_f\\_ \\`g\\` \\| h \\# i - j" in text
    assert "&amp;lt; \\\\\\*" in text
    assert "\x1b" not in text
    assert [line.split()[:2] for line in text.splitlines() if line.startswith("#")] == [
        ["#", "Results"],
        ["##", study],
        ["###", "Runs"],
    ]
    assert "\n  - \\- &lt;script" in text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("KFRTRL(average=4), lr 0.001", "KFRTRL(average=4), lr 0.001"),
        ("1. x", "1\\. x"),
        ("+ x", "\\+ x"),
        ("===", "\\==="),
        ("a < b & c", "a &lt; b &amp; c"),
    ],
)
def test_text_of_a_page(words, expected):
    assert markdown.item(words) == expected


def test_code_of_a_page_keeps_its_backticks():
    assert [markdown.code(each) for each in ("a", "a`b", "`a``")] == ["`a`", "``a`b``", "``` `a`` ```"]
