"""Losses of today are those of the files in tests/golden, which only regenerate_golden.py writes."""

import json

import numpy as np
import pytest
from golden_runs import CELLS, GOLDEN, file_of, traces


@pytest.mark.parametrize("cell", CELLS)
def test_losses(cell):
    """Equal to rounding, whatever the CPU level."""
    golden, now = json.loads(file_of(cell).read_text(encoding="utf-8")), traces(cell)
    assert golden.keys() == now.keys()
    for name, losses in golden.items():
        np.testing.assert_allclose(now[name], losses, rtol=1e-9, err_msg=name)


def test_files():
    """No file is left over, and no two traces are one by mistake."""
    assert sorted(GOLDEN.iterdir()) == sorted(map(file_of, CELLS))
    for cell in CELLS:
        golden = json.loads(file_of(cell).read_text(encoding="utf-8"))
        kinds = [golden[name] for name in ("uoro", "kfrtrl", "immediate", "rtrl", "tbptt block", "tbptt sliding")]
        assert len({tuple(losses) for losses in kinds}) == len(kinds)
        np.testing.assert_allclose(golden["rtrl"], golden["rtrl eager"], rtol=1e-9)
