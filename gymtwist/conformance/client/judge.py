"""The judge of one connection, without I/O: bytes that a client sent in, pieces to send and a verdict out."""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from gymtwist.conformance.client.delivery import Answer, pieces
from gymtwist.conformance.client.exam import Exam
from gymtwist.conformance.client.parts import Part, Script
from gymtwist.conformance.report import Outcome, Result, Violation
from gymtwist.errors import GymtwistError
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import FrameReader
from gymtwist.protocol.messages import Make, Request
from gymtwist.protocol.names import ProtocolName

_BEHIND = "the client sent something behind its last request"


class State(enum.Enum):
    """Where a connection is."""

    SILENT = "nothing was sent"
    OPENING = "the first message has not come"
    PLAYING = "the script goes on"
    DONE = "the script has come to its end"
    BROKEN = "something was sent with which the script cannot go on"


class Judge:
    """Judges one connection.

    Args:
        parts: What can be played, by the id of the environment.

    Attributes:
        state: Where the connection is.
        part: What is played; None if that was not told.
    """

    def __init__(self, parts: Mapping[str, Part]) -> None:
        self._parts = parts
        self.state = State.SILENT
        self.part: Part | None = None
        self.protocol: ProtocolName | None = None
        self._exam = Exam("opening", "")
        self._codec: MessageCodec
        self._reader: FrameReader
        self._script: Script

    @property
    def over(self) -> bool:
        """Whether the judge closes the connection."""
        return self.state in (State.DONE, State.BROKEN)

    def received(self, data: bytes) -> list[bytes]:
        """Take what the client sent.

        Returns:
            What to send, each piece by itself.
        """
        if self.state is State.SILENT:
            self._recognise(data)
        if self.over:
            self._exam.check("end", self.state is State.BROKEN, _BEHIND)
            return []
        self._put(data)
        sent: list[bytes] = []
        while not self.over:
            try:
                frame = self._reader.next_frame()
                if frame is None:
                    break
                sent += self._answer(bytes(frame))
            except GymtwistError as error:
                self._exam.check("messages", False, str(error))
                sent += self._give_up(error.code, str(error))
            except Violation as violation:
                sent += self._give_up("bad-request", str(violation))
        if self.state is State.DONE:
            self._exam.check("end", self._is_empty(), _BEHIND)
        return sent

    def _is_empty(self) -> bool:
        """Tell whether nothing came behind the last request."""
        try:
            return self._reader.next_frame() is None
        except GymtwistError:
            return False

    def ended(self) -> list[Result]:
        """Take the end of the stream, from either side; return the verdict."""
        if self.state is not State.SILENT:
            self._exam.check("messages", True, "")
            waits = f"the client left before the end: {self.state.value}"
            self._exam.check("end", self.state in (State.DONE, State.BROKEN), waits)
        return self._exam.results()

    def _recognise(self, data: bytes) -> None:
        first = data[:1]
        if not (first.isdigit() or first == b"\0"):
            self._exam.check(
                "framing", False, f"the first bytes are {data[:20]!r}; expected a netstring or an Int32 frame"
            )
            self.state = State.BROKEN
            return
        self.protocol = ProtocolName.NETSTRING if first != b"\0" else ProtocolName.INT32
        self._codec = MessageCodec(self.protocol)
        self._reader = FrameReader(self._codec.framing)
        self._exam = Exam("opening", self.protocol.value)
        self.state = State.OPENING

    def _put(self, data: bytes) -> None:
        while data:
            space = self._reader.space()
            count = min(len(space), len(data))
            space[:count] = data[:count]
            self._reader.received(count)
            data = data[count:]

    def _answer(self, payload: bytes) -> list[bytes]:
        request = self._codec.decode_request(payload)
        if self.state is State.OPENING:
            script, answer = self._begin(request)
        else:
            script = self._script
            try:
                answer = script.send(request)
            except StopIteration:
                raise Violation("the client sent a request behind the last") from None
        self._look_at_fields(request, payload)
        if answer.last:
            self.state = State.DONE
        assert self.protocol is not None
        return pieces(self.protocol, answer)

    def _begin(self, request: Request) -> tuple[Script, Answer]:
        make = self._exam.take("make", request, Make)
        part = self._parts.get(make.id)
        known = ", ".join(self._parts)
        self._exam.check("make", part is not None, f"the client makes {make.id!r}; expected one of {known}")
        if part is None:
            raise Violation(f"unknown environment {make.id!r}; there are {known}")
        assert self.protocol is not None
        self.part = part
        spoken = self.protocol.value + (", base64" if make.values == "base64" else "")
        self._exam = Exam(part.name, spoken)
        self._script = part.script(self._exam, make, self.protocol)
        self.state = State.PLAYING
        return self._script, next(self._script)

    def _look_at_fields(self, request: Request, payload: bytes) -> None:
        """Find fields that no request of that kind has: a server ignores them, and so misspelt ones."""
        is_json = self.protocol is ProtocolName.NETSTRING
        told = msgspec.json.decode(payload) if is_json else msgspec.msgpack.decode(payload)
        op = request.__struct_config__.tag
        unknown = sorted(set(told) - {"op", *request.__struct_fields__})
        self._exam.check("fields", not unknown, f'"{op}" has fields that there are not: {", ".join(unknown)}')

    def _give_up(self, code: str, text: str) -> list[bytes]:
        self.state = State.BROKEN
        self._exam.check("script", False, text)
        assert self.protocol is not None
        error = {"op": "error", "code": code, "message": text, "fault": "protocol"}
        return pieces(self.protocol, Answer([error]))


def missing(parts: Mapping[str, Part], seen: set[str]) -> list[Result]:
    """Return the verdict on the parts that no client has tried."""
    return [
        Result(part.name, "", Outcome.FAIL, "no client has tried this part; --part chooses parts")
        for part in parts.values()
        if part.name not in seen
    ]
