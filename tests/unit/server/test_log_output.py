"""Where the log goes: what happens when nobody reads it, and what Twisted logs without end."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger, PredicateResult

from gymtwist.server.log_output import AcceptErrorLimit, ReopenedFile, UnblockedStream
from tests.support.harness import Log


def test_a_reader_that_stops_does_not_stop_the_writer() -> None:
    """Lines that nobody reads are dropped beyond a number, and counted where the reader goes on."""
    reader, writer = os.pipe()
    logged: list[dict[str, object]] = []
    reactor = SimpleNamespace(running=True, callFromThread=lambda *_, **values: logged.append(values))
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader) as end:
        stream = UnblockedStream(reactor, pipe)
        for number in range(20_000):
            stream.write(f"{number} {'x' * 40}\n")
            stream.flush()
        read = 0
        while not logged or read < 20_000 - int(str(logged[0]["count"])):
            assert end.readline().startswith(f"{read} ")  # what was dropped came last
            read += 1
        assert 10_000 <= read < 15_000


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
