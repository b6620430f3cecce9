"""The Python client: environments at a server, with the interface of local environments.

:func:`connect` makes a ``gymnasium.Env``, :func:`connect_vec` a ``gymnasium.vector.VectorEnv``. Importing this package
registers ``gymtwist/Remote-v0`` for ``gymnasium.make``.
"""

import gymnasium as _gymnasium

from gymtwist.client.address import Address, AddressLike
from gymtwist.client.agents_api import connect_aec, connect_parallel
from gymtwist.client.api import connect, connect_vec, resume
from gymtwist.client.client_errors import (
    AttributeUnreachable,
    Closed,
    ConnectionLost,
    EnvironmentFailed,
    IllegalAction,
    InvalidAction,
    ProtocolBroken,
    RemoteError,
    RequestRefused,
    ResetNeeded,
    ServerFailed,
    TimedOut,
    UnknownKwarg,
)
from gymtwist.client.message_values import Steps
from gymtwist.client.progress import Progress
from gymtwist.client.remote_env import RemoteEnv
from gymtwist.client.remote_vector_env import RemoteVectorEnv
from gymtwist.client.server_listing import envs
from gymtwist.client.snapshots import Snapshot
from gymtwist.protocol.messages import ListedEnv

__all__ = [
    "Address",
    "AddressLike",
    "AttributeUnreachable",
    "Closed",
    "ConnectionLost",
    "EnvironmentFailed",
    "IllegalAction",
    "InvalidAction",
    "ListedEnv",
    "Progress",
    "ProtocolBroken",
    "RemoteEnv",
    "RemoteError",
    "RemoteVectorEnv",
    "RequestRefused",
    "ResetNeeded",
    "ServerFailed",
    "Snapshot",
    "Steps",
    "TimedOut",
    "UnknownKwarg",
    "connect",
    "connect_aec",
    "connect_parallel",
    "connect_vec",
    "envs",
    "resume",
]

#: The client's environment id for ``gymnasium.make`` and ``gymnasium.make_vec``.
REMOTE = "gymtwist/Remote-v0"

if REMOTE not in _gymnasium.registry:
    _gymnasium.register(
        REMOTE,
        entry_point="gymtwist.client.api:connect",
        vector_entry_point="gymtwist.client.api:connect_vec",
    )
