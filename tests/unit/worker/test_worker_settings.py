"""The settings: what workers are told on their command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from gymtwist.worker.worker_settings import WorkerSettings


@pytest.mark.parametrize(
    "settings",
    [
        WorkerSettings(monitor_root="/"),
        WorkerSettings(
            preload=("a", "b"), setup="/größe x.py", monitor_root="/a b", display=True, seed=7, memory_limit=2**40
        ),
    ],
)
def test_settings_survive_the_command_line(settings: WorkerSettings) -> None:
    """As one argument."""
    argument = settings.to_argument()
    assert "\0" not in argument
    assert WorkerSettings.from_argument(argument) == settings


def test_settings_are_not_changed(tmp_path: Path) -> None:
    """A worker follows what it was started with."""
    settings = WorkerSettings(monitor_root=str(tmp_path))
    with pytest.raises(AttributeError):
        settings.seed = 1  # type: ignore[misc]
