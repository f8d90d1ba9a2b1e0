"""Ten thousand random calls never crash the interpreter, and raise documented exceptions only; see fuzz_calls.py."""

import json

from common import python


def test_ten_thousand_random_calls(tmp_path):
    """In a process of its own: a crash there is a failure here, with the last calls before it."""
    done = python("import runpy; runpy.run_module('fuzz_calls', run_name='__main__')", tmp_path, check=False)
    if done.returncode:
        last = (tmp_path / "log").read_text().splitlines()[-5:]
        told = [f"ended with {done.returncode}", done.stdout[-2000:], done.stderr[-4000:], "last calls:", *last]
        raise AssertionError("\n".join(told))
    counts = json.loads(done.stdout)
    assert counts["calls"] >= 10_000
    assert counts["TypeError"] > 500 and counts["ValueError"] > 500 and counts["RuntimeError"] > 100
    looks = ("predict", "predict_run", "evaluate")
    for name in ("step", "run", "advance", "feedback", "apply", "reset", "save_and_load", "signs", "new", *looks):
        assert counts[f"{name} accepted"] > 20 and counts[f"{name} refused"] > 20, name
