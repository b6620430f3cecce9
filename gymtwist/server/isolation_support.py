"""Checks, before anything is started, whether this machine can isolate sessions as the operator wants."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from gymtwist.worker import landlock
from gymtwist.worker.worker_settings import Isolation

#: The capabilities that a session's process uses before it gives up root; numbers from <linux/capability.h>.
_CAPABILITIES = {
    0: "CAP_CHOWN",
    1: "CAP_DAC_OVERRIDE",
    3: "CAP_FOWNER",
    5: "CAP_KILL",
    6: "CAP_SETGID",
    7: "CAP_SETUID",
    21: "CAP_SYS_ADMIN",
}


def lacking(level: Isolation, users: range | None, *, display: bool) -> str:
    """Return what a level of isolation needs but this process lacks, as the object of a sentence; empty if nothing.

    Args:
        level: The level.
        users: The ids of the sessions' users; None if sessions run as the server's user.
        display: Whether environments open windows.
    """
    if level is Isolation.LIMITS:
        return ""
    if not sys.platform.startswith("linux"):
        return "Linux"
    found = landlock.version()
    if level.has_files and found < landlock.NEEDED:
        return (
            f"version {landlock.NEEDED} of Landlock, as Linux 6.12 and later have it unless it is disabled, and not "
            f"{found or 'none'}"
        )
    if users is None:
        return ""
    status = Path("/proc/self/status").read_text()
    effective = int(re.findall(r"^CapEff:\s*(\w+)", status, re.MULTILINE)[0], 16)
    missing = [name for bit, name in _CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        return f"root, or the capabilities {', '.join(_CAPABILITIES.values())}; there is no {missing[0]}"
    for kind in ("uid", "gid"):
        if not _is_mapped(users, Path(f"/proc/self/{kind}_map").read_text()):
            return (
                f"the {kind}s {users[0]} to {users[-1]}, which do not exist in this container; choose others with "
                "--session-users"
            )
    return "no --display: the screen is out of reach" if display else ""


def _is_mapped(ids: range, table: str) -> bool:
    """Return whether a user namespace has ids, according to its ``uid_map`` or ``gid_map``; see user_namespaces(7)."""
    rows = [list(map(int, line.split())) for line in table.splitlines()]
    return any(first <= ids[0] and ids[-1] < first + count for first, _, count in rows)
