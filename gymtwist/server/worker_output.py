"""The output of workers: read from a pipe and logged, both at a limited rate."""

from __future__ import annotations

import collections
import os
import select
from typing import Any

from twisted.internet import process
from twisted.python.failure import Failure

from gymtwist.error_texts import printable
from gymtwist.server.server_log import log

#: Bytes per second that are read from one process; if it prints more, its pipe fills up and slows it down.
READ_RATE = 4 * 1024 * 1024
#: Bytes per second that are logged; the rest is counted.
LOG_RATE = 64 * 1024
#: Lines per second that are logged: each costs the server time, however short it is.
LINE_RATE = 1000
_LINE_LENGTH = 4096
#: Characters kept of a line, for people who watch the session.
_KEPT_LENGTH = 500


class OutputReader:
    """Logs the output of a process line by line.

    Args:
        reactor: Reads the pipe and provides the time.
        descriptor: The read end of the pipe; it is closed here.
        source: The name of the process in the log.

    Attributes:
        source: The name of the process in the log; it may be changed at any time.
        kept: The last lines; it may be replaced at any time.
    """

    def __init__(self, reactor: Any, descriptor: int, source: str) -> None:
        self.source = source
        self.kept: collections.deque[str] = collections.deque(maxlen=0)
        self._reactor = reactor
        self._rest = b""
        self._read = 0
        self._logged = 0
        self._lines_left = LINE_RATE
        self._dropped = 0
        self._window: Any = None
        self._closed = False
        self._reader = process.ProcessReader(reactor, self, "output", descriptor)

    def childDataReceived(self, name: str, data: bytes) -> None:
        """Log the lines in the data; called by Twisted's ``ProcessReader``."""
        if self._window is None and not self._closed:
            self._window = self._reactor.callLater(1.0, self._next_window)
        self._read += len(data)
        if self._read >= READ_RATE:
            self._reader.stopReading()
        data, start = self._rest + data, 0
        while self._lines_left and (end := data.find(b"\n", start)) >= 0:
            for cut in range(start, max(start + 1, end), _LINE_LENGTH):
                self._log_line(data[cut : min(cut + _LINE_LENGTH, end)])
            start = end + 1
        if not self._lines_left:  # the rest is not logged, so there is no need to split it into lines
            end = data.rfind(b"\n", start) + 1
            self._dropped += max(0, end - start)
            start = max(start, end)
        self._rest = data[start:]
        while len(self._rest) >= _LINE_LENGTH:
            self._log_line(self._rest[:_LINE_LENGTH])
            self._rest = self._rest[_LINE_LENGTH:]

    def _log_line(self, line: bytes) -> None:
        if not self._lines_left or self._logged + len(line) > LOG_RATE:
            self._lines_left = 0
            self._dropped += len(line) + 1
            return
        self._logged += len(line) + 1
        self._lines_left -= 1
        text = printable(line.decode("utf-8", "backslashreplace").rstrip("\r"))
        self.kept.append(text[:_KEPT_LENGTH])
        log.info("[{source}] | {text}", source=self.source, text=text)

    def _next_window(self) -> None:
        """Start the allowance of the next second."""
        self._window = None
        self._log_dropped()
        if self._read >= READ_RATE and not self._closed:
            self._reader.startReading()
        self._read = self._logged = 0
        self._lines_left = LINE_RATE

    def _log_dropped(self) -> None:
        if self._dropped:
            log.info(
                "[{source}] | ({bytes} bytes more were printed and not logged)",
                source=self.source,
                bytes=self._dropped,
            )
            self._dropped = 0

    def drain(self) -> None:
        """Log what is in the pipe now; do not wait for more."""
        for _ in range(READ_RATE // 65536):
            if self._closed or not self._has_data():
                return
            if self._reader.doRead() is not None:
                return

    def _has_data(self) -> bool:
        poll = select.poll()
        poll.register(self._reader.fileno(), select.POLLIN)
        return any(event & select.POLLIN for _, event in poll.poll(0))

    def close(self) -> None:
        """Log the rest and close the pipe, even if another process still has the other end open."""
        if not self._closed:
            self.drain()
            self._finish()
            # The reactor closes the descriptor in its next iteration. In this one, it may have a pending event, which a
            # new connection with the same descriptor number would receive.
            self._reader.loseConnection()

    def childConnectionLost(self, name: str, reason: Failure) -> None:
        """Close the pipe; called by Twisted's ``ProcessReader`` when the other end is closed."""
        if not self._closed:
            self._finish()
        os.close(self._reader.fileno())

    def _finish(self) -> None:
        self._closed = True
        if self._rest:
            self._log_line(self._rest)
            self._rest = b""
        self._log_dropped()
        if self._window is not None:
            self._window.cancel()
            self._window = None
        self._reader.stopReading()
