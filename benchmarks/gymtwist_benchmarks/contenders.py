"""The contenders: every way to have environments that is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: The directory of this package, and the repository.
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
#: Where programs find this package and the reference client. The repository's root is not on it: contenders import
#: the gymtwist that is installed for them.
PYTHONPATH = os.pathsep.join((str(HERE.parent), str(REPOSITORY / "conformance")))
#: The setup file of gymtwist's servers.
ENVIRONMENTS = str(HERE / "benchmark_environments.py")


@dataclass(frozen=True)
class Contender:
    """One way to have environments.

    The words of `server`, and the values of `address` and `variables`, may contain ``{python}`` and ``{bin}`` (the
    interpreter and the scripts of its virtual environment), ``{port}`` (a free
    port), ``{address}`` (that port on 127.0.0.1), ``{workload}``, ``{environment}`` (the id) and ``{checkout}``.

    Attributes:
        name: Its name on the command line and in JSON.
        title: Its name in tables and plots.
        requirements: What pip installs into its virtual environment. An item that begins with ``.`` is this repository
            with extras, such as ``.[atari]``. Contenders with the same requirements share one virtual environment.
        program: The module of its client, from this package; it is run with ADDRESS, WORKLOAD, SECONDS and CLIENTS,
            see :func:`programs.driver.main`.
        workloads: The names of the compared workloads that it can play.
        server: The command of its server, None without one. It is started for each workload, in an empty directory.
        ready: A regular expression: the server accepts connections once a line of its output matches. None: once its
            port accepts one.
        optional: Requirements that may fail to install; some workloads then fail, with that reason.
        variables: Further environment variables of the server and the program, as pairs.
        checkout: The public repository that must be checked out, such as ``owner/name``, or None.
        clients: The numbers of concurrent clients that play CartPole.
        address: The ADDRESS of the program.
        kind: ``limit`` (the environment itself, in the client's process), ``floor`` (no environment), ``local`` (no
            server), ``network`` (an alternative with a server), or ``gymtwist``.
        note: What the page says about it.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    program: str
    workloads: tuple[str, ...]
    server: tuple[str, ...] | None = None
    ready: str | None = "^ready"
    optional: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    checkout: str | None = None
    clients: tuple[int, ...] = (1,)
    address: str = "{address}"
    kind: str = "network"
    note: str = ""


_VECTORS = ("cartpole-1", "cartpole-8", "cartpole-64", "cartpole-1024")
_CLIENTS = (1, 2, 4, 8, 16)
_GYMNASIUM = ("gymnasium>=1.1", "ale-py>=0.10")
_MUJOCO = ("gymnasium[mujoco]",)
#: The line of gymtwist's log that says that it listens.
LISTENING = r"starting on \d+"


def _local(
    name: str, title: str, address: str, workloads: tuple[str, ...], note: str, kind: str = "local"
) -> Contender:
    """Describe a contender in the client's own process; by its address the program knows which one it is."""
    is_envpool = address.startswith("envpool")
    return Contender(
        name,
        title,
        ("envpool", "gymnasium") if is_envpool else (*_GYMNASIUM, "opencv-python-headless"),
        "programs.local_environments",
        workloads,
        optional=() if is_envpool else _MUJOCO,
        clients=_CLIENTS if name == "inprocess" else (1,),
        address=address,
        kind=kind,
        note=note,
    )


def _gymtwist(
    name: str,
    title: str,
    workloads: tuple[str, ...],
    note: str,
    clients: tuple[int, ...] = _CLIENTS,
    program: str = "programs.gymtwist_client",
    **variables: str,
) -> Contender:
    """Describe a way to use gymtwist."""
    return Contender(
        name,
        title,
        (".[atari]",),
        program,
        workloads,
        server=("{python}", "{bin}/twistd", "-n", "--pidfile=", "gymsock", "--port", "{port}", "--setup", ENVIRONMENTS),
        ready=LISTENING,
        optional=(".[mujoco]",),
        variables=tuple(variables.items()),
        clients=clients,
        kind="gymtwist",
        note=note,
    )


