"""Trials of environments in forked processes, where they concern the machine and not the environments."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from gymtwist.worker.fork_trial import try_all


def test_trials_need_no_directory_for_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk does not keep a server from starting."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    assert try_all([]) == []
