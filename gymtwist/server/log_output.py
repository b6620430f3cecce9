"""Where the log goes: a file that is rotated and reopened, standard output, the systemd journal, or syslog.

``twistd`` would choose the same destination from the same options. But it keeps all rotated files, cannot reopen the
file, and lets standard output block the server when nobody reads it.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import itertools
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from twisted.logger import (
    FileLogObserver,
    FilteringLogObserver,
    ILogFilterPredicate,
    LegacyLogObserverWrapper,
    LogEvent,
    PredicateResult,
    textFileLogObserver,
)
from twisted.python.logfile import LogFile
from zope.interface import implementer

from gymtwist.server import systemd_journal
from gymtwist.server.line_limit import LineLimit, listed
from gymtwist.server.log_records import as_json
from gymtwist.server.server_log import log

#: The maximum number of lines waiting to be written to standard output; further lines are dropped.
_MOST_WAITING = 10_000
#: The number of lines written between flushes.
_BATCH = 100
#: Seconds to wait for unwritten lines while the reactor is not running, as at exit.
_FLUSH_TIMEOUT = 1.0
_MEGABYTE = 1_000_000


def observer(
    reactor: Any,
    twistd: Mapping[str, Any],
    size: int,
    keep: int,
    hung_up: Sequence[Callable[[], object]] = (),
    form: str = "auto",
    retired: list[Callable[[], object]] | None = None,
) -> Any:
    """Return the observer that writes the log; make SIGHUP reopen its file and SIGUSR1 rotate it.

    In the foreground, closing the terminal also sends SIGHUP; that ends the server, unless ``nohup`` started it.

    Args:
        reactor: The reactor of the server.
        twistd: The options of ``twistd``: ``logger``, ``syslog``, ``prefix``, ``nodaemon`` and ``logfile``. ``twist``,
            which stays in the foreground, has no options of these names.
        size: The size at which the file is rotated, in megabytes; 0 for never.
        keep: The number of rotated files to keep; 0 for all.
        hung_up: Other functions to call on SIGHUP.
        form: ``text``, or ``json`` for one object per line; syslog always gets text. ``journal`` sends records to the
            systemd journal. ``auto`` means ``journal`` if standard output is the journal, otherwise ``text``.
        retired: A list that receives functions to call when another process has the ports and rotates the file.

    Returns:
        The observer; None to leave the log, or the error, to ``twistd`` or ``twist``.

    Raises:
        OSError: The file cannot be opened, or there is no journal.
    """
    if "logfile" not in twistd:
        return None
    path = twistd["logfile"]
    if twistd["logger"] or (path == "-" and not twistd["nodaemon"]):
        return None
    write_lines = partial(FileLogObserver, formatEvent=as_json) if form == "json" else textFileLogObserver
    written: Any  # mypy does not read the interfaces that Twisted's classes declare
    reopen: Callable[[], object] = lambda: None  # noqa: E731
    is_foreground = twistd["nodaemon"] and path in (None, "", "-")
    journal = _journal(form, is_output=is_foreground and not twistd["syslog"])
    if journal is not None:
        written = partial(_write_record, UnblockedStream(reactor, journal))
    elif twistd["syslog"]:
        from twisted.python import syslog

        emit: Any = syslog.SyslogObserver(twistd["prefix"]).emit
        written = LegacyLogObserverWrapper(emit)
    elif is_foreground:
        stream: Any = UnblockedStream(reactor, sys.stdout)
        written = write_lines(stream)
    else:
        file = ReopenedFile.fromFullPath(
            path or "twistd.log", rotateLength=size * _MEGABYTE or None, maxRotatedFiles=keep or None
        )
        reopen = file.reopen
        on_signal(reactor, signal.SIGUSR1, file.rotate)
        if retired is not None:
            retired.append(file.leave_rotation)
        written = write_lines(file)

    nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    needs_terminal = twistd["nodaemon"] and not nohup and _has_terminal()

    def at_hangup() -> None:
        if needs_terminal and not _has_terminal():
            log.info("SIGHUP: the terminal was closed, and the server with it")
            os.kill(os.getpid(), signal.SIGTERM)
            return
        try:
            reopen()
        except OSError as error:
            log.error("SIGHUP: the log cannot be opened again, and goes on in the old file: {error}", error=error)
        else:
            log.info("SIGHUP: the log goes on, in a new file if it was moved; sessions are not affected")
        for act in hung_up:
            act()

    on_signal(reactor, signal.SIGHUP, at_hangup)
    limit: Any = AcceptErrorLimit(reactor)
    return FilteringLogObserver(written, [limit])


def _journal(form: str, *, is_output: bool) -> systemd_journal.JournalSocket | None:
    """Return the systemd journal if the log goes there.

    Args:
        form: The form of the log.
        is_output: Whether text would go to standard output.

    Raises:
        OSError: The log must go there, but the journal cannot be reached.
    """
    if form == "journal":
        return systemd_journal.JournalSocket()
    return systemd_journal.of_output() if form == "auto" and is_output else None


def _write_record(journal: UnblockedStream, event: LogEvent) -> None:
    journal.write(systemd_journal.encoded(event))
    journal.flush()


def _has_terminal() -> bool:
    """Return whether this process still has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY))
    except OSError:
        return False
    return True