def _bare_tcp(name: str, title: str, workloads: tuple[str, ...], note: str, polls: str = "0") -> Contender:
    return Contender(
        name,
        title,
        (),
        "bare_tcp",
        workloads,
        server=("{python}", "-m", "gymtwist_benchmarks.bare_tcp", "serve", "{port}"),
        variables=(("BARE_TCP_POLLS", polls),),
        clients=(1,) if polls == "1" else _CLIENTS,
        kind="floor",
        note=note,
    )


def _peer(
    name: str,
    title: str,
    requirements: tuple[str, ...],
    program: str,
    server: tuple[str, ...],
    note: str,
    ready: str | None = "^ready",
    checkout: str | None = None,
    **variables: str,
) -> Contender:
    """Describe an alternative with a server."""
    return Contender(
        name,
        title,
        (*requirements, *_GYMNASIUM),
        program,
        ("cartpole", "pong"),
        server=("{python}", "-m", *server),
        ready=ready,
        variables=tuple(variables.items()),
        checkout=checkout,
        clients=_CLIENTS,
        note=note,
    )


_OPENENV = ("openenv-core==0.3.0", "uvloop")
_OPENENV_SERVER = ("gymtwist_benchmarks.servers.openenv_server", "{port}", "{environment}")
_GYM_PEER = "gymtwist_benchmarks.servers.gym_peer_server"

