"""Functions that connect to a server and make multi-agent environments there; they need PettingZoo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from gymtwist.client.address import AddressLike, TlsLike, parse
from gymtwist.client.client_session import MAX_SPACE_BYTES
from gymtwist.client.connect_options import (
    CONNECT_TIMEOUT,
    TIMEOUT,
    ConnectOptions,
    Protocol,
    make_request,
    protocol_named,
)
from gymtwist.client.progress import Report

if TYPE_CHECKING:
    from gymtwist.client.remote_agents import RemoteAECEnv, RemoteParallelEnv


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
) -> RemoteParallelEnv:
    """Connect to a server and make a multi-agent environment there, whose agents all act at once.

    Args:
        address: The server's address; see :func:`~gymtwist.client.connect`.
        env_id: An id of PettingZoo's registry at the server, such as ``"butterfly/pistonball_v6"``; or a module and a
            name in it, such as ``"mpe2:simple_spread_v3"``, which the operator must allow.
        render_mode: The render mode; None to render nothing. "human" shows the server's frames in a window here.
        protocol: See :func:`~gymtwist.client.connect`.
        token: See :func:`~gymtwist.client.connect`.
        timeout: See :func:`~gymtwist.client.connect`.
        connect_timeout: See :func:`~gymtwist.client.connect`.
        tls: See :func:`~gymtwist.client.connect`.
        max_space_bytes: The maximum bytes of an element of each of the agents' spaces, added up.
        progress: See :func:`~gymtwist.client.connect`.
        kwargs: Keyword arguments of the environment, with any names.
        env_kwargs: Keyword arguments of the environment whose names are not among the above.

    Raises:
        ImportError: PettingZoo is not installed here.
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environment.
    """
    _check_installed()
    from gymtwist.client.remote_agents import RemoteParallelEnv

    return RemoteParallelEnv(
        agents_options(
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
    )


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
) -> RemoteAECEnv:
    """Connect to a server and make a multi-agent environment there, whose agents take turns.

    Args:
        address: The server's address; see :func:`~gymtwist.client.connect`.
        env_id: See :func:`connect_parallel`.
        render_mode: The render mode; None to render nothing. "human" shows the server's frames in a window here.
        protocol: See :func:`~gymtwist.client.connect`.
        token: See :func:`~gymtwist.client.connect`.
        timeout: See :func:`~gymtwist.client.connect`.
        connect_timeout: See :func:`~gymtwist.client.connect`.
        tls: See :func:`~gymtwist.client.connect`.
        max_space_bytes: See :func:`connect_parallel`.
        progress: See :func:`~gymtwist.client.connect`.
        kwargs: Keyword arguments of the environment, with any names.
        env_kwargs: Keyword arguments of the environment whose names are not among the above.

    Raises:
        ImportError: PettingZoo is not installed here.
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environment.
    """
    _check_installed()
    from gymtwist.client.remote_agents import RemoteAECEnv

    return RemoteAECEnv(
        agents_options(
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
    )


def agents_options(
    address: AddressLike,
    env_id: str,
    env_kwargs: tuple[Mapping[str, Any] | None, Mapping[str, Any]],
    *,
    render_mode: str | None,
    protocol: Protocol,
    token: str | None,
    **options: Any,
) -> ConnectOptions:
    """Return the options of a multi-agent environment.

    Args:
        address: The server's address.
        env_id: The environment's id.
        env_kwargs: Its keyword arguments: the mapping passed as ``kwargs``, and those passed by name.
        render_mode: The render mode.
        protocol: The name of the protocol.
        token: The client's token.
        options: Further options of the connection.

    Raises:
        ValueError: An argument has a wrong value.
    """
    return ConnectOptions(
        parse(address),
        protocol_named(protocol),
        make=make_request(env_id, *env_kwargs, render_mode=render_mode, token=token),
        shared_memory=False,  # each agent has its own spaces, so there is no common layout
        **options,
    )


def _check_installed() -> None:
    try:
        import pettingzoo  # noqa: F401  # only to find out whether it is installed
    except ImportError as error:
        raise ImportError(
            f'multi-agent environments need PettingZoo on this machine, too: pip install "pettingzoo>=1.27" ({error})'
        ) from error