def on_signal(reactor: Any, number: signal.Signals, act: Callable[[], None]) -> None:
    """Call a function in the reactor's thread on each signal."""
    signal.signal(number, lambda *_: reactor.callFromThread(act))


class ReopenedFile(LogFile):
    """A log file that keeps the old file open if it cannot be reopened; Twisted closes the old file first.

    Several processes may write to it during an upgrade: each appends whole lines, and only one of them rotates the
    file.
    """

    _rotates = True

    def _openFile(self) -> None:
        super()._openFile()
        flags = fcntl.fcntl(self._file, fcntl.F_GETFL)
        fcntl.fcntl(self._file, fcntl.F_SETFL, flags | os.O_APPEND)

    def leave_rotation(self) -> None:
        """Leave rotation to another process that writes to the file."""
        self._rotates, self.rotateLength = False, None

    def rotate(self) -> None:
        """Rename the file, and start a new one."""
        if self._rotates:
            super().rotate()

    def reopen(self) -> None:
        """Reopen the file, since another program may have moved it.

        Raises:
            OSError: It cannot be opened: its directory is gone, or the server's user may not write there.
        """
        before = self._file
        try:
            self._openFile()
        finally:
            if self._file is not before:
                before.close()


class UnblockedStream:
    """Writes to a stream in a thread, so that a reader that stops reading blocks only that thread.

    Args:
        reactor: The reactor of the server.
        stream: The text stream, or the journal.
    """

    def __init__(self, reactor: Any, stream: Any) -> None:
        self._reactor = reactor
        self._stream = stream
        self._changed = threading.Condition()
        self._waiting: collections.deque[str | bytes] = collections.deque()
        self._dropped = 0
        self._thread: threading.Thread | None = None

    def write(self, text: str | bytes) -> None:
        """Queue a text or a record for writing, or drop it if too many are queued."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="log", daemon=True)
            self._thread.start()
        with self._changed:
            if len(self._waiting) < _MOST_WAITING:
                self._waiting.append(text)
                self._changed.notify_all()
            else:
                self._dropped += 1

    def flush(self) -> None:
        """Wait briefly until everything is written; do nothing while the reactor runs."""
        if not self._reactor.running:
            with self._changed:
                self._changed.wait_for(lambda: not self._waiting, _FLUSH_TIMEOUT)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                texts = list(itertools.islice(self._waiting, _BATCH))
            for text in texts:
                with contextlib.suppress(OSError, ValueError):  # nobody reads any more, or the text has a surrogate
                    self._stream.write(text)
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()
            with self._changed:
                for _ in texts:
                    self._waiting.popleft()
                dropped, self._dropped = self._dropped, 0
                self._changed.notify_all()
            if dropped:
                self._reactor.callFromThread(
                    log.warn, "{count} lines are missing here: nobody read the log", count=dropped
                )


#: The namespaces that log connections that cannot be accepted: Twisted's ports and ours.
_PORTS = ("twisted.internet.tcp", "gymtwist.server.ports")


@implementer(ILogFilterPredicate)
class AcceptErrorLimit:
    """Limits the lines that Twisted logs when it cannot accept connections to one per second.

    Args:
        clock: Provides the time: an ``IReactorTime``.
    """

    def __init__(self, clock: Any) -> None:
        self._limit = LineLimit(clock, 1, 1.0, _log_accept_errors)

    def __call__(self, event: LogEvent) -> Any:
        """Return whether to log an event."""
        if not event.get("log_namespace", "").startswith(_PORTS) or self._limit.allows("lines"):
            return PredicateResult.maybe
        return PredicateResult.no


def _log_accept_errors(left_out: Mapping[str, int]) -> None:
    log.warn("More about connections that cannot be accepted, not logged: {what}", what=listed(left_out))
