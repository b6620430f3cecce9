"""Texts that errors and log lines share; and functions that escape and shorten text from elsewhere."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence

#: The maximum length in characters of a text that an error passes on: it may contain a value of any length.
MOST_SHOWN = 300
#: The maximum number of indices in an error message.
_MAX_INDICES = 20
#: Characters that control a terminal or a log instead of being shown: controls except the tab, line separators, and
#: characters that change the writing direction; also surrogates, which cannot be encoded in UTF-8.
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")

#: The remedy for a reset of some environments while the others have no episode to continue.
RESET_ALL = "reset all environments before some of them"
#: The remedy after a fault that ended a process: the next reset makes the environment again.
RESET_TO_CONTINUE = "reset to continue with a fresh environment"


def printable(text: str) -> str:
    """Escape the control characters in a text that comes from a client, a server or an environment."""
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def bytes_text(data: bytes) -> str:
    """Write bytes as a JSON string, with control characters and non-ASCII bytes escaped."""
    return json.dumps(data.decode("latin-1"))


def indices_text(indices: Sequence[int]) -> str:
    """Write the indices of environments for an error message."""
    more = len(indices) - _MAX_INDICES
    return ", ".join(map(str, indices[:_MAX_INDICES])) + (f" and {more} more" if more > 0 else "")


def without_episode(indices: Sequence[int]) -> str:
    """Say that environments cannot be stepped, and what to do."""
    return f"environments {indices_text(indices)} have no episode; reset them before the next step"


def not_held(snapshot: int, held: Sequence[int]) -> str:
    """Say that a session does not hold a snapshot.

    Args:
        snapshot: The number of the snapshot.
        held: The numbers of the snapshots that it holds.
    """
    those = ", ".join(map(str, held[-8:])) or "none"
    return (
        f"snapshot {snapshot} is not held by this session, which holds {those}: it was not taken, or released, or its "
        "process has ended"
    )


def how_ended(exit_code: int | None) -> str:
    """Say how a process has ended, as a clause: ``was killed by SIGSEGV``.

    Args:
        exit_code: Its exit status, or minus the number of the signal that killed it; None if neither is known.
    """
    if exit_code is None:
        return "ended"
    if exit_code >= 0:
        return f"exited with status {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-exit_code}"


def process_ended(how: str, operation: str) -> str:
    """Say that the process of an environment has ended.

    Args:
        how: The clause returned by :func:`how_ended`.
        operation: What the environment was doing: ``make``, ``reset``, ``step``, ...
    """
    return f"the environment's process {how} in {operation}"
