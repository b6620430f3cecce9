"""What systemd is told about the server; see sd_notify(3)."""

from __future__ import annotations

import os
import socket

from gymtwist.server.server_log import log


def notify(state: str) -> None:
    """Report a state to the service manager, if there is one that listens.

    Args:
        state: The state, such as ``READY=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sending:
            sending.sendto(state.encode(), address.replace("@", "\0", 1) if address.startswith("@") else address)
    except OSError as error:
        log.warn("Systemd cannot be told {state}: {error}", state=state, error=error)
