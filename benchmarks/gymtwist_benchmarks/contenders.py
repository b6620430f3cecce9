"""The contenders: every way to have environments that is measured."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from gymtwist_benchmarks.workloads import COMPUTED

#: The directory of this package, and the repository.
HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
#: Where programs find this package and the reference client. The repository's root is not on it: contenders import
#: the gymtwist that is installed for them.
PYTHONPATH = os.pathsep.join((str(HERE.parent), str(REPOSITORY / "conformance")))
#: The setup file of gymtwist's servers.
ENVIRONMENTS = str(HERE / "benchmark_environments.py")
#: The line of gymtwist's log that says that it listens.
LISTENING = r"starting on \d+"


@dataclass(frozen=True)
class Contender:
    """One way to have environments.

    The words of `server`, and `address`, may contain ``{python}`` and ``{bin}`` (the interpreter and the scripts of its
    virtual environment), ``{port}`` (a free port), ``{address}`` (that port on 127.0.0.1), ``{environment}`` (the id)
    and ``{checkout}``.

    Attributes:
        name: Its name on the command line and in JSON.
        title: Its name in tables and plots.
        kind: ``limit`` (the environment itself, in the client's process), ``floor`` (no environment), ``local`` (no
            server), ``network`` (an alternative with a server), or ``gymtwist``.
        requirements: What pip installs into its virtual environment. An item that begins with ``.`` is this repository
            with extras, such as ``.[atari]``. Contenders with the same requirements share one virtual environment.
        program: The module of its client, from this package; see :mod:`programs.driver`.
        workloads: The names of the compared workloads that it can play.
        server: The command of its server, None without one. It is started for each workload, in an empty directory.
        ready: A regular expression: the server accepts connections once a line of its output matches. None: once its
            port accepts one.
        optional: Requirements that may fail to install; some workloads then fail, with that reason.
        variables: Further environment variables of the server and the program, as pairs.
        checkout: The public repository that must be checked out, such as ``owner/name``, or None.
        clients: The numbers of concurrent clients that play CartPole.
        address: The ADDRESS of the program.
        is_large: Whether its requirements take gigabytes, so that it takes part only if it is asked for by name.
    """

    name: str
    title: str
    kind: str
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
    is_large: bool = False


_VECTORS = ("cartpole-1", "cartpole-8", "cartpole-64", "cartpole-1024")
_COMPUTED = tuple(each.name for each in COMPUTED)
_CLIENTS = (1, 2, 4, 8, 16)
_GYMNASIUM = ("gymnasium>=1.1", "ale-py>=0.10")
_LOCAL = (*_GYMNASIUM, "opencv-python-headless")
_ENVPOOL = ("envpool", "gymnasium")
_OPENENV = ("openenv-core==0.3.0", "uvloop")
#: The newer of the two packages of that name.
_OPENENV_NEW = ("openenv[core]==0.10.0", "uvloop")
_PUFFERLIB = ("pufferlib-core==3.0.23", "gymnasium")
_TORCHRL = ("torchrl>=0.14", "gymnasium")


def _local(kind: str, name: str, title: str, address: str, workloads: tuple[str, ...]) -> Contender:
    """Describe a contender in the client's own process; the address tells the program which one it is."""
    requirements, optional = (_ENVPOOL, ()) if name.startswith("envpool") else (_LOCAL, ("gymnasium[mujoco]",))
    clients = _CLIENTS if name == "inprocess" else (1,)
    program = "programs.local_environments"
    return Contender(
        name, title, kind, requirements, program, workloads, optional=optional, clients=clients, address=address
    )


def _library(name: str, title: str, requirements: tuple[str, ...], workloads: tuple[str, ...]) -> Contender:
    """Describe the vectors of a learning library."""
    program = "programs.vector_libraries"
    return Contender(name, title, "local", requirements, program, workloads, address=name, is_large=True)


_PROGRAMS = {
    "classic": "lean_classic_client",
    "javascript": "javascript_client",
    "openenv": "openenv_client",
    "rest": "gym_http_client",
    "websocket": "javascript_client",
}
#: What the programs of gymtwist's contenders need besides, and their addresses.
_NEEDED = {"openenv": _OPENENV, "rest": ("requests", "six")}
_ADDRESSES = {"openenv": "{address}/openenv/{environment}", "rest": "{address}@{checkout}"}
_GYM_HTTP_API = "openai/gym-http-api"


