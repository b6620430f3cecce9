"""The Python client for asyncio: environments at a server whose methods are coroutines.

The names are the same as in :mod:`gymtwist.client`, which also has the errors and everything else not defined here.
"""

from gymtwist.client.aio.async_agents import RemoteAECEnv, RemoteParallelEnv
from gymtwist.client.aio.async_agents_api import connect_aec, connect_parallel
from gymtwist.client.aio.async_api import connect, connect_vec, resume
from gymtwist.client.aio.async_env import RemoteEnv
from gymtwist.client.aio.async_snapshots import Snapshot
from gymtwist.client.aio.async_vector_env import RemoteVectorEnv

__all__ = [
    "RemoteAECEnv",
    "RemoteEnv",
    "RemoteParallelEnv",
    "RemoteVectorEnv",
    "Snapshot",
    "connect",
    "connect_aec",
    "connect_parallel",
    "connect_vec",
    "resume",
]
