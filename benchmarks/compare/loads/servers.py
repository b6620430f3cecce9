"""The servers that are loaded: gymtwist's, and those of peers."""

from __future__ import annotations

import contextlib
import os
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

import proc
from server import Server, variables

from compare.processes import end

#: Seconds that a server may take to start.
_START = 60.0
#: So that the servers in ``compare.servers`` can be given as commands.
_PYTHONPATH = str(Path(__file__).resolve().parents[2])


class Running(Protocol):
    """A server that runs; :class:`compare.processes.Serving` is one, too."""

    address: str
    pid: int | None


#: Starts a server; it is stopped at the end of the context.
Start = Callable[[], AbstractContextManager[Running]]


@dataclass
class Started:
    """A server that was started here.

    Attributes:
        address: ``host:port``.
        pid: Its process.
    """

    address: str
    pid: int | None


@contextlib.contextmanager
def gymtwist(*options: str) -> Iterator[Started]:
    """Run gymtwist; the options are those of ``twistd gymsock``."""
    with Server(*options) as server:
        yield Started(f"127.0.0.1:{server.port}", server.pid)


def by_command(command: str) -> Start:
    """Return what runs a server of the classic protocol by a command.

    Args:
        command: Words as for a shell, with ``{port}`` for where it is to listen on 127.0.0.1.
    """

    @contextlib.contextmanager
    def start() -> Iterator[Running]:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port: int = free.getsockname()[1]
        words = [word.replace("{port}", str(port)) for word in shlex.split(command)]
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(
                words,
                env={**variables(), "PYTHONPATH": _PYTHONPATH},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                _wait(process, port, log)
                yield Started(f"127.0.0.1:{port}", process.pid)
            finally:
                end(process)

    return start


def _wait(process: subprocess.Popen[bytes], port: int, log: IO[bytes]) -> None:
    """Wait until it can be connected to.

    Raises:
        RuntimeError: It cannot; the text has its last words.
    """
    deadline = time.monotonic() + _START
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    log.seek(0)
    raise RuntimeError(f"{process.args!r} is not ready: {log.read()[-1000:].decode(errors='replace')}")


def port_of(running: Running) -> int:
    """Return the port of a server."""
    return int(running.address.rpartition(":")[2])


def family(running: Running) -> list[int]:
    """List the processes of a server: its own, and all that descend from it."""
    assert running.pid is not None
    children: dict[int, list[int]] = {}
    for pid, parent in _parents().items():
        children.setdefault(parent, []).append(pid)
    found = [running.pid]
    for pid in found:  # it grows meanwhile
        found += children.get(pid, [])
    return found


def _parents() -> dict[int, int]:
    """Return the parent of every process."""
    found = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{entry}/stat") as file:
                found[int(entry)] = int(file.read().rpartition(")")[2].split()[1])
    return found


def memory(running: Running) -> float:
    """Add up the proportional memory of a server's processes, in megabytes; a zombie has none."""
    total = 0.0
    for pid in family(running):
        with contextlib.suppress(OSError, ValueError):
            total += proc.pss(pid)
    return total


def processor_times(running: Running) -> dict[int, float]:
    """Read the seconds of processor time that each of a server's processes has used, in user mode and in the kernel."""
    found = {}
    for pid in family(running):
        with contextlib.suppress(OSError):
            found[pid] = _processor_time(pid)
    return found


def _processor_time(pid: int) -> float:
    try:
        # In nanoseconds, where /proc/PID/stat counts in hundredths of a second.
        return sum(int(file.read_text().split()[0]) for file in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9
    except (FileNotFoundError, IndexError):
        return proc.total_cpu(pid)
