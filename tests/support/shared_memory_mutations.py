"""What a server can have wrong that shares memory: bends of what goes through the socket beside it."""

from __future__ import annotations

from tests.support.mutating_proxy import Bend, Told


class Trusting(Bend):
    """Takes whatever is handed over, or not, for memory."""

    def answer(self, told: Told, asked: Told) -> None:
        """Says that it has it."""
        if told.get("code") == "sharing-refused":
            told.clear()
            told["op"] = "share"


class Unbelled(Bend):
    """Does not hear doorbells."""

    def doorbell(self, data: bytes) -> bytes:
        """Forgets it."""
        return b""


class Startled(Bend):
    """Takes a doorbell for a request."""

    def doorbell(self, data: bytes) -> bytes:
        """Makes one of it, which is none."""
        return b"1:?," if self.is_json else b"\0\0\0\1?"


class Withholding(Bend):
    """Does not send a frame for which there is no room in the memory."""

    def reply(self, told: Told, asked: Told, behind: int) -> list[Told]:
        """Leaves it out."""
        return [] if told["op"] != "share" and self.shares else [told]


class Settled(Bend):
    """Shares memory once."""

    def answer(self, told: Told, asked: Told) -> None:
        """Refuses what is asked again."""
        if self.shares and told.get("address"):
            told.clear()
            told.update(op="error", code="sharing-refused", message="it is shared already", fault="request")
