"""A twistd of its own for each measurement, on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType

import proc

#: Seconds for the server to start, to stop, and for a line to come into its log.
_PATIENCE = 60.0


def variables() -> dict[str, str]:
    """Return the environment variables for whatever is started: ours, with compiled modules kept as is usual."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Server:
    """A server that runs within a ``with`` statement.

    Args:
        options: More words for the command line of ``twistd gymsock``.

    Attributes:
        pid: The process that accepts the connections.
        port: Where it listens.
    """

    def __init__(self, *options: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="gymtwist-bench-")
        self._log = Path(self._directory.name, "log")
        words = ["-n", "--pidfile=", "gymsock", "--port", "0", *options]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(sys.executable).with_name("twistd")), *words],
                cwd=self._directory.name,
                env=variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Server:
        """Wait until it listens."""
        try:
            self.port = int(self._wait_for(r"starting on (\d+)"))
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        if error is not None:
            print("\n".join(self._log.read_text(errors="replace").splitlines()[-40:]), file=sys.stderr)
        self._stop()

    def _stop(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._directory.cleanup()

    def _wait_for(self, pattern: str) -> str:
        """Wait for a line in the log; return the first group of the pattern."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline and self._process.poll() is None:
            if found := expression.search(self._log.read_text(errors="replace")):
                return found[1]
            time.sleep(0.02)
        raise TimeoutError(f"the server's log has no line that matches {pattern}")

    def session_process(self, client_port: int) -> int:
        """Find the process that serves a client, by the client's port."""
        return int(self._wait_for(rf"started: .* for 127\.0\.0\.1:{client_port} \(.*process (\d+)\)"))

    def fork_server(self) -> int:
        """Find the process that forks the children."""
        (pid,) = proc.children(self.pid)
        return pid
