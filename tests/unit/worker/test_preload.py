"""Tests of what a process below the server does before its first session."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gymtwist.worker.readiness import Readiness
from gymtwist.worker.worker_settings import WorkerSettings
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


def test_each_import_that_may_take_long_is_announced(tmp_path: Path) -> None:
    """So that the server does not give up a process that goes on."""
    (tmp_path / "setup.py").touch()
    settings = WorkerSettings(monitor_root="/", preload=("csv", "json"), setup=str(tmp_path / "setup.py"))
    ready, writer = os.pipe()
    words = [sys.executable, "-m", "gymtwist.worker", "check", settings.to_argument(), "-1", str(writer)]
    subprocess.run(words, pass_fds=[writer], timeout=PATIENCE, check=True)
    os.close(writer)
    with os.fdopen(ready, "rb") as reports:
        *progress, last = reports
    assert progress == [b"\n"] * 3
    assert Readiness.from_line(last).libraries
