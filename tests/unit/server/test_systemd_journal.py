"""Records for the journal of systemd, read from a socket as the journal reads them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import LogLevel
from twisted.python.failure import Failure

from gymtwist.protocol.handshake import ProtocolName
from gymtwist.server.session_events import MemoryExceeded, SessionInfo
from gymtwist.server.systemd_journal import JournalSocket, encoded

SESSION = SessionInfo(7, "127.0.0.1:5", "CartPole-v1", ProtocolName.INT32, "alice")


class Journal:
    """The side of the journal, as its protocol says.

    Attributes:
        path: The socket.
    """

    def __init__(self, path: Path) -> None:
        """Open the socket."""
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)

    def receive(self) -> tuple[bytes, bool]:
        """Return the next record, and whether it came as memory."""
        data, descriptors, _, _ = socket.recv_fds(self.socket, 1 << 20, 1)
        if not descriptors:
            return data, False
        with os.fdopen(descriptors[0], "rb") as memory:
            with pytest.raises(OSError, match="not permitted"):
                os.ftruncate(os.open(f"/proc/self/fd/{memory.fileno()}", os.O_RDWR), 0)
            return os.pread(memory.fileno(), os.fstat(memory.fileno()).st_size, 0), True


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """A journal."""
    found = Journal(tmp_path / "socket")
    with found.socket:
        yield found


def fields_of(record: bytes) -> dict[str, str]:
    """Return the fields of a record."""
    found: dict[str, str] = {}
    while record:
        line, _, rest = record.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if equals:
            record = rest
        else:
            size = int.from_bytes(rest[:8], "little")
            value, end, record = rest[8 : 8 + size], rest[8 + size : 9 + size], rest[9 + size :]
            assert end == b"\n"
        found[name.decode()] = value.decode()
    return found


def event(**fields: Any) -> dict[str, Any]:
    """Return an event of the log."""
    return {"log_level": LogLevel.info, "log_namespace": "gymsock", "log_time": 0.0, "log_format": "line", **fields}


def test_a_record_has_the_fields_of_the_log_in_json(journal: Journal) -> None:
    """In upper case; numbers and truth values as text."""
    happened = MemoryExceeded(SESSION, 1 << 30, 1 << 29, of_worker=True)
    JournalSocket(journal.path).write(encoded(event(log_level=LogLevel.error, happened=happened)))
    record, is_memory = journal.receive()
    assert not is_memory
    assert fields_of(record) == {
        "MESSAGE": "line",
        "PRIORITY": "3",
        "SYSLOG_IDENTIFIER": "gymsock",
        "GYMTWIST_SOURCE": "gymsock",
        "GYMTWIST_EVENT": "memory-exceeded",
        "GYMTWIST_SESSION": "7",
        "GYMTWIST_CLIENT": "127.0.0.1:5",
        "GYMTWIST_IDENTITY": "alice",
        "GYMTWIST_ENVIRONMENT": "CartPole-v1",
        "GYMTWIST_PROTOCOL": "int32",
        "GYMTWIST_HELD": str(1 << 30),
        "GYMTWIST_LIMIT": str(1 << 29),
        "GYMTWIST_OF_WORKER": "true",
    }


def test_no_text_can_add_a_field() -> None:
    """A line break, which would end the field, is a part of it."""
    fields = fields_of(encoded(event(log_format="{line}", line="one\nPRIORITY=0\n\udcff")))
    assert fields["PRIORITY"] == "6"
    assert "GYMTWIST_LINE" not in fields
    assert fields["MESSAGE"].startswith("one")


def test_an_error_comes_with_its_traceback() -> None:
    """In the text, too: that is what people see."""
    try:
        raise ValueError("reason")
    except ValueError:
        failure = Failure()
    fields = fields_of(encoded(event(log_level=LogLevel.critical, log_failure=failure)))
    assert fields["PRIORITY"] == "2"
    assert fields["MESSAGE"].startswith("line\nTraceback")
    assert "ValueError: reason" in fields["GYMTWIST_TRACEBACK"]


def test_a_record_that_no_datagram_takes_comes_as_memory(journal: Journal) -> None:
    """Which nobody can change any more."""
    record = encoded(event(log_format="{line}", line="x" * 1_000_000))
    JournalSocket(journal.path).write(record)
    assert journal.receive() == (record, True)


def test_a_journal_that_was_started_anew(journal: Journal) -> None:
    """It gets what comes later."""
    sending = JournalSocket(journal.path)
    journal.socket.close()
    os.unlink(journal.path)
    with pytest.raises(OSError, match="No such file"):
        sending.write(b"MESSAGE=lost\n")
    again = Journal(Path(journal.path))
    with again.socket:
        sending.write(b"MESSAGE=found\n")
        assert again.receive() == (b"MESSAGE=found\n", False)
