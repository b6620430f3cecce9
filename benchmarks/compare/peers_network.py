"""The contenders that are peers with a server: what else serves environments to another process or machine."""

from __future__ import annotations

from compare.contender import Contender

_MANY = (1, 2, 4, 8, 16)
_PLAYED = ("cartpole", "pong")
_GYMNASIUM = ("gymnasium>=1.1", "ale-py>=0.10")
_OPENENV = ("openenv-core==0.3.0", "uvloop", *_GYMNASIUM)
_OPENENV_SERVER = ("{python}", "{here}/servers/openenv_server.py", "{port}", "{environment}")

CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "gym-socket-api",
        "gym-socket-api",
        _GYMNASIUM,
        "contenders/classic_socket.py",
        _PLAYED,
        server=("{python}", "{here}/servers/gym_socket_api_server.py", "{checkout}", "{port}"),
        ready=r"^Listening on port \d+",
        checkout="unixpickle/gym-socket-api",
        clients=_MANY,
        note="Its server unchanged, over a module that makes Gymnasium look like the gym of 2016; an interpreter for "
        "each connection. The client is the same as that of gymtwist's classic protocol.",
    ),
    Contender(
        "dm-env-rpc",
        "dm_env_rpc",
        ("dm-env-rpc==1.1.7", "dm-env", *_GYMNASIUM),
        "contenders/dm_env_rpc_client.py",
        _PLAYED,
        server=("{python}", "{here}/servers/dm_env_rpc_server.py", "{port}"),
        clients=_MANY,
        note="gRPC. The package's own `DmEnvAdaptor` as the client; a server like its example, in as many processes as "
        "there are cores.",
    ),
    Contender(
        "openenv",
        "OpenEnv, tuned",
        _OPENENV,
        "contenders/openenv_client.py",
        _PLAYED,
        server=_OPENENV_SERVER,
        clients=_MANY,
        note="WebSocket and JSON, frames as base64. Tuned: steps in the event loop, uvloop on both sides, no "
        "compression, a process for every two cores.",
    ),
    Contender(
        "openenv-template",
        "OpenEnv, as its template",
        _OPENENV,
        "contenders/openenv_client.py",
        _PLAYED,
        server=_OPENENV_SERVER,
        variables=(("OPENENV_AS_TEMPLATE", "1"),),
        clients=_MANY,
        note="The same with what `openenv init` writes: steps in another thread, asyncio, compression, one process.",
    ),
    Contender(
        "gym-http-api",
        "gym-http-api",
        ("flask", "requests", "six", *_GYMNASIUM),
        "contenders/gym_http_api_client.py",
        _PLAYED,
        server=("{python}", "{here}/servers/gym_http_api_server.py", "{checkout}", "{port}"),
        ready=None,
        checkout="openai/gym-http-api",
        clients=_MANY,
        note="HTTP and JSON, frames as lists of numbers. Its server unchanged, over the same module; one process, "
        "connections kept.",
    ),
)
