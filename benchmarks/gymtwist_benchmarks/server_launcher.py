"""Start servers, and programs that end with a result."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from gymtwist_benchmarks.contenders import LISTENING, PYTHONPATH
from gymtwist_benchmarks.process_statistics import children

#: Seconds for a server to accept connections, for a line to come into its log, and for it to end.
_START, _PATIENCE, _STOP = 120.0, 60.0, 15.0


class Failed(Exception):
    """A server or a program failed; the text is the last line that it wrote."""


def environment_variables(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables of a process: ours, with compiled modules kept as usual, and our PYTHONPATH."""
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return found | {"PYTHONPATH": PYTHONPATH} | dict(more or {})


def stop(process: subprocess.Popen[str]) -> None:
    """End a process that has a session of its own, and all processes of that session."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_STOP)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _start(
    words: Sequence[str],
    variables: Mapping[str, str] | None = None,
    output: Any = subprocess.PIPE,
    errors: Any = None,
    directory: str | None = None,
) -> subprocess.Popen[str]:
    """Start a process that has a session of its own."""
    return subprocess.Popen(
        words,
        cwd=directory,
        env=environment_variables(variables),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        text=True,
        start_new_session=True,
    )


class ServerProcess:
    """A server that runs within a ``with`` statement, on a free port and in an empty directory.

    Args:
        words: The command, in which ``{port}`` stands for the port.
        ready: A regular expression: the server accepts connections once a line of its output matches. None: once its
            port accepts one.
        variables: Further environment variables.
    """

    def __init__(self, words: Sequence[str], ready: str | None, variables: Mapping[str, str] | None = None) -> None:
        self._words, self._ready, self._variables = words, ready, variables
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> ServerProcess:
        """Start it, and wait until it accepts connections; raise :class:`Failed` if it does not."""
        self._directory = tempfile.TemporaryDirectory(prefix="gymtwist-bench-", ignore_cleanup_errors=True)
        self._log = Path(self._directory.name, "log")
        words = [word.replace("{port}", str(self.port)) for word in self._words]
        with self._log.open("wb") as log:
            self._process = _start(words, self._variables, log, subprocess.STDOUT, self._directory.name)
        self.pid = self._process.pid
        try:
            self._wait(self._is_ready, _START, "it does not accept connections")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it; after an error its last lines are shown."""
        if error is not None:
            print("\n".join(self._output().splitlines()[-40:]), file=sys.stderr)
        stop(self._process)
        self._directory.cleanup()

    def _output(self) -> str:
        return self._log.read_text(errors="replace")

    def _wait(self, condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self._process.poll() is not None:
                raise Failed(f"the server has ended: {_last_line(self._output())}")
            if time.monotonic() > deadline:
                raise Failed(f"{otherwise} after {seconds:.0f} s: {_last_line(self._output())}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        if self._ready is not None:
            return re.search(self._ready, self._output(), re.MULTILINE) is not None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def session_process(self, client_port: int) -> int:
        """Find the process of a session in gymtwist's log, by the port of its client."""
        pattern = re.compile(rf"started: .* for 127\.0\.0\.1:{client_port} \(.*process (\d+)\)")
        self._wait(
            lambda: pattern.search(self._output()) is not None, _PATIENCE, f"the log has no line for {client_port}"
        )
        found = pattern.search(self._output())
        assert found is not None
        return int(found[1])

    def fork_server(self) -> int:
        """Find gymtwist's fork server."""
        (pid,) = children(self.pid)
        return pid


#: How to start other servers of the classic protocol, by name.
Peers = Mapping[str, Callable[[], ServerProcess]]


def gymtwist_server(*options: str, port: str = "{port}", variables: Mapping[str, str] | None = None) -> ServerProcess:
    """Describe a gymtwist server of this interpreter, with options of ``twistd gymsock``."""
    twistd = str(Path(sys.executable).with_name("twistd"))
    words = [sys.executable, twistd, "-n", "--pidfile=", "gymsock", "--port", port, *options]
    # PYTHONPATH may say where gymtwist is, if it is not installed.
    path = os.pathsep.join(filter(None, (PYTHONPATH, os.environ.get("PYTHONPATH"))))
    return ServerProcess(words, LISTENING, {"PYTHONPATH": path, **(variables or {})})


def server_by_command(command: str) -> ServerProcess:
    """Describe a server by its shell command, in which ``{port}`` stands for its port on 127.0.0.1."""
    return ServerProcess(shlex.split(command), None)


@contextlib.contextmanager
def server_with_identities(**quotas: str) -> Iterator[tuple[ServerProcess, list[str]]]:
    """Start gymtwist's server with identities, by name, each with the lines of its quotas.

    Yields:
        The server, and the token of each.
    """
    from gymtwist.server.identities import new_token  # the comparison does without gymtwist

    made = {name: new_token(name) for name in quotas}
    with tempfile.TemporaryDirectory(prefix="gymtwist-bench-") as directory:
        identities = Path(directory, "identities.toml")
        identities.write_text("".join(f'[{name}]\ntoken = "{made[name][1]}"\n{quotas[name]}' for name in made))
        with gymtwist_server("--identities", str(identities)) as server:
            yield server, [token for token, _ in made.values()]


@contextlib.contextmanager
def servers_by_way(protocols: Sequence[str], peers: Peers) -> Iterator[dict[str, tuple[str, ServerProcess]]]:
    """Start gymtwist's server, and others of the classic protocol, one after the other.

    Yields:
        Ways to play, by name: a protocol, and the server.
    """
    with contextlib.ExitStack() as stack:
        own = stack.enter_context(gymtwist_server())
        ways = {f"gymtwist, {protocol}": (protocol, own) for protocol in protocols}
        yield ways | {name: ("classic", stack.enter_context(start())) for name, start in peers.items()}


def run_program(words: Sequence[str], timeout: float, variables: Mapping[str, str] | None = None) -> str:
    """Run a program in an empty directory; return the last line of its output.

    Raises:
        Failed: It failed, or did not end before the timeout in seconds.
    """
    with tempfile.TemporaryDirectory(prefix="gymtwist-bench-", ignore_cleanup_errors=True) as directory:
        process = _start(words, variables, subprocess.PIPE, subprocess.PIPE, directory)
        try:
            output, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Failed(f"it had not ended after {timeout:.0f} s") from None
        finally:
            stop(process)
    if process.returncode:
        raise Failed(_last_line(errors) or f"it ended with {process.returncode}")
    return _last_line(output)


@contextlib.contextmanager
def running_beside(program: str, *words: object) -> Iterator[list[str]]:
    """Run one of our programs, which writes a line when it is at work; its later lines are in the list afterwards."""
    command = [sys.executable, "-m", f"gymtwist_benchmarks.programs.{program}", *map(str, words)]
    lines: list[str] = []
    with _start(command) as process:
        assert process.stdout is not None
        try:
            process.stdout.readline()
            yield lines
        finally:
            stop(process)
            lines += process.stdout


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip()[:300] if lines else ""
