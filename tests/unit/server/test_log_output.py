"""Where the log goes: what happens when nobody reads it, and what Twisted logs without end."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, PredicateResult

from gymtwist.server.log_output import AcceptErrorLimit, ReopenedFile, UnblockedStream
from tests.support.harness import Log
from tests.support.patience import PATIENCE
from tests.support.process_inspection import eventually


def fill(descriptor: int) -> int:
    """Fill a pipe with empty lines; return how many there are."""
    os.set_blocking(descriptor, False)
    count = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            count += os.write(descriptor, b"\n")
    os.set_blocking(descriptor, True)
    return count


def test_a_reader_that_stops_does_not_stop_the_writer() -> None:
    """Lines that nobody reads are dropped beyond a number, and counted where the reader goes on."""
    reader, writer = os.pipe()
    logged: list[dict[str, object]] = []
    reactor = SimpleNamespace(running=True, callFromThread=lambda *_, **values: logged.append(values))
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader) as end:
        empty = fill(writer)
        stream = UnblockedStream(reactor, pipe)
        for number in range(20_000):
            stream.write(f"{number}\n")
            stream.flush()
        assert [end.readline() for _ in range(empty)] == ["\n"] * empty
        assert [end.readline() for _ in range(10_000)] == [f"{number}\n" for number in range(10_000)]
    assert logged == [{"count": 10_000}]


def test_what_is_logged_at_the_end_is_written() -> None:
    """The process may end at once."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader) as end:
        stream = UnblockedStream(SimpleNamespace(running=False), pipe)
        stream.write("Server Shut Down.\n")
        stream.flush()
        os.set_blocking(end.fileno(), False)
        assert end.readline() == "Server Shut Down.\n"


def test_errors_of_accept_are_a_line_a_second() -> None:
    """Twisted logs one for each connection that it cannot accept."""
    clock, log = Clock(), Log()
    limit = AcceptErrorLimit(clock)
    event = {"log_namespace": "twisted.internet.tcp.Port", "log_format": "EMFILE encountered"}
    assert limit(event) is PredicateResult.maybe
    assert [limit(event) for _ in range(1500)] == [PredicateResult.no] * 1500
    assert limit({"log_namespace": "gymsock"}) is PredicateResult.maybe
    clock.advance(1.0)
    assert log.lines == ["More about connections that cannot be accepted, not logged: 1500 lines"]
    log.close()


def test_the_errors_of_accept_have_the_namespace_that_is_limited() -> None:
    """Twisted's own logger says so."""
    from twisted.internet.tcp import Port

    logger = Port._logger
    assert isinstance(logger, Logger)
    assert logger.namespace.startswith("twisted.internet.tcp")


def test_a_file_that_cannot_be_opened_again_goes_on(tmp_path: Path) -> None:
    """Also with a later attempt that succeeds: a log must not end because its directory was moved for a while."""
    directory, moved = tmp_path / "logs", tmp_path / "moved"
    directory.mkdir()
    file = ReopenedFile.fromFullPath(str(directory / "server.log"))
    file.write("before\n")
    directory.rename(moved)
    with pytest.raises(FileNotFoundError):
        file.reopen()
    file.write("meanwhile\n")
    directory.mkdir()
    file.reopen()
    file.write("after\n")
    file.close()
    assert (moved / "server.log").read_text() == "before\nmeanwhile\n"
    assert (directory / "server.log").read_text() == "after\n"


IN_A_TERMINAL = """
import fcntl, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGHUP, getattr(signal, sys.argv[1]))
from twisted.internet import reactor
from twisted.logger import globalLogBeginner
from gymtwist.server import log_output
twistd = {"logger": None, "syslog": False, "nodaemon": sys.argv[2] == "foreground", "logfile": sys.argv[3]}
globalLogBeginner.beginLoggingTo([log_output.observer(reactor, twistd, 0, 0)], redirectStandardIO=False)
reactor.callWhenRunning(print, "it runs", flush=True)
reactor.run()
"""


@pytest.mark.parametrize(
    ("handler", "mode", "stops"),
    [("SIG_DFL", "foreground", True), ("SIG_IGN", "foreground", False), ("SIG_DFL", "daemon", False)],
)
def test_a_server_in_the_foreground_ends_with_its_terminal(
    tmp_path: Path, handler: str, mode: str, *, stops: bool
) -> None:
    """Unless it was started with nohup; while there is a terminal, SIGHUP is about the log."""
    ours, its = pty.openpty()
    path = tmp_path / "log"
    with subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, handler, mode, str(path)],
        stdin=its,
        stdout=its,
        start_new_session=True,
    ) as process:
        os.close(its)
        try:
            assert os.read(ours, 7) == b"it runs"
            process.send_signal(signal.SIGHUP)
            eventually(lambda: "SIGHUP: the log goes on" in path.read_text(), PATIENCE)
            os.close(ours)
            if stops:
                process.wait(PATIENCE)
                assert "SIGHUP: the terminal was closed" in path.read_text()
            else:
                eventually(lambda: path.read_text().count("SIGHUP: the log goes on") == 2, PATIENCE)
        finally:
            process.kill()