def _gymtwist(name: str, title: str, workloads: tuple[str, ...], **variables: str) -> Contender:
    """Describe a way to use gymtwist."""
    way = name.removeprefix("gymtwist-").partition("-")[0]
    return Contender(
        name,
        title,
        "gymtwist",
        (".[atari]", *_NEEDED.get(way, ())),
        f"programs.{_PROGRAMS.get(way, 'gymtwist_client')}",
        workloads,
        server=("{python}", "{bin}/twistd", "-n", "--pidfile=", "gymsock", "--port", "{port}", "--setup", ENVIRONMENTS),
        ready=LISTENING,
        optional=(".[mujoco]", ".[wrappers]", ".[record]"),
        variables=tuple(variables.items()),
        checkout=_GYM_HTTP_API if way == "rest" else None,
        clients=_CLIENTS if "cartpole" in workloads and way not in ("json", "javascript", "websocket") else (1,),
        address=_ADDRESSES.get(way, "{address}"),
    )


def _websocket(name: str, title: str, workloads: tuple[str, ...]) -> Contender:
    return _gymtwist(name, title, workloads, GYMTWIST_PROTOCOL=name.removeprefix("gymtwist-"))


def _bare_tcp(name: str, title: str, workloads: tuple[str, ...], clients: tuple[int, ...], polls: str) -> Contender:
    """Describe a way to exchange as many bytes."""
    server = ("{python}", "-m", "gymtwist_benchmarks.bare_tcp", "{port}")
    variables = (("BARE_TCP_POLLS", polls),)
    return Contender(name, title, "floor", (), "bare_tcp", workloads, server, variables=variables, clients=clients)


def _peer(
    name: str, title: str, requirements: tuple[str, ...], program: str, server: tuple[str, ...], **variables: str
) -> Contender:
    """Describe an alternative with a server."""
    is_http = name.startswith("gym-http-api")
    return Contender(
        name,
        title,
        "network",
        (*requirements, *_GYMNASIUM),
        f"programs.{program}",
        ("cartpole", "pong", *_COMPUTED),
        server=("{python}", "-m", f"gymtwist_benchmarks.servers.{server[0]}", *server[1:]),
        ready={"gym-socket-api": r"^Listening on port \d+"}.get(name, None if is_http else "^ready"),
        variables=tuple(variables.items()),
        checkout=_GYM_HTTP_API if is_http else {"gym-socket-api": "unixpickle/gym-socket-api"}.get(name),
        clients=_CLIENTS,
        address=_ADDRESSES["rest"] if is_http else "{address}",
    )


def _openenv(name: str, title: str, requirements: tuple[str, ...], **variables: str) -> Contender:
    """Describe one of OpenEnv's packages, tuned or as its template."""
    return _peer(
        name, title, requirements, "openenv_client", ("openenv_server", "{port}", "{environment}"), **variables
    )


_GYM_SOCKET_SERVER = ("gym_peer_server", "{checkout}", ".", "--port", "{port}")
_DM_ENV_RPC = ("dm-env-rpc==1.1.7", "dm-env")
_KEEP_ALIVE = "gym-http-api-keep-alive"
_GYM_HTTP = ("flask", "requests", "six", "waitress")
_GYM_HTTP_SERVER = ("gym_peer_server", "{checkout}", "gym_http_server.py", "--port", "{port}")
_GYM_HTTP_WAITRESS = ("gym_peer_server", "{checkout}", "-m", "waitress", "--listen={address}", "gym_http_server:app")
_PLAYED_BY_ALL = ("cartpole", "pong", "nested")
_OTHERS = (*_PLAYED_BY_ALL, "halfcheetah")

