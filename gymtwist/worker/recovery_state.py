"""What a session leaves behind if its process dies, so that another process can go on with the same connection.

It lies in the memory of the session's vitals: the make message that its environment was made of, and what the client
sent and was not taken yet - it may have sent many requests at once, and a part of another. An environment can write to
this memory, too: it then spoils its own session and nothing else.
"""

from __future__ import annotations

from gymtwist.protocol.handshake import MAX_MAKE
from gymtwist.protocol.receive_buffer import ReceiveBuffer
from gymtwist.worker.session_status import MADE, RECEIVED, TAKEN, SessionStatus

_LOST = -1.0


class RecoveryState:
    """One session's, written by the process that serves it and read by the next.

    Args:
        status: The session's.

    Attributes:
        buffer: The memory for the receive buffer.
    """

    def __init__(self, status: SessionStatus) -> None:
        self._words = status.words
        self._make = status.recovery[:MAX_MAKE]
        self.buffer = status.recovery[MAX_MAKE:]

    def keep_make(self, payload: bytes | memoryview) -> None:
        """Keep the make message that the environment was made of.

        Args:
            payload: Not longer than :data:`~gymtwist.protocol.handshake.MAX_MAKE`.
        """
        self._make[: len(payload)] = payload
        self._words[MADE] = float(len(payload))

    def make(self) -> bytes | None:
        """Return the make message; None if no environment was made."""
        length = int(self._words[MADE])
        return bytes(self._make[:length]) if length > 0 else None

    def keep_pending(self, buffer: ReceiveBuffer) -> None:
        """Keep what was received and not taken; to be called before an environment is asked for anything."""
        if buffer.is_borrowed:
            self._words[TAKEN], self._words[RECEIVED] = buffer.pending
        else:
            self._words[TAKEN] = _LOST

    def end(self) -> None:
        """Note that nobody is to go on: the session is at its end, and its environment is being closed."""
        self._words[TAKEN] = _LOST

    def pending(self) -> bytes:
        """Return what the client sent and was not taken."""
        return bytes(self.buffer[int(self._words[TAKEN]) : int(self._words[RECEIVED])])
