"""Functions that connect to a server in an event loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gymnasium.vector import AutoresetMode

from gymtwist.client.address import AddressLike, TlsLike, parse
from gymtwist.client.aio.async_env import RemoteEnv
from gymtwist.client.aio.async_truncating_env import TruncatingEnv
from gymtwist.client.aio.async_vector_env import RemoteVectorEnv
from gymtwist.client.aio.closing import Connecting
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
from gymtwist.client.own_options import KwargsLike, count_environments
from gymtwist.client.progress import Report
from gymtwist.client.recording_options import RecordLike
from gymtwist.client.wrapper_specs import WrapperLike
from gymtwist.protocol import make_messages

#: The spellings of the autoreset mode that resets an environment in the step that ends its episode.
_SAME_STEP = ("same_step", "samestep")


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
    check_observations: bool = False,
    max_space_bytes: int = MAX_SPACE_BYTES,
    on_failure: make_messages.OnFailure = "raise",
    resume: float | None = None,
    progress: Report | None = None,
    kwargs: Mapping[str, Any] | None = None,
    **env_kwargs: Any,
) -> Connecting[RemoteEnv]:
    """Connect to a server and make an environment there.

    Await it, or use it in ``async with``, which closes the environment.

    For the arguments see :func:`gymtwist.client.connect`. There is no ``shared_memory``, because polling it would block
    the event loop.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environment; when it is awaited.
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
        resume=resume,
    )
    options = ConnectOptions(
        parse(address),
        protocol_named(protocol),
        timeout,
        connect_timeout,
        tls,
        True,  # no effect, except on environments made from the specification
        make,
        check_observations,
        max_space_bytes,
        on_failure=on_failure,
        progress=progress,
    )
    kind = TruncatingEnv if on_failure == "truncate" else RemoteEnv
    return Connecting(lambda: kind.make(options))


def resume(
    address: AddressLike,
    resume_token: str,
    *,
    token: str | None = None,
    timeout: float | None = TIMEOUT,
    connect_timeout: float | None = CONNECT_TIMEOUT,
    tls: TlsLike = None,
    progress: Report | None = None,
) -> Connecting[RemoteEnv]:
    """Continue a session that another process started with the argument ``resume``, and has not closed.

    Await it, or use it in ``async with``, which closes the environment. For the arguments see
    :func:`gymtwist.client.resume`; there is no ``shared_memory``.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or the session has ended; when it is awaited.
    """
    options = ConnectOptions.of_resume_token(
        resume_token,
        token,
        address=parse(address),
        timeout=timeout,
        connect_timeout=connect_timeout,
        tls=tls,
        shared_memory=True,  # no effect, except on environments made from the specification
        progress=progress,
    )
    kind = TruncatingEnv if options.on_failure == "truncate" else RemoteEnv
    return Connecting(lambda: kind.make(options))


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
    check_observations: bool = False,
    max_space_bytes: int = MAX_SPACE_BYTES,
    progress: Report | None = None,
    autoreset_options: KwargsLike | None = None,
    autoreset_seeds: Sequence[Sequence[int]] | None = None,
    resume: float | None = None,
    kwargs: KwargsLike | None = None,
    **env_kwargs: Any,
) -> Connecting[RemoteVectorEnv]:
    """Connect to a server and make environments there that step together.

    Await it, or use it in ``async with``, which closes the environments.

    For the arguments see :func:`gymtwist.client.connect_vec`; there is no ``shared_memory``. With
    ``on_failure="truncate"``, an automatic reset that fails is not repeated, and ``autoreset_mode="same_step"`` is not
    supported. ``progress`` is called separately for each of several ``processes``.

    Raises:
        ValueError: An argument has a wrong value.
        RemoteError: The server cannot be reached, or has no such environments; when it is awaited.
    """
    if on_failure == "truncate" and str(getattr(autoreset_mode, "value", autoreset_mode)).lower() in _SAME_STEP:
        raise ValueError(
            'on_failure="truncate" is for the autoreset modes "next_step" and "disabled" in an event loop, and not for '
            f"{autoreset_mode!r}"
        )
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
        resume=resume,
    )
    options = ConnectOptions(
        parse(address),
        protocol_named(protocol),
        timeout,
        connect_timeout,
        tls,
        True,  # no effect, except on environments made from the specification
        make,
        check_observations,
        max_space_bytes,
        processes,
        on_failure,
        progress,
    )
    return Connecting(lambda: RemoteVectorEnv.make(options))