#: The contenders of the comparison, in the order in which they take turns.
CONTENDERS: tuple[Contender, ...] = (
    _local("limit", "inprocess", "Gymnasium in-process", "gymnasium", (*_OTHERS, *_VECTORS, *_COMPUTED)),
    _local("limit", "ale-vector", "ale-py's vector environment", "ale-vector", ("pong-84x84-8",)),
    _local("local", "sync-vector", "SyncVectorEnv", "sync", ("pong-84x84-8", *_VECTORS)),
    _local("local", "async-vector", "AsyncVectorEnv", "async", ("cartpole", "pong-84x84-8", *_VECTORS[:3], *_COMPUTED)),
    _local("local", "envpool", "EnvPool", "envpool:0", ("cartpole", "pong-84x84-8", *_VECTORS)),
    _local("local", "envpool-1", "EnvPool, one thread", "envpool:1", ("pong-84x84-8", *_VECTORS)),
    _library("pufferlib", "PufferLib", _PUFFERLIB, ("cartpole-8", "cartpole-64")),
    _library("torchrl", "TorchRL's ParallelEnv", _TORCHRL, ("cartpole-8",)),
    _gymtwist("gymtwist", "gymtwist", (*_OTHERS, "pong-84x84-8", *_VECTORS, *_COMPUTED)),
    _gymtwist(
        "gymtwist-socket",
        "gymtwist, through its socket",
        ("cartpole", "pong", "pong-84x84-8", "cartpole-64", *_COMPUTED),
        GYMTWIST_SHARED_MEMORY="0",
    ),
    _gymtwist("gymtwist-json", "gymtwist, JSON", (*_PLAYED_BY_ALL, "cartpole-64"), GYMTWIST_PROTOCOL="netstring"),
    _gymtwist("gymtwist-javascript", "gymtwist, JSON with base64, JavaScript", ("pong",), GYMTWIST_VALUES="base64"),
    _gymtwist("gymtwist-javascript-lists", "gymtwist, JSON with lists, JavaScript", ("cartpole", "pong")),
    _gymtwist("gymtwist-javascript-int32", "gymtwist, Int32, JavaScript", ("pong",), GYMTWIST_PROTOCOL="int32"),
    _websocket("gymtwist-websocket", "gymtwist, WebSocket, JavaScript", ("cartpole",)),
    _websocket("gymtwist-websocket-binary", "gymtwist, binary WebSocket, JavaScript", ("pong",)),
    _gymtwist("gymtwist-classic", "gymtwist, classic protocol", ("cartpole", "pong", *_COMPUTED)),
    _gymtwist("gymtwist-rest", "gymtwist, client of gym-http-api", ("cartpole", "pong")),
    _gymtwist("gymtwist-openenv", "gymtwist, client of OpenEnv", ("cartpole", "pong"), OPENENV_AS_TEMPLATE="1"),
    _bare_tcp("floor", "bare TCP", (*_PLAYED_BY_ALL, "pong-84x84-8", *_VECTORS), _CLIENTS, polls="0"),
    _bare_tcp("floor-polling", "bare TCP, polling", ("cartpole", "pong"), (1,), polls="1"),
    _peer("gym-socket-api", "gym-socket-api", ("msgspec",), "lean_classic_client", _GYM_SOCKET_SERVER),
    _peer("dm-env-rpc", "dm_env_rpc", _DM_ENV_RPC, "dm_env_rpc_client", ("dm_env_rpc_server", "{port}")),
    _openenv("openenv", "OpenEnv, tuned", _OPENENV),
    _openenv("openenv-template", "OpenEnv, as its template", _OPENENV, OPENENV_AS_TEMPLATE="1"),
    _openenv("openenv-0.10", "OpenEnv 0.10, tuned", _OPENENV_NEW),
    _openenv("openenv-0.10-template", "OpenEnv 0.10, as its template", _OPENENV_NEW, OPENENV_AS_TEMPLATE="1"),
    _peer("gym-http-api", "gym-http-api", _GYM_HTTP, "gym_http_client", _GYM_HTTP_SERVER),
    replace(
        _peer(_KEEP_ALIVE, "gym-http-api, kept connections", _GYM_HTTP, "gym_http_client", _GYM_HTTP_WAITRESS),
        workloads=("cartpole",),
        clients=(1,),
    ),
)
#: More ways to use gymtwist, for the figures and the load tests.
REQUEST_WAYS: tuple[Contender, ...] = (
    _gymtwist("gymtwist-step-many", "step_many of 16", (), GYMTWIST_REQUESTS="step_many"),
    _gymtwist(
        "gymtwist-socket-step-many",
        "step_many of 16, through the socket",
        (),
        GYMTWIST_REQUESTS="step_many",
        GYMTWIST_SHARED_MEMORY="0",
    ),
    _gymtwist("gymtwist-in-flight", "16 in flight", (), GYMTWIST_REQUESTS="in_flight"),
)
#: Where wrappers are that shrink frames, for the load tests.
WRAPPED_WAYS: tuple[Contender, ...] = tuple(
    _gymtwist(f"gymtwist-wrapped-{place}", f"wrapped at the {place}", (), GYMTWIST_WRAPPERS=place)
    for place in ("server", "client")
)
#: Sessions on a Ray cluster, for the load tests: connected to the node, and what is written by hand.
CLUSTER_WAYS: tuple[Contender, ...] = (
    _gymtwist("gymtwist-direct", "direct", (), GYMTWIST_DIRECT="1", GYMTWIST_SHARED_MEMORY="0"),
    Contender("ray-actor", "a call of a Ray actor for each step", "network", ("ray",), "programs.ray_actor", ()),
)
BY_NAME = {each.name: each for each in (*CONTENDERS, *REQUEST_WAYS, *WRAPPED_WAYS, *CLUSTER_WAYS)}

