"""Tests of what a process below the server does before its first session."""

from __future__ import annotations

import subprocess
import sys

from tests.support.patience import PATIENCE

PROGRAM = """
import importlib, sys
importlib.import_module("gymtwist.worker.__main__")
assert "numpy" not in sys.modules
"""


def test_numpy_is_imported_after_the_environment_variables_are_set() -> None:
    """OpenBLAS reads the number of its threads when NumPy is imported."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert ended.returncode == 0, ended.stderr
