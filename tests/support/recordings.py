"""Recording with a monitor, and what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gymtwist_conformance.reference_client import ClassicClient
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, left_after
from tests.support.server_process import ServerProcess


def statistics(directory: Path) -> list[dict[str, Any]]:
    """Return what every statistics file of a directory says; it must be JSON at any time."""
    return [json.loads(path.read_text()) for path in sorted(directory.glob("openaigym.episode_batch.*.stats.json"))]


def manifests(directory: Path) -> list[Path]:
    """Return the manifests of a directory."""
    return sorted(directory.glob("openaigym.manifest.*.manifest.json"))


def record(
    server: ServerProcess,
    directory: Path,
    episodes: int = 1,
    environment: str = "Episodes-v0",
    **options: bool,
) -> None:
    """Record whole episodes in a session, and wait until it is over."""
    with server.open(environment) as client:
        session = server.session(client)
        handle = Handle(session.process)
        client.monitor(str(directory), **options)
        for _ in range(episodes):
            play_episode(client)
    server.end(session)
    assert not left_after([handle], PATIENCE)


def play_episode(client: ClassicClient) -> int:
    """Play until it is done; return the number of steps."""
    client.reset()
    steps = 1
    while not client.step(0).done:
        steps += 1
    return steps
