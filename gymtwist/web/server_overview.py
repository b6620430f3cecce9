"""What ``/api/status`` says: limits and what is taken of them, and what sessions have done together."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from typing import Any

import msgspec

import gymtwist
from gymtwist.server import process_memory


class Share(msgspec.Struct, frozen=True):
    """How much of a limit is taken.

    Attributes:
        taken: How much is.
        limit: How much may be.
    """

    taken: int
    limit: int


class Library(msgspec.Struct, frozen=True):
    """A library of environments, with the number of those that clients may ask for, and one of them."""

    name: str
    environments: int
    example: str


class Node(msgspec.Struct, frozen=True):
    """A node of a cluster, with the sessions that it has and those that it has room for."""

    name: str
    sessions: Share


class ServerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The server.

    Attributes:
        version: Its version, such as ``gymtwist 0.1.0``.
        process: The number of its process.
        state: ``starting``, ``ready``, ``stopping``, or ``leaving`` after an upgrade.
        uptime: Seconds since it started.
        sessions: The sessions that run, of ``--max-sessions``.
        earlier_processes: How many sessions each earlier process has, which goes on with them after an upgrade, by its
            number; they count among ``--max-sessions``, too.
        queue: The connections that wait for one, of ``--queue``.
        handshakes: The connections without a session, of ``--max-handshakes``.
        open_files: The files that the server has open, of those that it may have.
        connections: All connections.
        idle_workers: The processes that wait for a session.
        fork_server: Whether there is a process that forks others; None if each starts by itself.
        memory: Bytes that the server itself holds.
        processor_time: Seconds of processor time that the server itself had.
        sessions_ended: How many sessions have ended.
        steps: How many steps all sessions have taken.
        episodes: How many episodes have ended in all sessions.
        crashes: How many of their processes have crashed.
        refusals: How many clients were refused, by the code of the error.
        libraries: The environments that clients may ask for.
        nodes: The nodes that sessions are placed on; empty for a server of one machine.
    """

    version: str
    process: int
    state: str
    uptime: float
    sessions: Share
    earlier_processes: dict[str, int]
    queue: Share
    handshakes: Share
    open_files: Share
    connections: int
    idle_workers: int
    fork_server: bool | None
    memory: int
    processor_time: float
    sessions_ended: int
    steps: int
    episodes: int
    crashes: int
    refusals: dict[str, int]
    libraries: list[Library]
    nodes: list[Node]


def state_of(factory: Any) -> str:
    """Return ``starting``, ``ready``, ``stopping`` or ``leaving``."""
    if factory.admission.is_stopping:
        return "stopping"
    if factory.site.is_retired:
        return "leaving"
    return "ready" if factory.pool.started else "starting"


def fork_server_runs(factory: Any) -> bool | None:
    """Return whether a process runs that forks others; None if each starts by itself."""
    starter = factory.pool.starter
    return starter.fork_server is not None if hasattr(starter, "fork_server") else None


def overview(factory: Any) -> ServerOverview:
    """Return what there is to know of a server.

    Args:
        factory: What its connections share.
    """
    options, state, totals = factory.options, factory.state, factory.state.totals()
    memory, processor_time = process_memory.used_by(os.getpid())
    return ServerOverview(
        version=f"gymtwist {gymtwist.__version__}",
        process=os.getpid(),
        state=state_of(factory),
        uptime=time.monotonic() - state.started_at,
        sessions=Share(factory.admission.sessions, options.max_sessions),
        earlier_processes=factory.predecessors.counted(),
        queue=Share(factory.admission.queued, options.queue),
        handshakes=Share(len(factory.limit), factory.limit.total),
        open_files=Share(open_files(), resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
        connections=len(factory.connections),
        idle_workers=len(factory.pool.ready),
        fork_server=fork_server_runs(factory),
        memory=memory,
        processor_time=processor_time,
        sessions_ended=sum(state.ended.values()),
        steps=sum(totals.steps.values()),
        episodes=sum(totals.episodes.values()),
        crashes=state.crashes,
        refusals=dict(state.refusals),
        libraries=[
            Library(each.library, each.count, each.example) for each in factory.pool.starter.readiness.libraries
        ],
        nodes=[Node(each.name, Share(each.sessions, each.room)) for each in factory.pool.rooms],
    )


def open_files() -> int:
    """Return how many files this process has open; 0 where that cannot be told."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd")) - 1  # one is that of the directory
    return 0
