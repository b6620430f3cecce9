"""The server's log, and what may stand in it."""

from __future__ import annotations

from twisted.logger import Logger

log = Logger(namespace="gymsock")

# What a terminal would obey: the control characters, but not the tab.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"}
# And what would show a line as two, or in another order: Unicode's separators and its controls of direction.
_CONTROLS |= {
    code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


def printable(text: str) -> str:
    """Escape the control characters of a text that a client or an environment chose."""
    return text.translate(_CONTROLS)
