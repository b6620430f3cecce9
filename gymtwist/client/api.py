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
            ``("localhost", 5001)``, or a port of this machine.
        env_id: The environment's id, as registered at the server.
        render_mode: See ``gymnasium.make``.
        max_episode_steps: The number of steps after which an episode is truncated; None as registered, -1 for never.
        info: Which infos the server sends: "all", only those of resets and of steps that end an "episode", or "none".
        lenient: Whether to leave actions outside the bounds of a Box, and steps after the end of an episode, to the
            environment, as a local one does: many clip such actions. Otherwise both are refused.
        wrappers: Wrappers that the server puts around the environment, the innermost first: as in Gymnasium's
            ``env.spec.additional_wrappers``, such as ``FrameStackObservation.wrapper_spec(stack_size=4)``, or dicts of
            ``name`` and ``kwargs``. The operator decides which ones the server has.
        record: The name of a dataset, such as ``"cartpole-v0"``, that the server records all episodes into, as Minari
            reads it; or a dict with it as ``dataset`` and any of ``append`` (to a dataset that exists), ``infos``,
            ``frames`` ("video" or "lossless"), ``compression`` (0 to 9), ``episodes`` and ``megabytes`` (at most). The
            specification of the environment does not keep it.
        protocol: "int32" (MessagePack, fast) or "netstring" (JSON, readable on the wire).
        token: The token that the operator of the server has given you, if the server needs one; None for that of the
            environment variable GYMTWIST_TOKEN, if it is set.
        timeout: Seconds to wait for a reply; None for no limit.
        connect_timeout: Seconds to wait for a server that is not up yet, is full or stops, and to connect; None for no
            limit. A host name that does not exist, a TLS error, or another refusal ends the wait at once.
        tls: True to use TLS with the system's certificates, the path of a file of trusted certificates, or an
            ``ssl.SSLContext``.
        shared_memory: Whether to share memory with a server on this host that permits it.
        direct: Whether to connect to the node that the environment is on, if the server has placed it on one of a
            cluster: steps are faster then, and do not cross the server. If the node cannot be reached, they do.
        check_observations: Whether to check that every observation is in its space, bounds included; one that is not
            raises :class:`~gymtwist.client.client_errors.EnvironmentFailed`, and the episode continues. Servers check
            dtype and shape alone.
        max_space_bytes: The most bytes of one element of each of the environment's spaces together. A server decides
            how much memory the spaces take here: up to six times as much.
        on_failure: What happens if the environment raises an exception, crashes or takes too long, or the connection is
            lost, as when the server is restarted: "raise" an error, or "truncate" the episode. The step then returns
            the last observation as truncated, with the text of the error in ``info["error"]``. The next ``reset``
            connects again if that is necessary, and waits for up to ``connect_timeout``.
        resume: If the connection is lost, connect again for up to so many seconds, and go on with the same episode:
            the session waits at the server, which may permit less time. Nothing is done twice. None to raise
            :class:`~gymtwist.client.client_errors.ConnectionLost` at once.
        progress: Called with a :class:`Progress` about once a second while the client waits for the server, for a
            session, or for the environment. What it raises ends the wait.
        keep_snapshots: Keep so many snapshots at most, the last ones, and go back to the last one if the environment's
            process crashes; the error then has ``reset_needed`` false. 0 to keep all, and to make a fresh environment.
        kwargs: Keyword arguments of the environment, of any name.
        env_kwargs: Keyword arguments of the environment with other names than the above.

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
        env_id: The environments' id, as registered at the server; or a list with the id of each. With such a list, here
            or below, all must have the same spaces, and a ``vectorization_mode`` of None means "sync".
        num_envs: The number of environments; None for the length of a list that is given, or else one.
        processes: How many processes of the server share the environments, to use as many cores. Each has a connection
            of its own.
        on_failure: What happens if an environment raises an exception, crashes or takes too long, or the connection to
            it is lost: "raise" an error, or "truncate" its episode. The step then returns its last observation as
            truncated, with the text of the error in ``infos["error"]``, and a fresh environment begins the next
            episode. The end of a process ends the episodes of all its environments, an exception only that of one.
        vectorization_mode: How each process steps its environments, as in ``gymnasium.make_vec``: "sync" one after the
            other, "async" each in a process of its own, "vector_entry_point" by the environment's own means. None for
            the last if the environment has it, else for "sync".
        autoreset_mode: When an environment is reset after the end of its episode.
        render_mode: See ``gymnasium.make``.
        max_episode_steps: See :func:`connect`.
        info: See :func:`connect`.
        lenient: See :func:`connect`; the ends of episodes are those of the autoreset mode.
        wrappers: Wrappers that the server puts around each environment; see :func:`connect`. With them, a
            ``vectorization_mode`` of None means "sync".
        vector_wrappers: Wrappers that the server puts around the vector environment of all, the innermost first: those
            of ``gymnasium.wrappers.vector``, as ``wrappers`` has them. One that keeps statistics of all environments
            together (NormalizeObservation, NormalizeReward) needs ``processes=1``; a class of your own is put around
            the environments of each process.
        record: See :func:`connect`. The episodes of all environments are in one dataset, in the order of their ends.
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
        autoreset_options: The options of resets without options, such as those of autoreset: a dict for all
            environments, or a list with one for each.
        autoreset_seeds: For each environment, the seeds of its resets without a seed, in order. When they are used up,
            resets have no seed.
        resume: See :func:`connect`.
        kwargs: Keyword arguments of the environments, of any name; or a list with those of each.
        env_kwargs: Keyword arguments of all environments with other names than the above.

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
    """Go on with the session of an environment that another process has made with ``resume``, and has not closed.

    Args:
        address: The server's address; see :func:`connect`.
        resume_token: That environment's ``resume_token``. Keep it secret.
        token: See :func:`connect`; it must be of the same identity.
        timeout: See :func:`connect`.
        connect_timeout: See :func:`connect`.
        tls: See :func:`connect`.
        shared_memory: See :func:`connect`.
        progress: See :func:`connect`.

    Returns:
        The environment, in the same episode. Its attribute ``resumed`` has what the last step returned.

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
    """Make a remote environment from its specification; the entry point in that.

    Args:
        connect_options: Arguments of :func:`connect`. Specifications that were stored have no token in them: add it.
        render_mode: See ``gymnasium.make``.
        kwargs: Keyword arguments of the environment.

    Raises:
        DependencyNotInstalled: A window would need pygame here.
        RemoteError: See :func:`connect`.
    """
    arguments, own = restored(connect_options, kwargs)
    arguments = {name: value for name, value in arguments.items() if name not in VECTOR_ONLY}
    before = arguments.pop("render_mode", None)
    if render_mode == WINDOW != before:
        # As gymnasium.make does where an environment has no windows.
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
    """Make remote environments from their specification; the vector entry point in that.

    Args:
        connect_options: Arguments of :func:`connect_vec`.
        num_envs: The number of environments.
        render_mode: See ``gymnasium.make``.
        max_episode_steps: That of the specification, which is among the options if it is not the registered one.
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
