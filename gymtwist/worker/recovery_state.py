"""The recovery state: what a new process needs to resume a connection whose process has died.

It is kept in the memory of the session status: the make message of the environment, and the bytes that the process has
received but not yet handled (a client may send several requests at once). An environment can write to this memory, but
that affects only its own session.
"""

from __future__ import annotations

from gymtwist.protocol.handshake import MAX_MAKE
from gymtwist.protocol.receive_buffer import ReceiveBuffer
from gymtwist.worker.session_status import MADE, RECEIVED, TAKEN, SessionStatus

_LOST = -1.0


class RecoveryState:
    """The recovery state of one session, written by the process that serves it and read by the next one.

    Args:
        status: The session's status.

    Attributes:
        buffer: The memory for the receive buffer.
    """

    def __init__(self, status: SessionStatus) -> None:
        self._words = status.words
        self._make = status.recovery[:MAX_MAKE]
        self.buffer = status.recovery[MAX_MAKE:]

    def keep_make(self, payload: bytes | memoryview) -> None:
        """Keep the make message of the environment.

        Args:
            payload: At most :data:`~gymtwist.protocol.handshake.MAX_MAKE` bytes.
        """
        self._make[: len(payload)] = payload
        self._words[MADE] = float(len(payload))

    def make(self) -> bytes | None:
        """Return the make message; None if no environment was made."""
        length = int(self._words[MADE])
        return bytes(self._make[:length]) if length > 0 else None

    def keep_pending(self, buffer: ReceiveBuffer) -> None:
        """Record the pending bytes; call this before every call into the environment."""
        words = self._words
        words[TAKEN], words[RECEIVED] = (buffer.start, buffer.end) if buffer.is_borrowed else (_LOST, _LOST)

    def move_pending(self, buffer: ReceiveBuffer) -> bool:
        """Copy the pending bytes here if they are elsewhere; return whether there is room for them."""
        if not buffer.is_borrowed:
            pending = buffer.rest()
            if len(pending) > len(self.buffer):
                return False
            self.buffer[: len(pending)] = pending
            self._words[TAKEN], self._words[RECEIVED] = 0.0, float(len(pending))
        else:
            self.keep_pending(buffer)
        return True

    def end(self) -> None:
        """Record that no process may resume: the session ends, and its environment is being closed."""
        self._words[TAKEN] = _LOST

    def pending(self) -> bytes:
        """Return the pending bytes."""
        return bytes(self.buffer[int(self._words[TAKEN]) : int(self._words[RECEIVED])])
