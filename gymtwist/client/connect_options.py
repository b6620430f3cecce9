"""Connect options: the validated arguments of ``connect`` and ``connect_vec``, and how to start sessions with them."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, get_args

import msgspec
from gymnasium.vector import AutoresetMode

from gymtwist.client.address import Address, Attempts, TlsLike, connected, notice_loss, retried
from gymtwist.client.client_errors import RequestRefused
from gymtwist.client.client_session import MAX_SPACE_BYTES, Outlive, Session
from gymtwist.client.connection import Connection
from gymtwist.client.frame_connection import FrameConnection
from gymtwist.client.own_options import KwargsLike, own_options
from gymtwist.client.pending_makes import finish_all
from gymtwist.client.progress import Report
from gymtwist.client.recording_options import check_one_process, recording_of
from gymtwist.client.resumable_connection import Reopening, ResumableConnection
from gymtwist.client.resume_tokens import parse_resume_token, resume_token_of
from gymtwist.client.shared_memory_connection import SharedMemoryConnection, is_local
from gymtwist.client.user_values import integer_of
from gymtwist.client.websocket_connection import WebSocketConnection
from gymtwist.client.wrapper_specs import check_processes, vector_wrappers_of, wrappers_of
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.adaptive_waiting import REPLY_LIMIT, WaitPolicy, cores
from gymtwist.protocol.framing import Framing, ProtocolName

#: The framed protocols: MessagePack behind a binary length, or JSON in netstrings.
Protocol = Literal["int32", "netstring"]
#: The default timeout for waiting until a server is up, and for connecting, in seconds.
CONNECT_TIMEOUT = 10.0
#: The default timeout for a reply, in seconds: longer than the server's own limit for a step (--step-timeout), whose
#: error says what is wrong.
TIMEOUT = 600.0
#: The options of a connection, with their defaults.
DEFAULTS: dict[str, Any] = {
    "protocol": "int32",
    "timeout": TIMEOUT,
    "connect_timeout": CONNECT_TIMEOUT,
    "tls": None,
    "shared_memory": True,
    "check_observations": False,
    "max_space_bytes": MAX_SPACE_BYTES,
    "processes": 1,
    "on_failure": "raise",
}
#: The longest timeout, in seconds, that every system call supports.
_MAX_TIMEOUT = 1e6
#: The environment variable that limits polling.
_POLL = "GYMTWIST_POLL"
_TOKEN = "GYMTWIST_TOKEN"
#: The WebSocket protocols with the same encodings.
_BY_WEBSOCKET = {ProtocolName.INT32: ProtocolName.BINARY, ProtocolName.NETSTRING: ProtocolName.TEXT}
#: The names of Gymnasium's autoreset modes in messages: the member names in lower case.
_AUTORESET_MODES: tuple[make_messages.AutoresetMode, ...] = get_args(make_messages.AutoresetMode)


@dataclasses.dataclass(frozen=True)
class ConnectOptions:
    """How to reach a server, and what to make there; validated on creation and on every change.

    Attributes:
        address: The server's address.
        protocol: The framed protocol to speak.
        timeout: Seconds to wait for a reply; None for no limit.
        connect_timeout: Seconds to wait for a server that is not up yet, and to connect; None for no limit.
        tls: Whether and how to use TLS.
        shared_memory: Whether to share memory with a server on this host.
        make: The make request; see :func:`make_request`. Its ``num_envs`` counts the environments of all sessions.
        check_observations: Whether to check that observations are in their space.
        max_space_bytes: The maximum bytes of an element of each of the spaces, added up.
        processes: How many sessions share the environments.
        on_failure: What happens when an environment fails, or the connection to it is lost.
        progress: Called while the client waits; not kept in specifications.
        branches: For each session, the ticket of the snapshot to branch off; empty for new environments.
        described: With branches, the expected descriptions of the environments; not kept in specifications.
        stored: The payload of the make reply of a session to resume; empty for a new one.

    Raises:
        ValueError: A value is out of range.
    """

    address: Address
    protocol: ProtocolName
    timeout: float | None
    connect_timeout: float | None
    tls: TlsLike
    shared_memory: bool
    make: make_messages.Make = dataclasses.field(repr=False)  # it contains the token
    check_observations: bool = False
    max_space_bytes: int = MAX_SPACE_BYTES
    processes: int = 1
    on_failure: make_messages.OnFailure = "raise"
    progress: Report | None = None
    branches: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    described: tuple[make_messages.Made, ...] = dataclasses.field(default=(), repr=False)
    stored: bytes = dataclasses.field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Validate the values that their types do not."""
        if self.make.direct and (self.tls or self.address.websocket):
            raise ValueError("direct is True, but nodes speak neither TLS nor WebSocket: leave out direct")
        for name, seconds in (("timeout", self.timeout), ("connect_timeout", self.connect_timeout)):
            is_number = isinstance(seconds, (int, float)) and not isinstance(seconds, bool)
            if seconds is not None and not (is_number and 0 < seconds <= _MAX_TIMEOUT):
                raise ValueError(f"{name} is {seconds!r}: expected seconds, {_MAX_TIMEOUT:g} at most, or None")
        for name in ("shared_memory", "check_observations"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} is {getattr(self, name)!r:.80}: expected True or False")
        if self.on_failure not in get_args(make_messages.OnFailure):
            raise ValueError(f'on_failure is {self.on_failure!r:.80}: expected "raise" or "truncate"')
        if self.progress is not None and not callable(self.progress):
            raise ValueError(f"progress is {self.progress!r:.80}: expected a function, or None")
        object.__setattr__(self, "max_space_bytes", count_of("max_space_bytes", self.max_space_bytes))
        object.__setattr__(self, "processes", count_of("processes", self.processes, self.make.num_envs or 1))
        check_processes(self.make.vector_wrappers, self.processes)
        check_one_process(self.make.record, self.processes)

    def make_sessions(
        self, shares: Sequence[tuple[int | None, int]] = ((None, 0),), *, is_restart: bool = False
    ) -> list[Session]:
        """Connect and wait for the environments; try again while the server is not up or is full.

        Args:
            shares: For each session, its number of environments and the index of the first.
            is_restart: Whether the server was up before.

        Raises:
            RemoteError: The server cannot be reached, or has no such environment.
        """
        attempts, options = self.attempts(is_restart=is_restart), self
        if is_restart and self.make.record is not None:  # the dataset exists already
            record = msgspec.structs.replace(self.make.record, append=True)
            options = dataclasses.replace(self, make=msgspec.structs.replace(self.make, record=record))
        return retried(lambda: options._make_sessions(shares, attempts), attempts)

    def without_origin(self) -> ConnectOptions:
        """Return the options for a new environment, which neither branches off a snapshot nor resumes a session."""
        return dataclasses.replace(self, branches=(), described=(), stored=b"")

    def resume_token(self, session: Session) -> str:
        """Return what another process needs to resume a session, which from now on ends only if it is closed.

        Raises:
            RequestRefused: The session ends with its connection.
        """
        if not session.made_payload or session.made.resume is None:
            raise RequestRefused(
                "there is no resume_token, as this session ends with its connection: connect with resume=SECONDS to a "
                "server that permits that",
                code="unknown-session",
            )
        session.connection.leaves_session = True
        own = {name: getattr(self, name) for name in ("check_observations", "max_space_bytes", "on_failure")}
        return resume_token_of(self.make, session.made_payload, self.protocol, **own).text()

    @classmethod
    def of_resume_token(cls, text: str, token: str | None, **options: Any) -> ConnectOptions:
        """Return the options that resume a session.

        Args:
            text: What :meth:`resume_token` returned.
            token: The client's token; None for the environment variable GYMTWIST_TOKEN, if it is set.
            options: How to reach the server.

        Raises:
            ValueError: The text is not a resume token, or an option has a wrong value.
        """
        found = parse_resume_token(text)
        return cls(
            make=msgspec.structs.replace(found.request(), token=token_or_default(token)),
            protocol=found.protocol,
            check_observations=found.check_observations,
            max_space_bytes=found.max_space_bytes,
            on_failure=found.on_failure,
            stored=found.made,
            **options,
        )

    def attempts(self, *, is_restart: bool = False) -> Attempts:
        """Return the attempts to get an environment."""
        return Attempts(self.address, self.connect_timeout, self.progress, is_restart=is_restart)

    def _make_sessions(self, shares: Sequence[tuple[int | None, int]], attempts: Attempts) -> list[Session]:
        sessions: list[Session] = []
        try:
            # The server makes all of them in parallel.
            for (count, first), branch in zip(shares, self.branches or [""] * len(shares), strict=True):
                sessions.append(self.start_session(self.open_connection(attempts), count, first, branch))
            for session, made in zip(sessions, self.described, strict=False):
                session.expect(made)
            finish_all(sessions, self.progress)
        except BaseException:
            for session in sessions:
                session.connection.close()
            raise
        return sessions

    def start_session(
        self,
        connection: FrameConnection,
        num_envs: int | None,
        first: int = 0,
        branch: str = "",
        outlive: Outlive | None = None,
    ) -> Session:
        """Ask for the environment.

        Args:
            connection: A new connection.
            num_envs: The session's number of environments; None for a single environment.
            first: The index of its first environment.
            branch: The ticket of the snapshot to branch off; empty for a new environment.
            outlive: Makes a connection that outlives the first one; None for the blocking kind, if the options resume
                sessions.

        Returns:
            A session whose reply has not come yet.

        Raises:
            RemoteError: The request cannot be sent.
        """
        return Session(
            connection,
            self.spoken,
            msgspec.structs.replace(
                self.make, num_envs=num_envs, each=self.make.each[first : first + (num_envs or 0)], branch=branch
            ),
            check_observations=self.check_observations,
            max_space_bytes=self.max_space_bytes,
            first=first,
            outlive=outlive or self._outliving,
            stored=self.stored,
        )

    @property
    def _outliving(self) -> Outlive | None:
        if self.make.resume is None:
            return None
        return partial(ResumableConnection, reopening=self.reopening(self.open_connection))

    def reopening(self, reopen: Callable[[Attempts, float | None], Any]) -> Reopening:
        """Return how to reach the server again if the connection is lost.

        Args:
            reopen: Connects.
        """
        return Reopening(self.address, reopen, self.make.token, self.progress)

    def open_connection(self, attempts: Attempts, timeout: float | None = None) -> Connection:
        """Connect to the server.

        Args:
            attempts: Decides when to try again while the server is not up.
            timeout: Seconds to connect; None for ``connect_timeout``.

        Raises:
            RemoteError: The server cannot be reached.
        """
        # Polling for one session must not take a core from another session.
        limit = min(poll_limit(), math.inf if cores() > self.processes else 0.0)
        timeout = timeout or self.connect_timeout
        plain = connected(self.address, timeout, self.tls, attempts=attempts)
        if self.make.resume is not None:
            notice_loss(plain)
        if self.address.websocket:
            begin: Callable[..., Connection] = partial(WebSocketConnection, self.address, timeout)
        else:
            begin = SharedMemoryConnection if self.shared_memory and is_local(plain) else Connection
        return begin(plain, str(self.address), Framing(self.spoken.value), self.timeout, WaitPolicy(limit))

    @property
    def spoken(self) -> ProtocolName:
        """The protocol in the framing of the address: WebSocket messages, or frames."""
        return _BY_WEBSOCKET[self.protocol] if self.address.websocket else self.protocol