#: The contenders of the comparison, in the order in which they take turns.
CONTENDERS: tuple[Contender, ...] = (
    _local(
        "inprocess",
        "Gymnasium in-process",
        "gymnasium",
        ("cartpole", "pong", "nested", "halfcheetah", *_VECTORS),
        "`gymnasium.make` without the environment checker, or the environment's own vector environment "
        "(`vector_entry_point`). Several clients are as many processes, each with its own environment.",
        kind="limit",
    ),
    _local(
        "ale-vector",
        "ale-py's vector environment",
        "ale-vector",
        ("pong-84x84-8",),
        "`AtariVectorEnv`: C++ threads in the learner's process. gymtwist serves this one, too.",
        kind="limit",
    ),
    _local(
        "sync-vector",
        "SyncVectorEnv",
        "sync",
        ("pong-84x84-8", *_VECTORS),
        "One environment after the other in one process. Pong is preprocessed by `AtariPreprocessing` and "
        "`FrameStackObservation`.",
    ),
    _local(
        "async-vector",
        "AsyncVectorEnv",
        "async",
        ("cartpole", "pong-84x84-8", "cartpole-1", "cartpole-8", "cartpole-64"),
        "A process for each environment, pipes, and observations in shared memory. `cartpole` is a vector of one. "
        "It does not play 1,024 environments: they would be 1,024 processes.",
    ),
    _local(
        "envpool",
        "EnvPool",
        "envpool:0",
        ("cartpole", "pong-84x84-8", *_VECTORS),
        "Environments rewritten in C++, stepped by threads in the learner's process; `make_gymnasium` with its "
        "defaults, all environments in each step.",
    ),
    _local(
        "envpool-1",
        "EnvPool, one thread",
        "envpool:1",
        ("pong-84x84-8", *_VECTORS),
        "The same with `num_threads=1`, which can be faster where a step is short.",
    ),
    _gymtwist(
        "gymtwist",
        "gymtwist",
        ("cartpole", "pong", "nested", "halfcheetah", "pong-84x84-8", *_VECTORS),
        "`connect` and `connect_vec` with their defaults: MessagePack, through memory shared with the server, as both "
        "are on one host; vectors by `vector_entry_point`, over one connection.",
    ),
    _gymtwist(
        "gymtwist-socket",
        "gymtwist, through its socket",
        ("cartpole", "pong", "pong-84x84-8", "cartpole-64"),
        "The same with `shared_memory=False`, as for clients on other hosts.",
        GYMTWIST_SHARED_MEMORY="0",
    ),
    _gymtwist(
        "gymtwist-json",
        "gymtwist, JSON",
        ("cartpole", "pong", "nested", "cartpole-64"),
        'The same with `protocol="netstring"`, for which a client is written in ten minutes in any language.',
        clients=(1,),
        GYMTWIST_PROTOCOL="netstring",
    ),
    _gymtwist(
        "gymtwist-classic",
        "gymtwist, classic protocol",
        ("cartpole", "pong"),
        "The protocol of gym-socket-api, with a lean client in Python; gym-socket-api gets the very same client.",
        program="programs.lean_classic_client",
    ),
    _bare_tcp(
        "floor",
        "bare TCP",
        ("cartpole", "pong", "nested", "pong-84x84-8", *_VECTORS),
        "As many bytes as gymtwist's, to and fro between two Python processes that sleep until they come; no "
        "environment, nothing decoded.",
    ),
    _bare_tcp(
        "floor-polling",
        "bare TCP, polling",
        ("cartpole", "pong"),
        "The same, and neither side ever sleeps: each takes a whole core.",
        polls="1",
    ),
    _peer(
        "gym-socket-api",
        "gym-socket-api",
        ("msgspec",),
        "programs.lean_classic_client",
        (_GYM_PEER, "{checkout}", ".", "--port", "{port}"),
        "Its server unchanged, over a module that makes Gymnasium look like the gym of 2016; an interpreter for each "
        "connection. The client is that of gymtwist's classic protocol.",
        ready=r"^Listening on port \d+",
        checkout="unixpickle/gym-socket-api",
    ),
    _peer(
        "dm-env-rpc",
        "dm_env_rpc",
        ("dm-env-rpc==1.1.7", "dm-env"),
        "programs.dm_env_rpc_client",
        ("gymtwist_benchmarks.servers.dm_env_rpc_server", "{port}"),
        "gRPC. The package's own `DmEnvAdaptor` as the client; a server like its example, in as many processes as "
        "there are cores.",
    ),
    _peer(
        "openenv",
        "OpenEnv, tuned",
        _OPENENV,
        "programs.openenv_client",
        _OPENENV_SERVER,
        "WebSocket and JSON, frames as base64. Tuned: steps in the event loop, uvloop on both sides, no compression, a "
        "process for every two cores.",
    ),
    _peer(
        "openenv-template",
        "OpenEnv, as its template",
        _OPENENV,
        "programs.openenv_client",
        _OPENENV_SERVER,
        "The same with what `openenv init` writes: steps in another thread, asyncio, compression, one process.",
        OPENENV_AS_TEMPLATE="1",
    ),
    _peer(
        "gym-http-api",
        "gym-http-api",
        ("flask", "requests", "six"),
        "programs.gym_http_client",
        (_GYM_PEER, "{checkout}", "gym_http_server.py", "--port", "{port}"),
        "HTTP and JSON, frames as lists of numbers. Its server unchanged, over the same module; one process, kept "
        "connections.",
        ready=None,
        checkout="openai/gym-http-api",
    ),
)
#: More ways to use gymtwist, for the figures and the load tests.
REQUEST_WAYS: tuple[Contender, ...] = (
    _gymtwist("gymtwist-step-many", "step_many of 16", (), "16 actions in a request.", GYMTWIST_REQUESTS="step_many"),
    _gymtwist(
        "gymtwist-socket-step-many",
        "step_many of 16, through the socket",
        (),
        "16 actions in a request, without shared memory.",
        GYMTWIST_REQUESTS="step_many",
        GYMTWIST_SHARED_MEMORY="0",
    ),
    _gymtwist("gymtwist-in-flight", "16 in flight", (), "16 steps under way.", GYMTWIST_REQUESTS="in_flight"),
)
BY_NAME = {each.name: each for each in (*CONTENDERS, *REQUEST_WAYS)}
