"""Functions that connect to a server and make environments there."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium
from gymnasium.error import DependencyNotInstalled
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import HumanRendering

from gymtwist.client.address import AddressLike, TlsLike, parse
from gymtwist.client.client_session import MAX_SPACE_BYTES
from gymtwist.client.connect_options import (
    CONNECT_TIMEOUT,
    TIMEOUT,
    ConnectOptions,
    Protocol,
    count_of,
    make_request,
    protocol_named,
)
from gymtwist.client.entry_points import EACH, VECTOR_ONLY, WINDOW, restored
from gymtwist.client.own_options import KwargsLike, count_environments
from gymtwist.client.progress import Report
from gymtwist.client.recording_options import RecordLike
from gymtwist.client.remote_env import RemoteEnv
from gymtwist.client.remote_vector_env import RemoteVectorEnv
from gymtwist.client.truncating_env import TruncatingEnv
from gymtwist.client.wrapper_specs import WrapperLike
from gymtwist.protocol import make_messages


def connect(
    address: AddressLike,
    env_id: str,
    *,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    info: make_messages.InfoWanted = "all",
    lenient: bool = False,
    wrappers: Iterable[WrapperLike] = (),
    record: RecordLike | None = None,
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    shared_memory: bool = True,
    direct: bool = False,
    check_observations: bool = False,
    max_space_bytes: int = MAX_SPACE_BYTES,
    on_failure: make_messages.OnFailure = "raise",
    resume: float | None = None,
    progress: Report | None = None,
    keep_snapshots: int = 0,
    kwargs: Mapping[str, Any] | None = None,
    **env_kwargs: Any,
) -> RemoteEnv:
    """Connect to a server and make an environment there.

    Args:
        address: The server's address: ``"localhost:5001"``, ``"[::1]:5001"``, ``"unix:gymsock.sock"``,
            ``"tls:example.org:5002"``, ``"ws://localhost:5001"``, ``"wss://example.org/gym/ws"``,
            ``("localhost", 5001)``, or a port on this machine.
        env_id: The environment's id, as registered at the server.
        render_mode: See ``gymnasium.make``.
        max_episode_steps: The number of steps after which an episode is truncated; None for the registered number, -1
            to never truncate.
        info: Which infos the server sends: "all"; only those of resets and of steps that end an "episode"; or "none".
        lenient: Whether the environment itself handles actions outside the bounds of a Box, and steps after the end of
            an episode, as if it were local: many clip such actions. Otherwise, both are refused.
        wrappers: Wrappers that the server puts around the environment, innermost first: specifications like those in
            Gymnasium's ``env.spec.additional_wrappers``, such as ``FrameStackObservation.wrapper_spec(stack_size=4)``,
            or dicts with ``name`` and ``kwargs``. The operator decides which wrappers are allowed.
        record: The name of a Minari dataset, such as ``"cartpole-v0"``, into which the server records all episodes; or
            a dict with the name as ``dataset`` and any of ``append`` (to a dataset that exists), ``infos``, ``frames``
            ("video" or "lossless"), ``compression`` (0 to 9), ``episodes`` and ``megabytes`` (maximum values). The
            environment's ``spec`` does not include it.
        protocol: "int32" (MessagePack, fast) or "netstring" (JSON, readable on the wire).
        token: The token from the server's operator, if the server requires one; None to use the environment variable
            GYMTWIST_TOKEN, if it is set.
        timeout: Seconds to wait for a reply; None for no limit.
        connect_timeout: Seconds to wait for a server that is not up yet, is full or is stopping, and to connect; None
            for no limit. A host name that does not exist, a TLS error, or another refusal ends the wait at once.
        tls: True to use TLS with the system's certificates, the path of a file of trusted certificates, or an
            ``ssl.SSLContext``.
        shared_memory: Whether to share memory with a server on this host that permits it.
        direct: Whether to connect to the environment's node directly, if the server has placed the environment on a
            cluster. Steps are then faster, because the server does not relay them. If the node cannot be reached, it
            does.
        check_observations: Whether to check that every observation is in its space, bounds included. If not, a step
            raises :class:`~gymtwist.client.client_errors.EnvironmentFailed`, and the episode continues. Servers check
            only dtype and shape.
        max_space_bytes: The maximum bytes of an element of each of the environment's spaces, added up. It protects this
            process's memory from the server: the spaces take up to six times as much.
        on_failure: What happens if the environment raises an exception, crashes or takes too long, or the connection is
            lost, for example because the server restarts: "raise" an error, or "truncate" the episode. The step then
            returns the last observation as truncated, with the text of the error in ``info["error"]``. The next
            ``reset`` reconnects if necessary, and waits for up to ``connect_timeout``.
        resume: If the connection is lost, try for up to this many seconds to reconnect and continue the same episode:
            the session waits at the server, which may allow less time. No request is executed twice. None to raise
            :class:`~gymtwist.client.client_errors.ConnectionLost` at once.
        progress: Called with a :class:`Progress` about once a second while the client waits for the server, for a
            session, or for the environment. An exception that it raises ends the wait.
        keep_snapshots: Keep only this many snapshots, the latest ones, and return to the latest if the environment's
            process crashes; ``reset_needed`` of the error is then false. 0 to keep all, and to make a new environment
            after a crash.
        kwargs: Keyword arguments of the environment, with any names.
        env_kwargs: Keyword arguments of the environment whose names are not among the above.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environment.
    """
    make = make_request(
        env_id,
        kwargs,
        env_kwargs,
        render_mode=render_mode,
        max_episode_steps=max_episode_steps,
        info=info,
        lenient=lenient,
        wrappers=wrappers,
        record=record,
        token=token,
        direct=direct,
        keep_snapshots=keep_snapshots,
        resume=resume,
    )
    options = ConnectOptions(
        parse(address),
        protocol_named(protocol),
        timeout,
        connect_timeout,
        tls,
        shared_memory,
        make,
        check_observations,
        max_space_bytes,
        on_failure=on_failure,
        progress=progress,
    )
    return TruncatingEnv(options) if on_failure == "truncate" else RemoteEnv(options)


def connect_vec(
    address: AddressLike,
    env_id: str | Sequence[str],
    num_envs: int | None = None,
    *,
    processes: int = 1,
    on_failure: make_messages.OnFailure = "raise",
    vectorization_mode: make_messages.VectorizationMode | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    info: make_messages.InfoWanted = "all",
    lenient: bool = False,
    wrappers: Iterable[WrapperLike] = (),
    vector_wrappers: Iterable[WrapperLike] = (),
    record: RecordLike | None = None,
    protocol: Protocol = "int32",
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    shared_memory: bool = True,
    direct: bool = False,
    check_observations: bool = False,
    max_space_bytes: int = MAX_SPACE_BYTES,
    progress: Report | None = None,
    autoreset_options: KwargsLike | None = None,
    autoreset_seeds: Sequence[Sequence[int]] | None = None,
    resume: float | None = None,
    kwargs: KwargsLike | None = None,
    **env_kwargs: Any,
) -> RemoteVectorEnv:
    """Connect to a server and make environments there that step together.

    Args:
        address: The server's address; see :func:`connect`.
        env_id: The environments' id, as registered at the server; or a list with an id for each. With a list here or
            below, all environments must have the same spaces, and a ``vectorization_mode`` of None means "sync".
        num_envs: The number of environments; None for the length of a list among the arguments, or 1 without a list.
        processes: How many server processes share the environments, to use as many cores. Each has its own connection.
        on_failure: What happens if an environment raises an exception, crashes or takes too long, or the connection to
            it is lost: "raise" an error, or "truncate" its episode. The step then returns its last observation as
            truncated, with the text of the error in ``infos["error"]``, and a new environment begins the next episode.
            If a process ends, the episodes of all its environments end; an exception ends only one episode.
        vectorization_mode: How each process steps its environments, as in ``gymnasium.make_vec``: "sync" for one after
            another, "async" for each in a process of its own, "vector_entry_point" for the environment's own
            implementation. None for "vector_entry_point" if the environment has one, otherwise "sync".
        autoreset_mode: When an environment is reset after the end of its episode.
        render_mode: See ``gymnasium.make``.
        max_episode_steps: See :func:`connect`.
        info: See :func:`connect`.
        lenient: See :func:`connect`; the autoreset mode determines how episodes end.
        wrappers: Wrappers that the server puts around each environment; see :func:`connect`. With them, a
            ``vectorization_mode`` of None means "sync".
        vector_wrappers: Wrappers of ``gymnasium.wrappers.vector`` that the server puts around the vector environment,
            innermost first, in the same form as ``wrappers``. A wrapper that keeps statistics of all environments
            together (NormalizeObservation, NormalizeReward) requires ``processes=1``; a class of your own is put around
            the environments of each process.
        record: See :func:`connect`. All environments' episodes go into one dataset, in the order in which they end.
        protocol: See :func:`connect`.
        token: See :func:`connect`.
        timeout: See :func:`connect`.
        connect_timeout: See :func:`connect`.
        tls: See :func:`connect`.
        shared_memory: See :func:`connect`.
        direct: See :func:`connect`.
        check_observations: See :func:`connect`.
        max_space_bytes: See :func:`connect`.
        progress: See :func:`connect`.
        autoreset_options: The options for resets without options, such as automatic ones: a dict for all environments,
            or a list with one for each.
        autoreset_seeds: For each environment, the seeds for its resets without a seed, in order. Resets after the last
            of them have no seed.
        resume: See :func:`connect`.
        kwargs: Keyword arguments of the environments, with any names; or a list with a mapping for each.
        env_kwargs: Keyword arguments of all environments whose names are not among the above.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environments.
    """
    count = count_environments(num_envs, env_id, kwargs, autoreset_options, autoreset_seeds)
    make = make_request(
        env_id,
        kwargs,
        env_kwargs,
        num_envs=count_of("num_envs", 1 if count is None else count),
        autoreset=(autoreset_options, autoreset_seeds),
        vectorization_mode=vectorization_mode,
        autoreset_mode=autoreset_mode,
        on_failure=on_failure,
        render_mode=render_mode,
        max_episode_steps=max_episode_steps,
        info=info,
        lenient=lenient,
        wrappers=wrappers,
        vector_wrappers=vector_wrappers,
        record=record,
        token=token,
        direct=direct,
        resume=resume,
    )
    return RemoteVectorEnv(
        ConnectOptions(
            parse(address),
            protocol_named(protocol),
            timeout,
            connect_timeout,
            tls,
            shared_memory,
            make,
            check_observations,
            max_space_bytes,
            processes,
            on_failure,
            progress,
        )
    )


def resume(
    address: AddressLike,
    resume_token: str,
    *,
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    shared_memory: bool = True,
    progress: Report | None = None,
) -> RemoteEnv:
    """Continue a session that another process started with the argument ``resume``, and has not closed.

    Args:
        address: The server's address; see :func:`connect`.
        resume_token: The environment's ``resume_token``. Keep it secret.
        token: See :func:`connect`; it must belong to the same identity.
        timeout: See :func:`connect`.
        connect_timeout: See :func:`connect`.
        tls: See :func:`connect`.
        shared_memory: See :func:`connect`.
        progress: See :func:`connect`.

    Returns:
        The environment, in the same episode. Its attribute ``resumed`` holds what the last step returned.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or the session has ended.
    """
    options = ConnectOptions.of_resume_token(
        resume_token,
        token,
        address=parse(address),
        timeout=timeout,
        connect_timeout=connect_timeout,
        tls=tls,
        shared_memory=shared_memory,
        progress=progress,
    )
    return TruncatingEnv(options) if options.on_failure == "truncate" else RemoteEnv(options)


def reconnect(
    connect_options: Mapping[str, Any], render_mode: str | None = None, **kwargs: Any
) -> gymnasium.Env[Any, Any]:
    """Make a remote environment from its specification, whose entry point this is.

    Args:
        connect_options: Arguments of :func:`connect`. Stored specifications do not contain the token: add it.
        render_mode: See ``gymnasium.make``.
        kwargs: Keyword arguments of the environment.

    Raises:
        DependencyNotInstalled: A window needs pygame on this machine.
        RemoteError: See :func:`connect`.
    """
    arguments, own = restored(connect_options, kwargs)
    arguments = {name: value for name, value in arguments.items() if name not in VECTOR_ONLY}
    before = arguments.pop("render_mode", None)
    if render_mode == WINDOW != before:
        # As gymnasium.make does for an environment without windows.
        if importlib.util.find_spec("pygame") is None:
            raise DependencyNotInstalled('render_mode "human" needs pygame on this machine: pip install pygame')
        return HumanRendering(connect(**arguments, render_mode="rgb_array", kwargs=own))
    return connect(**arguments, render_mode=render_mode, kwargs=own)


def reconnect_vec(
    connect_options: Mapping[str, Any],
    num_envs: int = 1,
    render_mode: str | None = None,
    max_episode_steps: int | None = None,
    **kwargs: Any,
) -> RemoteVectorEnv:
    """Make remote environments from their specification, whose vector entry point this is.

    Args:
        connect_options: Arguments of :func:`connect_vec`.
        num_envs: The number of environments.
        render_mode: See ``gymnasium.make``.
        max_episode_steps: The specification's step limit; ignored, because the options have it if it is not the
            registered one.
        kwargs: Keyword arguments of the environments.

    Raises:
        RemoteError: See :func:`connect_vec`.
    """
    arguments, own = restored(connect_options, kwargs)
    arguments["processes"] = min(arguments.get("processes", 1), num_envs)
    arguments["render_mode"] = render_mode
    each = arguments.pop(EACH, [])
    if each:
        arguments |= {
            "env_id": [its["id"] or arguments["env_id"] for its in each],
            "autoreset_options": [its["options"] for its in each],
            "autoreset_seeds": [its["seeds"] for its in each],
        }
    kwargs_of_each = [{**own, **its["kwargs"]} for its in each]
    return connect_vec(**arguments, num_envs=num_envs, kwargs=kwargs_of_each or own)
