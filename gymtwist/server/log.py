"""The server's log, and what may stand in it."""

from __future__ import annotations

from twisted.logger import Logger

log = Logger(namespace="gymsock")

# What a terminal would obey: the control characters, but not the tab.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"}


def printable(text: str) -> str:
    """Escape the control characters of a text that a client or an environment chose."""
    return text.translate(_CONTROLS)
