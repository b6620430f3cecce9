"""The journal of systemd: records with fields, by its native protocol.

The protocol is described at https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: a datagram has a record, and each line of it a
field. What does not fit a datagram is passed as the descriptor of sealed memory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import struct
from typing import Any

from twisted.logger import LogEvent

from gymtwist.server.log_records import record_of

SOCKET = "/run/systemd/journal/socket"
#: How the names of our fields begin, so that they are no one else's.
_PREFIX = "GYMTWIST_"
#: Severities as syslog numbers them.
_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def encoded(event: LogEvent) -> bytes:
    """Return an event of the log as a record."""
    record = record_of(event)
    fields = {
        # What people read should have the reason, too.
        "MESSAGE": "\n".join(filter(None, [record.pop("message"), record.get("traceback")])),
        "PRIORITY": _PRIORITIES[record.pop("level")],
        "SYSLOG_IDENTIFIER": "gymsock",
    }
    fields |= {f"{_PREFIX}{name.upper()}": value for name, value in record.items()}
    return b"".join(_field(name.encode(), value) for name, value in fields.items() if value is not None)


def _field(name: bytes, value: Any) -> bytes:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    data = text.encode("utf-8", "backslashreplace")
    if b"\n" in data:
        return b"%b\n%b%b\n" % (name, len(data).to_bytes(8, "little"), data)
    return b"%b=%b\n" % (name, data)


class JournalSocket:
    """Sends records to the journal.

    Args:
        path: The socket of the journal.

    Raises:
        OSError: There is none.
    """

    def __init__(self, path: str = SOCKET) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, error.strerror, path) from error

    def write(self, record: bytes) -> None:
        """Send a record, and wait if the journal does not keep up.

        Raises:
            OSError: It cannot be sent.
        """
        try:
            # Not to the peer of the connection: the journal may have been started anew.
            self._socket.sendto(record, self._path)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._send_memory(record)

    def _send_memory(self, record: bytes) -> None:
        with os.fdopen(os.memfd_create("record", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "wb") as memory:
            memory.write(record)
            memory.flush()
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("i", memory.fileno()))]
            self._socket.sendmsg([b""], rights, 0, self._path)

    def flush(self) -> None:
        """Do nothing: a record is sent at once."""


def of_output() -> JournalSocket | None:
    """Return the journal if standard output is the journal; None if it is not, or if it is out of reach."""
    with contextlib.suppress(OSError):  # it is closed, or there is no socket
        status = os.fstat(1)
        if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return JournalSocket()
    return None
