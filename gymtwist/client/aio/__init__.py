"""The Python client for asyncio: environments at a server whose methods are coroutines.

The names are those of :mod:`gymtwist.client`. So are the errors, and everything else that is not here.
"""

from gymtwist.client.aio.async_api import connect, connect_vec
from gymtwist.client.aio.async_env import RemoteEnv
from gymtwist.client.aio.async_vector_env import RemoteVectorEnv

__all__ = ["RemoteEnv", "RemoteVectorEnv", "connect", "connect_vec"]
