"""What sessions cost in memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence

import classic
import proc
from report import Part
from server import Server

#: Steps that each session takes before it idles.
_STEPS = 100
#: Seconds to let everything come to rest.
_REST = 1.0
_TARGET = 12.0


def measure(counts: Sequence[int]) -> Part:
    """Measure the proportional memory of idle CartPole sessions, and of the processes that serve them.

    Args:
        counts: How many sessions there are at once, in rising order.
    """
    part = Part("Proportional memory (PSS), with 4 more children kept ready")
    commands = [classic.step_command(action) for action in classic.random_actions(2, _STEPS)]
    clients: list[classic.Client] = []
    totals = []
    with Server() as server:
        time.sleep(_REST)
        alone = _total(server)
        for count in counts:
            while len(clients) < count:
                client = classic.Client(server.port, "CartPole-v1")
                client.reset()
                client.play(commands)
                clients.append(client)
            time.sleep(_REST)
            sessions = [proc.pss(server.session_process(client.port)) for client in clients]
            parent, fork_server = proc.pss(server.pid), proc.pss(server.fork_server())
            totals.append(_total(server))
            part.samples[f"{count} sessions"] = {
                "sessions_MB": sessions,
                "parent_MB": parent,
                "fork_server_MB": fork_server,
                "everything_MB": totals[-1],
            }
            median = statistics.median(sessions)
            name = "1 idle session" if count == 1 else f"{count} idle sessions"
            part.add(
                f"{name}: {'its process' if count == 1 else 'median of their processes'}",
                f"{median:.1f} MB",
                f"under {_TARGET:.0f} MB",
                median < _TARGET,
            )
            part.add(f"{name}: the parent; the fork server", f"{parent:.1f}; {fork_server:.1f} MB")
        for client in clients:
            client.close()
    part.samples["no session"] = {"everything_MB": alone}
    part.add("everything together, without a session", f"{alone:.0f} MB")
    part.add("everything together grows for each session by", f"{(totals[-1] - alone) / counts[-1]:.1f} MB")
    return part


def _total(server: Server) -> float:
    """Add up the memory of the parent, the fork server and all children."""
    fork_server = server.fork_server()
    return sum(proc.pss(pid) for pid in [server.pid, fork_server, *proc.children(fork_server)])
