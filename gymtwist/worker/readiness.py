"""The message that a process below the server sends when it has imported everything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

#: Well-known ids, preferred as examples if a library has them.
_WELL_KNOWN = ("CartPole-v1", "gym:CartPole-v1", "ALE/Pong-v5")


class LibrarySummary(msgspec.Struct, frozen=True):
    """The environments of one library.

    Attributes:
        library: The package that they come from.
        count: The number of ids.
        example: One of the ids.
    """

    library: str
    count: int
    example: str


class Readiness(msgspec.Struct, frozen=True):
    """The environments that a process can make.

    Attributes:
        libraries: A summary of each library.
        missing: The extras of gymtwist that would add environments.
        threads: The packages that started threads, as a clause; empty if none did.
    """

    libraries: tuple[LibrarySummary, ...] = ()
    missing: tuple[str, ...] = ()
    threads: str = ""

    @classmethod
    def summarize(cls, ids: Mapping[str, Sequence[str]], missing: Sequence[str], threads: str = "") -> Readiness:
        """Summarize the ids of each library."""
        summaries = (
            LibrarySummary(library, len(names), next((each for each in _WELL_KNOWN if each in names), names[0]))
            for library, names in ids.items()
        )
        return cls(tuple(summaries), tuple(missing), threads)

    def to_line(self) -> bytes:
        """Encode the message as one line."""
        return msgspec.json.encode(self) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Readiness:
        """Decode what :meth:`to_line` encoded.

        Raises:
            msgspec.MsgspecError: The line is not such a message.
        """
        return msgspec.json.decode(line, type=cls)
