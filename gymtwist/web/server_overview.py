"""What ``/api/status`` says: limits and what is taken of them, and what sessions have done together."""

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


class Amount(msgspec.Struct, frozen=True):
    """How much of a resource is taken, which may be divided.

    Attributes:
        taken: How much is.
        limit: How much there is.
    """

    taken: float
    limit: float


class Node(msgspec.Struct, frozen=True):
    """A node of a cluster.

    Attributes:
        name: Its name.
        sessions: The sessions that it has, and those that it has room for.
        resting: Whether it has no agent, because it has no sessions.
        resources: Its CPUs, its GPUs and its other resources, by the names that Ray has for them.
    """

    name: str
    sessions: Share
    resting: bool
    resources: dict[str, Amount]


class Waiting(msgspec.Struct, frozen=True):
    """Connections of the queue that ask for the same environment.

    Attributes:
        environment: Its id; empty for none.
        count: How many there are.
        lack: Why none of them can begin now.
    """

    environment: str
    count: int
    lack: str


class ServerOverview(msgspec.Struct, frozen=True, kw_only=True):
    """The server. An identity that does not see what others do gets the fields alone that are never unset.

    Attributes:
        version: Its version, such as ``gymtwist 0.1.0``.
        process: The number of its process.
        state: ``starting``, ``ready``, ``stopping``, or ``leaving`` after an upgrade.
        uptime: Seconds since it started.
        sessions: The sessions that run, of ``--max-sessions``.
        earlier_processes: How many sessions each earlier process has, which goes on with them after an upgrade, by its
            number; they count among ``--max-sessions``, too.
        queue: The connections that wait for one, of ``--queue``.
        waiting: What these wait for.
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
    """Return whether a process runs that forks others; None if each starts by itself."""
    starter = factory.pool.starter
    return starter.fork_server is not None if hasattr(starter, "fork_server") else None


def overview(factory: Any, identity: Identity) -> ServerOverview:
    """Return what there is to know of a server.

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
    """Add what concerns all identities and the machine."""
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
    """Return how many files this process has open; 0 where that cannot be told."""
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd")) - 1  # one is that of the directory
    return 0
