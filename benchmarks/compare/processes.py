"""Starts the servers of contenders, and the programs that play at them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from compare.contender import HERE, Contender
from compare.workloads import WORKLOADS

#: Seconds that a server may take until it can be connected to, and until it has ended.
_START, _STOP = 120.0, 15.0
#: Seconds that a program may take beyond those that it plays.
_PATIENCE = 120.0


class Failed(Exception):
    """A server or a program did not do what it is there for; the text is its last words."""


@dataclass(frozen=True)
class Place:
    """Where a contender runs.

    Attributes:
        python: The interpreter of its virtual environment.
        checkout: The directory of the repository that it needs, if it needs one.
    """

    python: Path
    checkout: Path | None = None


def words_for(contender: Contender, place: Place, workload: str, port: int) -> dict[str, str]:
    """Say what the words in braces of a contender's commands become."""
    return {
        "python": str(place.python),
        "bin": str(place.python.parent),
        "here": str(HERE),
        "port": str(port),
        "address": f"127.0.0.1:{port}",
        "workload": workload,
        "environment": WORKLOADS[workload].environment,
        "checkout": str(place.checkout or ""),
    }


def _variables(contender: Contender, words: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables: ours, with compiled modules kept as is usual, and the contender's own."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    found["PYTHONPATH"] = os.pathsep.join((str(HERE.parent), str(HERE)))
    found |= {name: value.format(**words) for name, value in contender.variables}
    return found


def end(process: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process and whatever it has started: they are a session of their own."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Serving:
    """A contender's server, while a ``with`` statement lasts; nothing at all if it has none.

    Args:
        contender: Whose it is.
        place: Where it runs.
        workload: The name of what will be played.

    Attributes:
        address: What the contender's program is told.
        pid: The server's process; None if there is none.
    """

    def __init__(self, contender: Contender, place: Place, workload: str) -> None:
        self._contender, self._place, self._workload = contender, place, workload
        self._process: subprocess.Popen[bytes] | None = None
        self.address = contender.address
        self.pid: int | None = None

    def __enter__(self) -> Serving:
        """Start it, and wait until it can be connected to.

        Raises:
            Failed: It cannot.
        """
        contender = self._contender
        if contender.server is None:
            return self
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        words = words_for(contender, self._place, self._workload, port)
        self.address = contender.address.format(**words)
        self._directory = tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True)
        self._log = Path(self._directory.name, "log")
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [word.format(**words) for word in contender.server],
                cwd=self._directory.name,
                env=_variables(contender, words),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid
        try:
            self._wait(port)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
        if self._process is not None:
            end(self._process)
            self._directory.cleanup()

    def _wait(self, port: int) -> None:
        assert self._process is not None
        deadline = time.monotonic() + _START
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise Failed(f"the server has ended: {self.last_words()}")
            if self._is_ready(port):
                return
            time.sleep(0.05)
        raise Failed(f"the server is not ready after {_START:.0f} s: {self.last_words()}")

    def _is_ready(self, port: int) -> bool:
        if self._contender.ready is not None:
            return re.search(self._contender.ready, self._log.read_text(errors="replace"), re.MULTILINE) is not None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
        return False

    def last_words(self) -> str:
        """Return the last line of the server's output."""
        return _last_line(self._log.read_text(errors="replace"))


def play(
    serving: Serving, contender: Contender, place: Place, workload: str, seconds: float, clients: int
) -> tuple[int, float]:
    """Let a contender's program play.

    Args:
        serving: The server, which has been started.
        contender: Who plays.
        place: Where it runs.
        workload: The name of what is played.
        seconds: For how long.
        clients: How many clients there are at once.

    Returns:
        Steps of all environments together, and the seconds that they took.

    Raises:
        Failed: It did not come to an end that way.
    """
    words = words_for(contender, place, workload, 0)
    command = [str(place.python), str(HERE / contender.program), serving.address, workload, str(seconds), str(clients)]
    with tempfile.TemporaryDirectory(prefix="compare-", ignore_cleanup_errors=True) as directory:
        process = subprocess.Popen(
            command,
            cwd=directory,
            env=_variables(contender, words),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            output, errors = process.communicate(timeout=seconds + _PATIENCE)
        except subprocess.TimeoutExpired:
            raise Failed(f"it had not ended {_PATIENCE:.0f} s after its time") from None
        finally:
            end(process)
    if process.returncode:
        raise Failed(_last_line(errors) or f"it ended with {process.returncode}")
    result = json.loads(_last_line(output))
    return int(result["steps"]), float(result["seconds"])


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
