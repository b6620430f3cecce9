"""Reads what a server has recorded, as its users do: by Minari."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess


def root_of(server: ServerProcess) -> Path:
    """Return the root of the datasets of a server."""
    return server.directory / "datasets"


def load(root: Path, name: str, until: Callable[[Any], bool] = lambda dataset: True) -> Any:
    """Load a dataset, once it is there and a condition holds for it."""
    import minari  # other tests do without it

    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(ValueError, FileNotFoundError):  # it is not there yet
            dataset = minari.MinariDataset(root / name / "data")
            if until(dataset):
                return dataset
        assert time.monotonic() < deadline, f"{name} is not as expected after {PATIENCE:g} s"
        time.sleep(0.05)


def wait_for_recordings(root: Path) -> None:
    """Wait until all that was recorded is in datasets: no journals are left."""
    deadline = time.monotonic() + PATIENCE
    while any(not each.name.startswith(".") for each in (root / ".journals").glob("*")):
        assert time.monotonic() < deadline, f"there are journals after {PATIENCE:g} s"
        time.sleep(0.05)


def load_complete(root: Path, name: str) -> Any:
    """Load a dataset once all that was recorded is in it."""
    wait_for_recordings(root)
    return load(root, name)


def attributes(dataset: Any) -> list[dict[str, Any]]:
    """Return what the episodes of a dataset say of themselves."""
    return list(dataset.storage.get_episode_metadata(range(dataset.total_episodes)))
