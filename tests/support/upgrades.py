"""A server that is replaced while it runs, and the processes that it consists of."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, descendants, hold, left_after
from tests.support.server_process import ServerProcess


class Generations:
    """The processes of a server that has a control socket.

    Attributes:
        server: The first process, and the log of all.
        serving: The process that has the ports.
    """

    def __init__(self, server: ServerProcess) -> None:
        """Hold the first process."""
        self.server = server
        self.serving = Handle(server.process.pid)
        self._held: list[Handle] = [self.serving]

    @property
    def control(self) -> Path:
        """The control socket."""
        return self.server.directory / "control"

    def ask(self, *words: str, status: int = 0) -> str:
        """Run gymsockctl; return what it prints."""
        command = [sys.executable, "-m", "gymtwist.control.gymsockctl", "--socket", str(self.control), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == status, done.stdout + done.stderr + self.server.tail(40)
        return done.stdout or done.stderr

    def read(self, *words: str) -> Any:
        """Run gymsockctl; return the JSON that it prints."""
        return json.loads(self.ask("--json", *words))

    def upgrade(self) -> dict[str, Any]:
        """Upgrade the server by the command; return what it answers."""
        answer: dict[str, Any] = self.read("upgrade")
        self.hold(answer["process"])
        return answer

    def hold(self, process: int) -> None:
        """Note the process that has the ports now."""
        self._held += hold(descendants(self.serving.process))
        self.serving = Handle(process)
        self._held.append(self.serving)

    def end(self) -> None:
        """Stop the process that has the ports, and with it all others."""
        self._held += hold(descendants(self.serving.process))
        if not self.serving.wait(0):
            os.kill(self.serving.process, signal.SIGTERM)
        left = left_after(self._held, PATIENCE)
        for each in left:
            each.kill()
        assert not left, f"outlived the server: {left}\n{self.server.tail(60)}"


@contextmanager
def generations(server: ServerProcess) -> Iterator[Generations]:
    """Have a server upgraded; no process of it is left at the end."""
    server.wait_for("To stop: kill")
    held = Generations(server)
    try:
        yield held
    finally:
        held.end()