#: What the page says about the contenders of the comparison.
NOTES = {
    "inprocess": "`gymnasium.make` without the environment checker, or the environment's own vector environment "
    "(`vector_entry_point`). Several clients are as many processes, each with its own environment.",
    "ale-vector": "`AtariVectorEnv`: C++ threads in the learner's process. gymtwist serves this one, too.",
    "sync-vector": "One environment after the other in one process. Pong is preprocessed by `AtariPreprocessing` and "
    "`FrameStackObservation`.",
    "async-vector": "A process for each environment, pipes, and observations in shared memory. `cartpole` is a vector "
    "of one. It does not play 1,024 environments: they would be 1,024 processes.",
    "envpool": "Environments rewritten in C++, stepped by threads in the learner's process; `make_gymnasium` with its "
    "defaults, all environments in each step.",
    "envpool-1": "The same with `num_threads=1`, which can be faster where a step is short.",
    "pufferlib": "Its `Multiprocessing`: as many processes as cores share the environments; all in each step.",
    "torchrl": "A process for each environment, and tensors; `step_and_maybe_reset`.",
    "gymtwist": "`connect` and `connect_vec` with their defaults: MessagePack, through memory shared with the server, "
    "as both are on one host; vectors by `vector_entry_point`, over one connection.",
    "gymtwist-socket": "The same with `shared_memory=False`, as for clients on other hosts.",
    "gymtwist-json": 'The same with `protocol="netstring"`, for which a client is written in ten minutes in any '
    "language.",
    "gymtwist-javascript": "The JavaScript client of the web page, by Node.js, over a TCP socket with netstrings. It "
    'decodes each frame from base64 in JSON: it makes the environment with `"values": "base64"`.',
    "gymtwist-javascript-lists": "The same with the default of the protocol: frames are nested lists, and left so.",
    "gymtwist-javascript-int32": "The same client with MessagePack in Int32 frames.",
    "gymtwist-websocket": "The same client as it is, by WebSocket, with JSON.",
    "gymtwist-websocket-binary": "The same with MessagePack.",
    "gymtwist-classic": "The protocol of gym-socket-api, with a lean client in Python; gym-socket-api gets the very "
    "same client.",
    "gymtwist-rest": "The REST interface of gym-http-api, with its own client, which keeps its connection.",
    "gymtwist-openenv": "OpenEnv's WebSocket at gymtwist's port, with the very same client as its template.",
    "floor": "As many bytes as gymtwist's, to and fro between two Python processes that sleep until they come; no "
    "environment, nothing decoded.",
    "floor-polling": "The same, and neither side ever sleeps: each takes a whole core.",
    "gym-socket-api": "Its server unchanged, over a module that makes Gymnasium look like the gym of 2016; an "
    "interpreter for each connection. The client is that of gymtwist's classic protocol.",
    "dm-env-rpc": "gRPC. The package's own `DmEnvAdaptor` as the client; a server like its example, in as many "
    "processes as there are cores.",
    "openenv": "WebSocket and JSON, frames as base64; its `GenericEnvClient`. Tuned: steps in the event loop, uvloop "
    "on both sides, no compression, a process for every two cores.",
    "openenv-template": "The same with what `openenv init` writes: steps in another thread, asyncio, compression, one "
    "process.",
    "openenv-0.10": "The newer package, `openenv`, by the same programs.",
    "openenv-0.10-template": "The same with what `openenv init` writes.",
    "gym-http-api": "HTTP and JSON, frames as lists of numbers. Its client and server unchanged, over the same module; "
    "one process, which closes each connection after one request.",
    "gym-http-api-keep-alive": "The same, served by waitress, which keeps connections.",
}
