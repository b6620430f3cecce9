"""Frames of sessions, for people who watch them.

A session's process checks one word of its status after each step. If a frame is wanted, it writes one into memory that
belongs to the status, and the server turns it into a PNG. The next frame is requested when somebody asks again, so slow
viewers skip frames, and an unwatched session pays nothing.
"""

from __future__ import annotations

import contextlib
import enum
import mmap
import struct
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet import defer, task

from gymtwist.server.session_events import Ended, SessionEvent
from gymtwist.worker.session_status import FrameState

#: Seconds between two frames of a session, and between checks whether a frame is ready.
_INTERVAL, _LOOK_INTERVAL = 0.1, 0.01
#: Seconds to wait for a frame, and seconds after which frame memory that nobody has asked for is released.
_PATIENCE, _KEPT = 10.0, 15.0
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: PNG colour types of grey and RGB, by the number of channels.
_COLOURS = {1: 0, 3: 2}


class Frame(msgspec.Struct, frozen=True):
    """A frame.

    Attributes:
        number: Its number; 1 is the first frame of the session that somebody watched.
        png: The image, as a PNG file.
    """

    number: int
    png: bytes


class Reason(enum.Enum):
    """Why there is no frame."""

    WAITING = "waiting"  # the session has made no step or reset for a while
    NO_IMAGE = "no-image"  # the environment renders no RGB frames, and its observations are not images
    NOT_RENDERED = "not-rendered"  # rendering raised
    NO_SESSION = "no-session"  # the session is not running


class LiveView:
    """The frames of one session.

    Args:
        reactor: Provides the time.
        session: The session.
        in_thread: Calls a function in a thread; returns a Deferred that fires with the result.
        forget: Called when nobody has watched for a while.
    """

    def __init__(
        self,
        reactor: Any,
        session: Any,
        in_thread: Callable[..., defer.Deferred[Any]],
        forget: Callable[[], None],
    ) -> None:
        self._reactor = reactor
        self._session = session
        self._in_thread = in_thread
        self._forget = forget
        self._memory: mmap.mmap = session.map_frame()
        self._frame: Frame | None = None
        self._taken_at = -_INTERVAL
        self._asked_at: float | None = None
        self._is_encoding = self._has_ended = False
        self._waiting: list[tuple[defer.Deferred[Frame | Reason], float]] = []
        self._looking = task.LoopingCall(self._look)
        self._looking.clock = reactor
        self._idle = reactor.callLater(_KEPT, forget)

    def next(self, after: int) -> defer.Deferred[Frame | Reason]:
        """Return a Deferred that fires with a frame later than the given one, or with the reason why there is none.

        Args:
            after: The number of the last frame received; 0 for none.
        """
        self._idle.reset(_KEPT)
        if self._frame is not None and self._frame.number > after:
            return defer.succeed(self._frame)
        answer: defer.Deferred[Frame | Reason] = defer.Deferred(self._cancelled)
        self._waiting.append((answer, self._reactor.seconds() + _PATIENCE))
        if not self._looking.running:
            self._looking.start(_LOOK_INTERVAL)
        return answer

    def _cancelled(self, answer: defer.Deferred[Frame | Reason]) -> None:
        self._waiting = [each for each in self._waiting if each[0] is not answer]

    def _look(self) -> None:
        """Ask for a frame when one is due, and take one that is ready."""
        now, status = self._reactor.seconds(), self._session.status
        late = [answer for answer, until in self._waiting if now >= until]
        self._waiting = [each for each in self._waiting if now < each[1]]
        for answer in late:
            answer.callback(Reason.WAITING)
        if self._is_encoding:
            return
        if self._asked_at is None:
            if not self._waiting:
                self._looking.stop()
            elif now >= self._taken_at + _INTERVAL:
                self._asked_at = now
                status.ask_for_frame()
            return
        state = status.frame_state
        if state is FrameState.WRITTEN:
            self._take(now, status.frame_shape)
        elif state is not FrameState.NONE:
            self._asked_at = None
            self._answer(Reason.NO_IMAGE if state is FrameState.NO_IMAGE else Reason.NOT_RENDERED)
        elif not self._waiting:  # nobody waits for it any more; if it is written later, the next viewer gets it
            self._looking.stop()

    def _take(self, now: float, shape: tuple[int, int, int] | None) -> None:
        self._asked_at, self._taken_at = None, now
        if shape is None:
            self._answer(Reason.NOT_RENDERED)
            return
        self._is_encoding = True
        self._in_thread(encode, self._memory, *shape).addBoth(self._encoded)

    def _encoded(self, png: Any) -> None:
        self._is_encoding = False
        if self._has_ended:
            self._release()
            return
        if not isinstance(png, bytes):
            self._answer(Reason.NOT_RENDERED)
            return
        self._frame = Frame(self._frame.number + 1 if self._frame else 1, png)
        self._answer(self._frame)

    def _answer(self, found: Frame | Reason) -> None:
        waiting, self._waiting = self._waiting, []
        for answer, _ in waiting:
            answer.callback(found)

    def end(self) -> None:
        """Release the memory: nobody is watching, or the session has ended."""
        self._has_ended = True
        self._frame = None  # at once: this object and its timers form a cycle, which may be freed late
        if self._idle.active():
            self._idle.cancel()
        if self._looking.running:
            self._looking.stop()
        self._answer(Reason.NO_SESSION)
        if not self._is_encoding:
            self._release()

    def _release(self) -> None:
        with contextlib.suppress(OSError, AttributeError):  # the kernel or Python does not support it
            self._memory.madvise(mmap.MADV_REMOVE)
        self._memory.close()


class LiveViews:
    """The frames of all watched sessions; subscribe it to :class:`~.session_events.SessionEvents`.

    Args:
        reactor: Provides the time.
        sessions: The running sessions by number.
        in_thread: Calls a function in a thread; returns a Deferred that fires with the result.
    """

    def __init__(self, reactor: Any, sessions: dict[int, Any], in_thread: Callable[..., defer.Deferred[Any]]) -> None:
        self._reactor = reactor
        self._sessions = sessions
        self._in_thread = in_thread
        self._views: dict[int, LiveView] = {}

    def __call__(self, event: SessionEvent) -> None:
        """End the view of a session that has ended."""
        if isinstance(event, Ended):
            self._end(event.session.number)

    def _end(self, number: int) -> None:
        view = self._views.pop(number, None)
        if view is not None:
            view.end()

    def next(self, number: int, after: int) -> defer.Deferred[Frame | Reason]:
        """Return a Deferred that fires with the next frame of a session; see :meth:`LiveView.next`.

        Raises:
            OSError: There is no memory left.
        """
        session = self._sessions.get(number)
        if session is None:
            return defer.succeed(Reason.NO_SESSION)
        if number not in self._views:
            self._views[number] = LiveView(self._reactor, session, self._in_thread, lambda: self._end(number))
        return self._views[number].next(after)


def encode(memory: Any, height: int, width: int, channels: int) -> bytes:
    """Return a PNG of rows of pixels, each preceded by its filter type.

    Args:
        memory: The rows, as uint8.
        height: The number of rows.
        width: The number of pixels in a row.
        channels: 1 for grey, 3 for RGB.
    """
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    with memoryview(memory) as whole, whole[: height * (1 + width * channels)] as rows:
        pixels = zlib.compress(rows, 1)
    return _SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
