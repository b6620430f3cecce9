"""Clients that are started before their server."""

from __future__ import annotations

import threading
from pathlib import Path

from gymtwist.client import Progress, connect
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess


def test_a_client_waits_for_a_server_that_starts_late(tmp_path: Path) -> None:
    """And has its environment as soon as the server is up; meanwhile it tells what it waits for."""
    address = f"unix:{tmp_path / 'socket'}"
    waits, seen = threading.Event(), list[int]()
    stages: dict[str, None] = {}

    def tell(progress: Progress) -> None:
        stages[progress.stage] = None
        waits.set()

    def learn() -> None:
        with connect(address, "CartPole-v1", connect_timeout=PATIENCE, progress=tell) as env:
            seen.append(len(env.reset(seed=1)[0]))

    client = threading.Thread(target=learn)
    client.start()
    assert waits.wait(PATIENCE)
    with ServerProcess(tmp_path, port=address):
        client.join(PATIENCE)
        assert seen == [4]
    assert list(stages) == ["connecting", "making"]
