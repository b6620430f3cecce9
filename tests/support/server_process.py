"""A real `twistd gymsock` in a process of its own, and its log."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import trustme

from gymtwist_conformance.reference_client import ByteStream, ClassicClient
from tests.support.patience import PATIENCE
from tests.support.process_coverage import MEASURES_ALL, measure
from tests.support.process_inspection import Handle, children, command_line, descendants, hold, left_after

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENTS = Path(__file__).with_name("sample_environments.py")
ANY_PORT = "tcp:0:interface=127.0.0.1"

#: An error in the parent itself; what children print stands behind a bar.
COMPLAINT = re.compile(r"^\s*Traceback|#critical\]|Unhandled error|error in gymtwist itself")


def write_certificate(directory: Path) -> tuple[Path, Path]:
    """Write a key and a certificate for 127.0.0.1 (and that of its authority); return their paths."""
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    key, certificate = directory / "key.pem", directory / "certificate.pem"
    issued.private_key_pem.write_to_path(key)
    certificate.write_bytes(issued.cert_chain_pems[0].bytes() + authority.cert_pem.bytes())
    return key, certificate


def twistd(*, measured: bool = False) -> list[str]:
    """Return the words that start the twistd of this interpreter."""
    program = Path(sys.executable).with_name("twistd")
    return [sys.executable, str(Path(__file__).with_name("measured_twistd.py") if measured else program)]


def variables(changes: Mapping[str, str] | None = None, *, measured: bool = False) -> dict[str, str]:
    """Return the server's environment variables: ours, and where it finds the plugin.

    Args:
        changes: Variables to set beside ours.
        measured: Whether to measure the coverage of the server and its children, which doubles what they cost.
    """
    path = os.pathsep.join(filter(None, [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]))
    found = {**os.environ, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **(changes or {})}
    measure(found, measured)
    return found


def run_twistd(
    *words: str, directory: Path, changes: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a twistd that is expected to end by itself (or to leave a daemon); return its output."""
    return subprocess.run(
        [*twistd(), *words],
        cwd=directory,
        env=variables(changes),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


class Session(NamedTuple):
    """What the log says at the start of a session."""

    number: int
    environment: str
    process: int


class ServerProcess:
    """A running server. Leaving its context stops it and checks that it left no process behind."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        port: str = ANY_PORT,
        setup: Path | None = ENVIRONMENTS,
        changes: Mapping[str, str] | None = None,
        measured: bool = False,
    ) -> None:
        """Start the server.

        Args:
            directory: Where it runs, which also is the root of what it may record.
            options: More words for the command line.
            port: The description of its first endpoint.
            setup: The file that registers environments; None for none.
            changes: Environment variables to set beside ours.
            measured: Whether to measure the coverage of the server and its children.
        """
        words = ["-n", "--pidfile=", "gymsock", "--port", port]
        if setup is not None:
            words += ["--setup", str(setup)]
        self.directory = directory
        self.lines: list[str] = []
        self._ended = False
        self._marks: dict[int, int] = {}
        self._changed = threading.Condition()
        self._tracked: list[Handle] = []
        self.process = subprocess.Popen(
            [*twistd(measured=measured or MEASURES_ALL), *words, *options],
            cwd=directory,
            env=variables(changes, measured=measured),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._handle = Handle(self.process.pid)
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> ServerProcess:
        """Return the server itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server; where nothing else failed, fails for processes left behind and errors of its own."""
        left = self.stop()
        print(self.tail(400))  # pytest shows it for a test that failed
        if error is None:
            assert not left, f"outlived the server: {left}"
            complaints = self.complaints()
            assert not complaints, f"errors of the server itself: {complaints[:5]}"

    # The log

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line.decode(errors="replace").rstrip("\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def mark(self) -> int:
        """Return the place in the log from which to look for what happens next."""
        with self._changed:
            return len(self.lines)

    def tail(self, count: int = 12) -> str:
        """Return the last lines of the log."""
        with self._changed:
            return "\n".join(line[:500] for line in self.lines[-count:])

    def complaints(self) -> list[str]:
        """Return the lines by which Twisted reports an error in the server's own code."""
        with self._changed:
            return [line for line in self.lines if COMPLAINT.search(line)]

    def search(self, pattern: str, timeout: float, since: int = 0) -> re.Match[str] | None:
        """Wait for a line of the log; return None if it has not come in time, or can not come any more."""
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                while since < len(self.lines):
                    found = expression.search(self.lines[since])
                    if found:
                        return found
                    since += 1
                remaining = deadline - time.monotonic()
                if self._ended or remaining <= 0:
                    return None
                self._changed.wait(remaining)

    def wait_for(self, pattern: str, timeout: float = PATIENCE, since: int = 0) -> re.Match[str]:
        """Wait for a line of the log, and fail if it does not come."""
        found = self.search(pattern, timeout, since)
        if found is None:
            raise AssertionError(f"no line of the log matches {pattern!r}:\n{self.tail()}")
        return found

    # Connections

    @property
    def port(self) -> int:
        """The TCP port of the server's first endpoint, once it listens."""
        return int(self.wait_for(r"(?<!\(TLS\)) starting on (\d+)").group(1))

    def connect(self) -> ClassicClient:
        """Connect, and says nothing yet."""
        mark = self.mark()
        client = ClassicClient(connected(("127.0.0.1", self.port)))
        self.note(client, mark)
        return client

    def note(self, client: ByteStream, mark: int) -> None:
        """Note the place in the log behind which a client is named: another may have had the same port earlier."""
        self._marks[client.port] = mark

    def since(self, client: ByteStream) -> int:
        """Return the place in the log from which to look for a client."""
        return self._marks.get(client.port, 0)

    def open(self, environment: str) -> ClassicClient:
        """Connect and open an environment."""
        client = self.connect()
        try:
            return client.open(environment)
        except BaseException:
            client.close()
            raise

    def session(self, client: ByteStream) -> Session:
        """Return the session of a client, by the line that says that it started."""
        found = self.wait_for(
            rf"\[session (\d+)\] started: (.*?) ?for \S+:{client.port} \([\w-]+, process (\d+)\)",
            since=self.since(client),
        )
        return Session(int(found.group(1)), found.group(2), int(found.group(3)))

    def end(self, session: Session, timeout: float = PATIENCE) -> str:
        """Wait for the end of a session; return the line that says why, from the reason on."""
        return self.wait_for(rf"\[session {session.number}\] ended: (.*)", timeout).group(1)

    # Processes

    def descendants(self) -> set[int]:
        """Return every process below the server's."""
        return descendants(self.process.pid)

    def fork_server(self) -> int:
        """Return the process that forks the children."""
        return next(worker for worker in children(self.process.pid) if "gymtwist.worker" in command_line(worker))

    def track(self) -> list[Handle]:
        """Take hold of every process that the server has now; they too must end with it."""
        handles = hold(self.descendants())
        self._tracked += handles
        return handles

    def wait_shut_down(self, timeout: float = PATIENCE) -> None:
        """Wait for the end of a server that was asked to stop; fails if it left a process, or did not end in order.

        Twistd ends by the very signal that stopped it, once it has shut down: its exit status says nothing more.
        """
        self.wait(timeout)
        self.wait_for("Server Shut Down")
        left = self.stop()
        assert not left, f"outlived the server: {left}"

    def terminate(self) -> None:
        """Ask the server to stop, as `kill` does."""
        self.track()
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = PATIENCE) -> int:
        """Wait for the server's end; return its exit status."""
        if not self._handle.wait(timeout):
            raise AssertionError(f"the server still runs after {timeout:g} s:\n{self.tail()}")
        return self.process.wait(timeout)

    def stop(self) -> list[Handle]:
        """Stop the server, if it still runs; return the processes that outlived it by five seconds.

        The server's own process is among them if it did not end in time.
        """
        late: list[Handle] = []
        if self.process.poll() is None:
            self.terminate()
            late = left_after([self._handle], PATIENCE)
            self._handle.kill()
            self.process.wait()
        left = late + left_after(self._tracked, PATIENCE)
        for handle in left:
            handle.kill()
        self._tracked.clear()
        return left


def connected(address: tuple[str, int] | str) -> socket.socket:
    """Return a connection to where a server listens, or is about to: its log says so a moment too early."""
    deadline = time.monotonic() + PATIENCE
    while True:
        connection = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        try:
            connection.connect(address)
        except (ConnectionRefusedError, FileNotFoundError):
            connection.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
            continue
        if not isinstance(address, str):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def readable(client: ClassicClient, timeout: float) -> bool:
    """Wait for something to read; return whether it came."""
    return bool(select.select([client.socket], [], [], timeout)[0])
