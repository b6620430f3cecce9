"""A connection to the server that is judged: bytes as they are, and replies that are looked at closely."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, TypeVar

from gymtwist.conformance.encoding import message
from gymtwist.conformance.report import Violation, expect
from gymtwist.errors import GymtwistError
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import FrameReader
from gymtwist.protocol.messages import Error, Fault, Reply
from gymtwist.protocol.names import ProtocolName

#: The longest reply in bytes that is read.
MAX_REPLY = 256 * 1024 * 1024
#: Seconds between pieces.
_PAUSE = 0.0002

_Reply = TypeVar("_Reply")


class Ended(Violation):
    """The server closed the connection where a reply was due."""


class Connection:
    """One connection.

    Args:
        address: Host and port.
        protocol: What is spoken.
        patience: Seconds after which what did not come is taken not to come.
    """

    def __init__(self, address: tuple[str, int], protocol: ProtocolName, patience: float) -> None:
        self.protocol = protocol
        self._patience = patience
        self._codec = MessageCodec(protocol)
        self._reader = FrameReader(self._codec.framing, limit=MAX_REPLY)
        self._socket = socket.create_connection(address, patience)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        """Return the connection itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._socket.close()

    # What is sent

    def send(self, data: bytes) -> None:
        """Send bytes as they are; a server that does not want them any more has said why."""
        try:
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass
        except TimeoutError:
            raise Violation(f"the server does not read: {len(data)} bytes were not taken in time") from None

    def send_each(self, pieces: Iterable[bytes]) -> None:
        """Send pieces, each by itself."""
        for piece in pieces:
            self.send(piece)
            # Without a pause they would arrive together.
            time.sleep(_PAUSE)

    def encoded(self, op: str, **fields: Any) -> bytes:
        """Encode a request in this connection's framing, whatever its fields are."""
        return message(self.protocol, op, fields)

    def say(self, op: str, **fields: Any) -> None:
        """Send a request, whatever its fields are."""
        self.send(self.encoded(op, **fields))

    # What comes

    def hear(self) -> Reply:
        """Read the next reply.

        Raises:
            Violation: There is none, or it is not as the protocol says.
        """
        reply = self._hear_unless(lambda: False)
        assert reply is not None
        return reply

    def _hear_unless(self, is_there: Callable[[], bool]) -> Reply | None:
        """Read the next reply, unless it is found elsewhere; empty frames are passed over where they may be.

        Args:
            is_there: Tells whether it is, and is asked whenever something has come.

        Returns:
            None if it is.
        """
        while not is_there():
            try:
                payload = self._next_payload()
                if payload is not None:
                    return self._codec.decode_reply(bytes(payload))
            except GymtwistError as error:
                raise Violation(f"the server sent what is no reply: {error}") from error
            if not self._receive() and not is_there():
                raise Ended("the server closed the connection without a reply")
        return None

    def _next_payload(self) -> memoryview | None:
        payload = self._reader.next_frame()
        while payload is not None and not len(payload) and not self._reader.least:
            payload = self._reader.next_frame()
        return payload

    def _receive(self) -> int:
        try:
            count = self._socket.recv_into(self._reader.space())
        except TimeoutError:
            raise Violation(f"the server sent nothing for {self._patience:g} s") from None
        except ConnectionResetError:
            raise Ended("the server reset the connection: what it sent last may be lost on its way") from None
        self._reader.received(count)
        return count

    def expect(self, kind: type[_Reply], what: str) -> _Reply:
        """Read the next reply, which must be of a kind.

        Args:
            kind: Of the reply.
            what: What was asked, for the verdict.
        """
        return of_kind(self.hear(), kind, what)

    def expect_error(
        self,
        what: str,
        *codes: str,
        fault: Fault | tuple[Fault, ...] = "request",
        reset_needed: bool | None = False,
    ) -> Error:
        """Read the next reply, which must be an error.

        Args:
            what: What was asked, for the verdict.
            *codes: Those that it may have; none for any.
            fault: Whose it must be, or may be.
            reset_needed: Whether it must say that a reset is needed; None for either.
        """
        reply = self.hear()
        faults = (fault,) if isinstance(fault, str) else fault
        expect(isinstance(reply, Error), f"{what} was answered with {tag_of(reply)}; expected an error")
        assert isinstance(reply, Error)
        told = f"{reply.code!r} ({reply.fault}): {reply.message!r}"
        expect(
            not codes or reply.code in codes,
            f"{what} was answered with the error {told}; expected {' or '.join(codes)}",
        )
        expect(reply.fault in faults, f"{what} was answered with {told}; expected the fault {' or '.join(faults)}")
        expect(reply.message.strip(), f"{what} was answered with an error without a message")
        if reset_needed is not None:
            expect(
                reply.reset_needed is reset_needed,
                f"{what} was answered with {told} and reset_needed {reply.reset_needed}; expected {reset_needed}",
            )
        return reply

    def expect_end(self, what: str) -> None:
        """Read to the end of the stream: there must be no more than that."""
        try:
            payload = self._next_payload()
            while payload is None and self._receive():
                payload = self._next_payload()
        except Ended:
            return
        except GymtwistError as error:
            raise Violation(f"after {what}, the server sent what is no reply: {error}") from error
        except Violation:
            raise Violation(f"after {what}, the server did not close the connection") from None
        expect(payload is None, f"after {what}, the server sent another message instead of closing the connection")


def of_kind(reply: Reply, kind: type[_Reply], what: str) -> _Reply:
    """Find that a reply is of a kind.

    Raises:
        Violation: It is not.
    """
    if isinstance(reply, kind):
        return reply
    if isinstance(reply, Error):
        raise Violation(f"{what} was answered with the error {reply.code!r} ({reply.fault}): {reply.message!r}")
    raise Violation(f"{what} was answered with {tag_of(reply)}")


def tag_of(reply: Reply) -> str:
    """Name the operation of a reply."""
    return f'"{reply.__struct_config__.tag}"'
