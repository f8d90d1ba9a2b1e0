"""Settings of the whole test suite."""

import sys
from pathlib import Path

import pytest
from hypothesis import settings

# Tests are imported without packages (--import-mode=importlib); this makes common.py and other helpers importable.
sys.path.insert(0, str(Path(__file__).parent))
pytest.register_assert_rewrite("common", "drivers")

# The machine may be busy: a slow example is no failure.  The same examples at every run, so that a failure is no luck.
settings.register_profile("rtrl", deadline=None, derandomize=True, database=None)
settings.load_profile("rtrl")
