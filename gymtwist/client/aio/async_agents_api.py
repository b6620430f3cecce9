"""Functions that connect to a server in an event loop and make multi-agent environments there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymtwist.client.address import AddressLike, TlsLike
from gymtwist.client.agents_api import agents_options
from gymtwist.client.aio.async_agents import RemoteAECEnv, RemoteParallelEnv
from gymtwist.client.aio.closing import Connecting
from gymtwist.client.client_session import MAX_SPACE_BYTES
from gymtwist.client.connect_options import CONNECT_TIMEOUT, TIMEOUT, Protocol
from gymtwist.client.progress import Report


def connect_parallel(
    address: AddressLike,
    env_id: str,
    *,
    render_mode: str | None = None,
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    max_space_bytes: int = MAX_SPACE_BYTES,
    progress: Report | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **env_kwargs: Any,
) -> Connecting[RemoteParallelEnv]:
    """Connect to a server and make a multi-agent environment there, whose agents all act at once.

    Await it, or use it in ``async with``, which closes the environment.

    For the arguments see :func:`gymtwist.client.connect_parallel`. PettingZoo need not be installed here.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environment; when it is awaited.
    """
    options = agents_options(
        address,
        env_id,
        (kwargs, env_kwargs),
        render_mode=render_mode,
        protocol=protocol,
        token=token,
        timeout=timeout,
        connect_timeout=connect_timeout,
        tls=tls,
        max_space_bytes=max_space_bytes,
        progress=progress,
    )
    return Connecting(lambda: RemoteParallelEnv.make(options))


def connect_aec(
    address: AddressLike,
    env_id: str,
    *,
    render_mode: str | None = None,
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    max_space_bytes: int = MAX_SPACE_BYTES,
    progress: Report | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **env_kwargs: Any,
) -> Connecting[RemoteAECEnv]:
    """Connect to a server and make a multi-agent environment there, whose agents take turns.

    Await it, or use it in ``async with``, which closes the environment.

    For the arguments see :func:`gymtwist.client.connect_aec`. PettingZoo need not be installed here.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environment; when it is awaited.
    """
    options = agents_options(
        address,
        env_id,
        (kwargs, env_kwargs),
        render_mode=render_mode,
        protocol=protocol,
        token=token,
        timeout=timeout,
        connect_timeout=connect_timeout,
        tls=tls,
        max_space_bytes=max_space_bytes,
        progress=progress,
    )
    return Connecting(lambda: RemoteAECEnv.make(options))
