"""The service that runs the process which turns recordings into datasets, while there is work for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.protocol import ProcessProtocol, connectionDone
from twisted.python.failure import Failure

from gymtwist.recordings.dataset_names import JOURNALS
from gymtwist.server.server_log import log
from gymtwist.server.session_events import Ended, SessionEvent, Started

_MODULE = "gymtwist.recordings.dataset_writer"
#: Seconds between checks for journals while sessions that may record are running.
_INTERVAL = 0.5
#: Seconds that the process has to finish its work when the server stops.
_END_TIMEOUT = 15.0
#: Seconds before a failed process is restarted.
_RETRY = 10.0


class RecordingService(Service):
    """Starts the dataset writer when a session records, and stops it with the server.

    Args:
        reactor: The reactor.
        root: The root directory of the datasets.
    """

    def __init__(self, reactor: Any, root: Path) -> None:
        self._reactor = reactor
        self._root = root
        self._writer: Writer | None = None
        self._not_before = 0.0
        self._stopping = False
        self._sessions: set[int] = set()
        self._next_look: Any = None

    def startService(self) -> None:
        """Finish what an earlier server left."""
        super().startService()
        self._look()

    def notice(self, event: SessionEvent) -> None:
        """Look for journals while there are sessions; subscribe this to the session events."""
        if isinstance(event, Started):
            if event.session.records:
                self._sessions.add(event.session.number)
                self._look()
        elif isinstance(event, Ended) and self._root.exists():
            # The session may have begun to record only with its second message.
            self._sessions.discard(event.session.number)
            self._look()

    def _look(self) -> None:
        """Start the writer if there are journals; check again later while there may be some."""
        if self._next_look is not None and self._next_look.active():
            self._next_look.cancel()
        if self._writer is None and not self._stopping:
            if self._reactor.seconds() >= self._not_before and has_journals(self._root):
                self._writer = Writer(self._reactor, self._root, self._ended)
            elif self._sessions or has_journals(self._root):
                self._next_look = self._reactor.callLater(_INTERVAL, self._look)

    def _ended(self, exit_code: int | None) -> None:
        self._writer = None
        if exit_code:
            log.error(
                "The process that makes datasets of recordings has failed (exit status {code}); it is started again",
                code=exit_code,
            )
            self._not_before = self._reactor.seconds() + _RETRY
        self._look()

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Let the process finish what the sessions have left."""
        super().stopService()
        self._look()
        self._stopping = True
        if self._next_look is not None and self._next_look.active():
            self._next_look.cancel()
        if self._writer is not None:
            yield self._writer.stop(_END_TIMEOUT)


class Writer(ProcessProtocol):
    """The dataset writer's process.

    Args:
        reactor: The reactor.
        root: The root directory of the datasets.
        ended: Called when the process has ended, with its exit status; a signal is a negative number.
    """

    def __init__(self, reactor: Any, root: Path, ended: Any) -> None:
        self._reactor = reactor
        self._ended = ended
        self._finished: defer.Deferred[None] = defer.Deferred()
        self._rest = b""
        words = [sys.executable, "-m", _MODULE, str(root)]
        self._process = reactor.spawnProcess(self, sys.executable, words, os.environ)

    def outReceived(self, data: bytes) -> None:
        """Log what the process prints."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            log.info("[recordings] | {text}", text=line.decode(errors="backslashreplace"))

    errReceived = outReceived

    def processEnded(self, reason: Failure = connectionDone) -> None:
        """Report that the process has ended."""
        error: Any = reason.value
        self._ended(error.exitCode if error.exitCode is not None else -(error.signal or 0))
        self._finished.callback(None)

    def stop(self, seconds: float) -> defer.Deferred[None]:
        """Let the process end when it has done its work.

        Args:
            seconds: Seconds after which it is killed.

        Returns:
            A Deferred that fires when the process has ended.
        """
        self._process.closeStdin()
        kill = self._reactor.callLater(seconds, self._process.signalProcess, "KILL")
        return self._finished.addCallback(lambda _: kill.active() and kill.cancel())


def has_journals(root: Path) -> bool:
    """Return whether there are journals to turn into datasets."""
    try:
        return any(not each.startswith(".") for each in os.listdir(root / JOURNALS))
    except OSError:
        return False
