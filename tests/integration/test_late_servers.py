"""Clients that are started before their server."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from gymtwist.client import connect
from tests.support.patience import PATIENCE
from tests.support.server_process import ServerProcess


class FirstRecord(logging.Handler):
    """Tells when a logger has its first record."""

    def __init__(self) -> None:
        super().__init__()
        self.came = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        """Note that there is one."""
        self.came.set()


def test_a_client_waits_for_a_server_that_starts_late(tmp_path: Path) -> None:
    """And has its environment as soon as the server is up."""
    address = f"unix:{tmp_path / 'socket'}"
    seen: list[int] = []

    def learn() -> None:
        with connect(address, "CartPole-v1", connect_timeout=PATIENCE) as env:
            seen.append(len(env.reset(seed=1)[0]))

    log, waits = logging.getLogger("gymtwist.client"), FirstRecord()
    log.addHandler(waits)
    try:
        client = threading.Thread(target=learn)
        client.start()
        assert waits.came.wait(PATIENCE)
        with ServerProcess(tmp_path, port=address):
            client.join(PATIENCE)
            assert seen == [4]
    finally:
        log.removeHandler(waits)
