"""What a server can have wrong that shares memory: changes to what goes through the socket beside it."""

from __future__ import annotations

from tests.support.mutating_proxy import Message, Mutation


class Trusting(Mutation):
    """Takes whatever is handed over, or not, for memory."""

    def answer(self, message: Message, request: Message) -> None:
        """Says that it has it."""
        if message.get("code") == "sharing-refused":
            message.clear()
            message["op"] = "share"


class Unbelled(Mutation):
    """Does not hear doorbells."""

    def doorbell(self, data: bytes) -> bytes:
        """Forget it."""
        return b""


class Startled(Mutation):
    """Takes a doorbell for a request."""

    def doorbell(self, data: bytes) -> bytes:
        """Make a request of it, which is not valid."""
        return b"1:?," if self.is_json else b"\0\0\0\1?"


class Withholding(Mutation):
    """Does not send a frame for which there is no room in the memory."""

    def reply(self, message: Message, request: Message, pending: int) -> list[Message]:
        """Leave it out."""
        return [] if message["op"] != "share" and self.shares else [message]


class Settled(Mutation):
    """Shares memory once."""

    def answer(self, message: Message, request: Message) -> None:
        """Refuse what is asked again."""
        if self.shares and message.get("address"):
            message.clear()
            message.update(op="error", code="sharing-refused", message="it is shared already", fault="request")
