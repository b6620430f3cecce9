"""The answer of ``/api/status``: limits and how much of each is in use, and totals over all sessions."""

from __future__ import annotations

import collections
import contextlib
import os
import resource
import time
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

import gymtwist
from gymtwist.server import process_memory
from gymtwist.server.identities import Identity
from gymtwist.server.worker_pool import NodeRoom


class Share(msgspec.Struct, frozen=True):
    """How much of a limit is in use.

    Attributes:
        taken: The amount in use.
        limit: The limit.
    """

    taken: int
    limit: int


class Library(msgspec.Struct, frozen=True):
    """A library of environments: how many of them clients may ask for, and an example."""

    name: str
    environments: int
    example: str


class Amount(msgspec.Struct, frozen=True):
    """How much of a divisible resource is in use.

    Attributes:
        taken: The amount in use.
        limit: The total amount.
    """

    taken: float
    limit: float


class Node(msgspec.Struct, frozen=True):
    """A node of a cluster.

    Attributes:
        name: Its name.
        sessions: The number of its sessions, and how many it has room for.
        resting: Whether it has no agent, because it has no sessions.
        resources: Its CPUs, GPUs and other resources, by Ray's names.
    """

    name: str
    sessions: Share
    resting: bool
    resources: dict[str, Amount]


class Waiting(msgspec.Struct, frozen=True):
    """Queued connections that ask for the same environment.

    Attributes:
        environment: The id of the environment; empty for none.
        count: The number of these connections.
        lack: Why none of their sessions can begin now.
    """

    environment: str
    count: int
    lack: str


class ServerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The server. An identity that may not see other identities' sessions gets only the fields that are always set.

    Attributes:
        version: Its version, such as ``gymtwist 0.1.0``.
        process: Its process id.
        state: ``starting``, ``ready``, ``stopping``, or ``leaving`` after an upgrade.
        uptime: Seconds since it started.
        sessions: The running sessions, out of ``--max-sessions``.
        earlier_processes: The number of sessions that each earlier process keeps after an upgrade, by process id; they
            count towards ``--max-sessions``, too.
        queue: The connections that wait for a session, out of ``--queue``.
        waiting: What these connections wait for.
        handshakes: The connections without a session, out of ``--max-handshakes``.
        open_files: The files that the server has open, out of those that it may have.
        connections: The number of all connections.
        idle_workers: The number of processes that wait for a session.
        fork_server: Whether the fork server is running; None if the server does not use one.
        memory: Bytes held by the server process itself.
        processor_time: Processor time used by the server process itself, in seconds.
        sessions_ended: The number of ended sessions.
        steps: The number of steps in all sessions.
        episodes: The number of ended episodes in all sessions.
        crashes: The number of sessions' processes that have crashed.
        refusals: The number of refused clients, by error code.
        libraries: The environments that clients may ask for.
        nodes: The nodes that sessions are placed on; empty for a server without nodes.
    """

    version: str
    process: int | UnsetType = UNSET
    state: str
    uptime: float
    sessions: Share
    earlier_processes: dict[str, int] | UnsetType = UNSET
    queue: Share
    waiting: list[Waiting] | UnsetType = UNSET
    handshakes: Share | UnsetType = UNSET
    open_files: Share | UnsetType = UNSET
    connections: int | UnsetType = UNSET
    idle_workers: int | UnsetType = UNSET
    fork_server: bool | UnsetType | None = UNSET
    memory: int | UnsetType = UNSET
    processor_time: float | UnsetType = UNSET
    sessions_ended: int | UnsetType = UNSET
    steps: int | UnsetType = UNSET
    episodes: int | UnsetType = UNSET
    crashes: int | UnsetType = UNSET
    refusals: dict[str, int] | UnsetType = UNSET
    libraries: list[Library]
    nodes: list[Node] | UnsetType = UNSET


def state_of(factory: Any) -> str:
    """Return ``starting``, ``ready``, ``stopping`` or ``leaving``."""
    if factory.admission.is_stopping:
        return "stopping"
    if factory.site.is_retired:
        return "leaving"
    return "ready" if factory.pool.started else "starting"


def fork_server_runs(factory: Any) -> bool | None:
    """Return whether the fork server is running; None if the server does not use one."""
    starter = factory.pool.starter
    return starter.fork_server is not None if hasattr(starter, "fork_server") else None


def overview(factory: Any, identity: Identity) -> ServerOverview:
    """Return what is known about a server.

    Args:
        factory: What its connections share.
        identity: Who asks.
    """
    options, state = factory.options, factory.state
    public = ServerOverview(
        version=f"gymtwist {gymtwist.__version__}",
        state=state_of(factory),
        uptime=time.monotonic() - state.started_at,
        sessions=Share(factory.admission.sessions, options.max_sessions),
        queue=Share(factory.admission.queued, options.queue),
        libraries=[
            Library(each.library, each.count, each.example) for each in factory.pool.starter.readiness.libraries
        ],
    )
    return _completed(public, factory) if identity.see_all else public


def _completed(public: ServerOverview, factory: Any) -> ServerOverview:
    """Add the fields about all identities and the machine."""
    state, totals, admission = factory.state, factory.state.totals(), factory.admission
    memory, processor_time = process_memory.used_by(os.getpid())
    return msgspec.structs.replace(
        public,
        process=os.getpid(),
        earlier_processes=factory.predecessors.counted(),
        waiting=[
            Waiting(environment, count, admission.lack(environment))
            for environment, count in collections.Counter(admission.waiting_for).most_common()
        ],
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
        nodes=list(map(_node, factory.pool.rooms)),
    )


def _node(room: NodeRoom) -> Node:
    resources = {name: Amount(*each) for name, each in room.resources.items()}
    return Node(room.name, Share(room.sessions, room.room), room.is_resting, resources)


def open_files() -> int:
    """Return the number of files that this process has open; 0 where that is not known."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd")) - 1  # one is for the directory itself
    return 0