def poll_limit() -> float:
    """Return how many seconds a client may poll for a reply; the variable GYMTWIST_POLL is in microseconds.

    Raises:
        ValueError: The variable is not a number from 0 to 1000000.
    """
    text = os.environ.get(_POLL)
    if not text:
        return REPLY_LIMIT
    try:
        microseconds = float(text)
    except ValueError:
        microseconds = -1.0
    if not 0.0 <= microseconds <= 1e6:
        raise ValueError(f"the environment variable {_POLL} is {text!r:.80}: expected microseconds from 0 to 1000000")
    return microseconds / 1e6


def token_or_default(token: str | None) -> str | None:
    """Return a token; if it is None, return the environment variable GYMTWIST_TOKEN, if that is set."""
    return token if token is not None else os.environ.get(_TOKEN) or None


def _resume_seconds(seconds: float | None) -> float | None:
    """Validate how many seconds a session waits for its client if the connection is lost; None to not wait.

    Raises:
        ValueError: The value is not a number, or is out of range.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 < seconds <= messages.MAX_RESUME:
        raise ValueError(f"resume is {seconds!r:.80}: expected seconds, {messages.MAX_RESUME} at most, or None")
    return float(seconds)


def protocol_named(name: str) -> ProtocolName:
    """Return a framed protocol by its name.

    Raises:
        ValueError: There is no such protocol.
    """
    if name not in ("int32", "netstring"):
        raise ValueError(f'unknown protocol {name!r}; expected "int32" or "netstring"')
    return ProtocolName(name)


#: What converts an argument, as users give it, to the field of a make request with the same name.
_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "record": recording_of,
    "resume": _resume_seconds,
    "vector_wrappers": vector_wrappers_of,
    "wrappers": wrappers_of,
}


def make_request(
    env_id: str | Sequence[str],
    kwargs: KwargsLike | None,
    env_kwargs: Mapping[str, Any],
    *,
    num_envs: int | None = None,
    autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
    token: str | None = None,
    autoreset: tuple[KwargsLike | None, Sequence[Sequence[int]] | None] = (None, None),
    **fields: Any,
) -> make_messages.Make:
    """Make the request for one environment or for several.

    Args:
        env_id: The environment's id; for several environments, possibly a list with an id for each.
        kwargs: Keyword arguments of the environment, with any names; for several, possibly a list.
        env_kwargs: Further keyword arguments of the environment.
        num_envs: The number of environments; None for a single one that is not a vector environment.
        autoreset_mode: When an environment is reset after the end of its episode.
        token: The client's token; None for the environment variable GYMTWIST_TOKEN, if it is set.
        autoreset: The options for resets without options, or a list with a mapping for each environment; and for each
            environment, the seeds for resets without a seed.
        fields: Further arguments of :func:`~gymtwist.client.connect` that are fields of the request. Some are
            converted here; the server validates the others.

    Raises:
        ValueError: An argument has a wrong value.
        TypeError: A keyword argument of the environment is given twice.
    """
    name, common, each = own_options(num_envs or 1, env_id, kwargs, *autoreset)
    given = {key for mapping in (common, *(own.kwargs for own in each)) for key in mapping}
    twice = sorted(given & set(env_kwargs))
    if twice:
        raise TypeError(f"given twice, by kwargs and by itself: {', '.join(twice)}")
    return make_messages.Make(
        name,
        {**common, **env_kwargs},
        num_envs=num_envs,
        autoreset_mode=_autoreset_mode(autoreset_mode),
        vector_rewards=True,
        report_queue=True,
        token=token_or_default(token),
        each=each,
        **{name: _CONVERTERS[name](value) if name in _CONVERTERS else value for name, value in fields.items()},
    )


def count_of(name: str, number: Any, most: int | None = None) -> int:
    """Convert a count, given as any kind of integer.

    Raises:
        ValueError: It is not an integer from 1 to ``most``.
    """
    try:
        count = integer_of(number)
    except TypeError:
        count = 0
    if count < 1 or (most is not None and count > most):
        expected = "an integer from 1" if most is None else f"1 to {most}, the number of environments"
        raise ValueError(f"{name} is {number!r}: expected {expected}")
    return count


def _autoreset_mode(mode: AutoresetMode | str) -> make_messages.AutoresetMode:
    """Return the name that messages use for an autoreset mode.

    Args:
        mode: A Gymnasium mode, its value, or the name itself.

    Raises:
        ValueError: There is no such mode.
    """
    for name in _AUTORESET_MODES:
        known = AutoresetMode[name.upper()]
        if mode in (name, known, known.value):
            return name
    expected = ", ".join(_AUTORESET_MODES)
    raise ValueError(
        f"unknown autoreset mode {mode!r}; expected one of {expected}, or a gymnasium.vector.AutoresetMode"
    )
