"""The systemd journal: records with fields, in its native protocol.

The protocol is described at https://systemd.io/JOURNAL_NATIVE_PROTOCOL/: a datagram is one record, with one field per
line. A record too large for a datagram is passed as the descriptor of sealed memory.
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
#: The prefix of our field names, which avoids conflicts with others.
_PREFIX = "GYMTWIST_"
#: The syslog numbers of severities.
_PRIORITIES = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def encoded(event: LogEvent) -> bytes:
    """Return a log event as a record."""
    record = record_of(event)
    fields = {
        # People read only the message, so it includes the traceback.
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
        path: The path of the journal's socket.

    Raises:
        OSError: There is no journal.
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
        """Send a record; wait if the journal does not keep up.

        Raises:
            OSError: The record cannot be sent.
        """
        try:
            # Use the path, not the connection: the journal may have been restarted.
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
        """Do nothing: records are sent at once."""


def of_output() -> JournalSocket | None:
    """Return the journal if standard output goes to it; None if not, or if the journal cannot be reached."""
    with contextlib.suppress(OSError):  # standard output is closed, or there is no socket
        status = os.fstat(1)
        if os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return JournalSocket()
    return None
