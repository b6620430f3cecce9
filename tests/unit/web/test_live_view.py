"""Frames for who watches: one at a time, none for a session that nobody watches, and PNG as it should be."""

from __future__ import annotations

import io
import mmap
import os
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from twisted.internet import defer
from twisted.internet.task import Clock

from gymtwist.protocol.handshake import ProtocolName
from gymtwist.server.session_events import Ended, SessionInfo
from gymtwist.web.live_view import Frame, LiveViews, Reason, encode
from gymtwist.worker import live_frames, session_status
from gymtwist.worker.session_status import ATTENTION, FRAME_SIZE, FRAME_STATE, FRAME_WANTED, FRAME_WIDTH, SessionStatus

RED = np.full((20, 30, 3), (255, 0, 0), np.uint8)


class Watched:
    """A session, as far as a view needs one, with its worker's side."""

    def __init__(self) -> None:
        """Have its memory."""
        self._descriptor = session_status.create()
        self.status = SessionStatus(self._descriptor)
        self.worker = SessionStatus(self._descriptor, with_recovery=True)

    def map_frame(self) -> Any:
        """Map the memory as a session does."""
        return mmap.mmap(self._descriptor, FRAME_SIZE, offset=session_status.FRAME_OFFSET)

    @property
    def blocks(self) -> int:
        """How much of the memory is there, in blocks of 512 bytes."""
        return os.fstat(self._descriptor).st_blocks

    def show(self, image: Any = RED) -> bool:
        """Write a frame as a worker does after a step, if one is wanted; return whether it was."""
        words = self.worker.words
        if not (words[ATTENTION] and words[FRAME_WANTED]):
            return False
        words[ATTENTION] = words[FRAME_WANTED] = 0.0
        live_frames.write(self.worker, image)
        return True


class Watching:
    """Views of one session, with a clock; what is done in a thread is done when the test says so."""

    def __init__(self) -> None:
        """Have nobody who watches."""
        self.clock = Clock()
        self.session = Watched()
        self.tasks: list[tuple[defer.Deferred[Any], Any]] = []
        self.views = LiveViews(self.clock, {1: self.session}, self._in_thread)

    def _in_thread(self, function: Any, *arguments: Any) -> defer.Deferred[Any]:
        answer: defer.Deferred[Any] = defer.Deferred()
        self.tasks.append((answer, lambda: function(*arguments)))
        return answer

    def watch(self, after: int = 0) -> list[Any]:
        """Ask for a frame; return a list to which the answer comes."""
        came: list[Any] = []
        self.views.next(1, after).addBoth(came.append)
        return came

    def turn(self, seconds: float = 0.01) -> None:
        """Let time pass, and the thread work."""
        self.clock.advance(seconds)
        while self.tasks:
            answer, act = self.tasks.pop()
            try:
                answer.callback(act())
            except Exception:
                answer.errback()


def test_a_frame_is_wanted_when_somebody_asks() -> None:
    """Once for all who ask, and then no more."""
    watching = Watching()
    assert not watching.session.show()
    first, second = watching.watch(), watching.watch()
    watching.turn()
    assert watching.session.show()
    watching.turn()
    assert isinstance(first[0], Frame)
    assert first == second
    assert first[0].number == 1
    watching.turn(1.0)
    assert not watching.session.show()
    assert watching.watch(0) == first  # somebody who comes later sees it at once


def test_frames_come_ten_times_a_second_at_most() -> None:
    """However often somebody asks."""
    watching = Watching()
    shown = last = 0
    came = watching.watch()
    for _ in range(200):
        watching.turn(0.01)
        shown += watching.session.show()
        if came:
            last = came[0].number
            came = watching.watch(last)
    assert 15 <= shown <= 21
    assert last >= shown - 1


def test_a_session_that_does_nothing() -> None:
    """Has no frame; what was asked for is had by the next who asks."""
    watching = Watching()
    came = watching.watch()
    for _ in range(11):
        watching.turn(1.0)
    assert came == [Reason.WAITING]
    assert not watching.clock.getDelayedCalls()[1:]  # nothing but the end of the view
    assert watching.session.show()
    again = watching.watch()
    watching.turn()
    assert again[0].number == 1


def test_the_reasons_why_there_is_no_frame() -> None:
    """Are told."""
    watching = Watching()
    came = watching.watch()
    watching.turn()
    watching.session.show(np.zeros(3))
    watching.turn()
    assert came == [Reason.NO_IMAGE]
    came = watching.watch()
    watching.turn()
    live_frames.write_failure(watching.session.worker)
    watching.turn()
    assert came == [Reason.NOT_RENDERED]
    unknown: list[Any] = []
    watching.views.next(2, 0).addBoth(unknown.append)
    assert unknown == [Reason.NO_SESSION]


def test_impossible_shapes_of_an_environment() -> None:
    """Are no frame: it can write to the same memory."""
    for width in (1e15, -1.0, float("nan"), 0.0, 8e6):
        watching = Watching()
        came = watching.watch()
        watching.turn()
        watching.session.show()
        watching.session.worker.words[FRAME_WIDTH] = width
        watching.turn()
        assert came == [Reason.NOT_RENDERED]
        watching.session.worker.words[FRAME_STATE] = width


def test_the_memory_is_given_back() -> None:
    """When nobody has watched for a while; whoever watches then begins anew."""
    watching = Watching()
    before = watching.session.blocks
    watching.watch()
    watching.turn()
    watching.session.show(np.full((1000, 1000, 3), 7, np.uint8))
    watching.turn()
    assert watching.session.blocks > before + 5000
    watching.turn(20.0)
    assert watching.session.blocks <= before + 8
    assert watching.clock.getDelayedCalls() == []
    came = watching.watch()
    watching.turn()
    watching.session.show()
    watching.turn()
    assert came[0].number == 1


def test_the_end_of_the_session() -> None:
    """Is told to who waits, even while a frame is being encoded."""
    for is_encoding in (False, True):
        watching = Watching()
        came = watching.watch()
        watching.clock.advance(0.01)
        if is_encoding:
            watching.session.show()
            watching.clock.advance(0.01)
            assert watching.tasks
        watching.views(Ended(SessionInfo(1, "", "", ProtocolName.INT32), "the client left", 0, 0, 0.0))
        assert came == [Reason.NO_SESSION]
        watching.turn()
        assert watching.clock.getDelayedCalls() == []


def test_whoever_leaves_is_forgotten() -> None:
    """Nothing is looked for any more."""
    watching = Watching()
    asked = watching.views.next(1, 0)
    asked.addErrback(lambda failure: failure.trap(defer.CancelledError))
    asked.cancel()
    watching.turn()
    watching.turn()
    assert len(watching.clock.getDelayedCalls()) == 1  # the end of the view


def test_a_frame_is_a_png() -> None:
    """In colours or in grey."""
    for image, mode in ((RED, "RGB"), (RED[:, :, 1:2], "L")):
        watching = Watching()
        came = watching.watch()
        watching.turn()
        watching.session.show(image)
        watching.turn()
        decoded = Image.open(io.BytesIO(came[0].png))
        assert decoded.mode == mode
        assert np.array_equal(np.asarray(decoded).reshape(image.shape), image)


def test_the_parts_of_a_png() -> None:
    """Have their lengths and checks."""
    png = encode(bytearray(b"\0abc"), 1, 1, 3)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    at, names = 8, []
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        names.append(png[at + 4 : at + 8])
        assert struct.unpack_from(">I", png, at + 8 + length)[0] == zlib.crc32(png[at + 4 : at + 8 + length])
        at += 12 + length
    assert names == [b"IHDR", b"IDAT", b"IEND"]
