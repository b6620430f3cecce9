"""How a user gets environments from a server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium.vector import AutoresetMode

from gymtwist.client.address import AddressLike, TlsLike
from gymtwist.client.connect_options import CONNECT_TIMEOUT, TIMEOUT, Protocol, count_of, merged, target
from gymtwist.client.remote_env import RemoteEnv
from gymtwist.client.remote_vector_env import RemoteVectorEnv, mode_of
from gymtwist.protocol import messages


def connect(
    address: AddressLike,
    env_id: str,
    *,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    info: messages.InfoWanted = "all",
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    shared_memory: bool = True,
    kwargs: Mapping[str, Any] | None = None,
    **env_kwargs: Any,
) -> RemoteEnv:
    """Connect to a server, and make an environment there.

    Args:
        address: Where the server is: ``"localhost:5001"``, ``"[::1]:5001"``, ``"unix:gymsock.sock"``,
            ``"tls:example.org:5002"``, ``("localhost", 5001)``, or a port of this machine.
        env_id: The environment's id, as it is registered at the server.
        render_mode: As ``gymnasium.make`` has it.
        max_episode_steps: After how many steps an episode is truncated; None as registered, -1 never.
        info: Which infos are wanted: "all", those of a step that ends an "episode" (and of resets), or "none".
        protocol: "int32" (MessagePack, fast), or "netstring" (JSON, readable on the wire).
        token: What the operator of the server may ask for.
        timeout: Seconds that a reply may take; None for any time.
        connect_timeout: Seconds that connecting may take; None for any time.
        tls: True to speak TLS and trust the system's certificates, the path of a file of certificates to trust, or an
            ``ssl.SSLContext``.
        shared_memory: Whether memory is shared with a server on this host, if it permits that.
        kwargs: Keyword arguments of the environment, whatever their names.
        env_kwargs: Keyword arguments of the environment whose names are none of the above.

    Raises:
        ValueError: An argument is not as it must be.
        RemoteError: There is no connection, or no such environment.
    """
    reach = target(address, protocol, timeout, connect_timeout, tls, shared_memory)
    make = messages.Make(
        env_id,
        merged(kwargs, env_kwargs),
        render_mode=render_mode,
        max_episode_steps=max_episode_steps,
        info=info,
        token=token,
    )
    return RemoteEnv(reach, make)


def connect_vec(
    address: AddressLike,
    env_id: str,
    num_envs: int = 1,
    *,
    processes: int = 1,
    vectorization_mode: messages.VectorizationMode | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    info: messages.InfoWanted = "all",
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    shared_memory: bool = True,
    kwargs: Mapping[str, Any] | None = None,
    **env_kwargs: Any,
) -> RemoteVectorEnv:
    """Connect to a server, and make environments there that step together.

    Args:
        address: Where the server is; see :func:`connect`.
        env_id: The environments' id, as it is registered at the server.
        num_envs: How many.
        processes: Among how many processes of the server they are divided, so that as many cores work: each has a
            connection of its own.
        vectorization_mode: How those of one process are stepped, as ``gymnasium.make_vec`` has it: "sync" one after
            the other, "async" each in a process of its own, "vector_entry_point" by the environment's own means. None
            for the last if there is such, else for "sync".
        autoreset_mode: When an environment is reset after the end of its episode.
        render_mode: As ``gymnasium.make`` has it.
        max_episode_steps: After how many steps an episode is truncated; None as registered, -1 never.
        info: Which infos are wanted: "all", those of a step that ends an "episode" (and of resets), or "none".
        protocol: "int32" (MessagePack, fast), or "netstring" (JSON, readable on the wire).
        token: What the operator of the server may ask for.
        timeout: Seconds that a reply may take; None for any time.
        connect_timeout: Seconds that connecting may take; None for any time.
        tls: See :func:`connect`.
        shared_memory: See :func:`connect`.
        kwargs: Keyword arguments of the environments, whatever their names.
        env_kwargs: Keyword arguments of the environments whose names are none of the above.

    Raises:
        ValueError: An argument is not as it must be.
        RemoteError: There is no connection, or there are no such environments.
    """
    num_envs = count_of("num_envs", num_envs)
    processes = count_of("processes", processes, num_envs)
    reach = target(address, protocol, timeout, connect_timeout, tls, shared_memory)
    make = messages.Make(
        env_id,
        merged(kwargs, env_kwargs),
        render_mode=render_mode,
        num_envs=num_envs,
        vectorization_mode=vectorization_mode,
        autoreset_mode=mode_of(autoreset_mode),
        max_episode_steps=max_episode_steps,
        info=info,
        token=token,
    )
    return RemoteVectorEnv(reach, make, processes)
