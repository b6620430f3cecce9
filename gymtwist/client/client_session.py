"""A client session: how it begins, or continues where another process left it."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import msgspec
from gymnasium import logger

from gymtwist.client.client_errors import (
    RemoteError,
    RequestRefused,
    TimedOut,
    UnknownKwarg,
    unknown_kwarg,
)
from gymtwist.client.connection import Connection
from gymtwist.client.frame_connection import MAX_REPLY, FrameConnection
from gymtwist.client.message_values import MessageValues
from gymtwist.client.pending_makes import explained_timeout, finish_all
from gymtwist.client.progress import Report
from gymtwist.client.session_requests import SessionRequests, Stepped
from gymtwist.client.shared_memory_connection import SharedMemoryConnection, create_for
from gymtwist.errors import SharingRefused
from gymtwist.protocol import make_messages, messages, shared_memory
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import MAX_FRAME, MAX_OVERHEAD, ProtocolName
from gymtwist.protocol.resume_messages import Resume, Resumed
from gymtwist.protocol.shared_memory import SharedMemory
from gymtwist.spaces import descriptions

_log = logging.getLogger("gymtwist.client")
_Reply = TypeVar("_Reply", bound=messages.Message)
T = TypeVar("T")
#: The default maximum of the bytes of an element of each of the environment's spaces, added up. Spaces whose bounds
#: vary take about six times as much memory.
MAX_SPACE_BYTES = 64 << 20
#: The maximum number of items in a make reply: values at any depth, and map keys. As Python objects, they take a
#: hundred times as much memory as in MessagePack.
_MAX_MADE_PARTS = 2_000_000
#: How many bytes of text a byte of an array takes at most: three digits and a comma.
_TEXT = 4
#: Makes a connection that outlives the first connection.
Outlive: TypeAlias = Callable[[FrameConnection, make_messages.Resumable, MessageCodec, Resumed], FrameConnection]


class Session(SessionRequests):
    """A session with one environment, or with several that step together: how it begins, and its state.

    Args:
        connection: A new connection.
        protocol: The framed protocol to speak.
        make: The make request, which is sent at once; :meth:`finish` waits for its reply. None for no environment.
        check_observations: Whether to check that observations are in their space.
        max_space_bytes: The maximum bytes of an element of each of the environment's spaces, added up.
        first: The index of the session's first environment among those of all sessions.
        outlive: Makes a connection that outlives the first one; None if the session ends with its connection.
        stored: The payload of the make reply of a session to resume, instead of making a new environment; empty
            otherwise.

    Attributes:
        made: The server's description of the environment; available after :meth:`finish`.
        place: The place in the server's queue while there is no session; otherwise None.

    Raises:
        RemoteError: The request cannot be sent; the connection is closed.
    """

    #: The type of the reply that describes the environment.
    _made_type: type[messages.Message] = make_messages.Made
    made: make_messages.Made

    def __init__(
        self,
        connection: FrameConnection,
        protocol: ProtocolName,
        make: make_messages.Make | None = None,
        *,
        check_observations: bool = False,
        max_space_bytes: int = MAX_SPACE_BYTES,
        first: int = 0,
        outlive: Outlive | None = None,
        stored: bytes = b"",
    ) -> None:
        super().__init__(connection, protocol)
        self._outlive = outlive
        self.place: int | None = None
        made = make_messages.Make("") if make is None else make
        self._num_envs, self._wrappers, self._each = made.num_envs, len(made.wrappers), len(made.each)
        self._vector_wrappers = len(made.vector_wrappers)
        self._is_branch = bool(made.branch)
        self._records = made.record is not None
        self._kwargs: Iterable[str] = [
            name for kwargs in (made.kwargs, *(each.kwargs for each in made.each)) for name in kwargs
        ]
        self._first = first
        self._max_space_bytes = max_space_bytes
        self._checks = {"check_observations": check_observations, "bounded": not made.lenient}
        self._is_moving = self._awaits_last = False
        #: The make request, as long as it may have to be sent again.
        self._make = make if made.direct else None
        #: The make reply, if another process may need it; for a resumed session, it is set from the start.
        self.made_payload = stored
        #: What the server had received before the session was resumed, and its last reply.
        self._taken_over = Resumed(0)
        self._last_reply: messages.Message | None = None
        #: The expected description, and the converter to use if the server describes the same.
        self._prepared: tuple[make_messages.Made, MessageValues] | None = None
        if stored:
            self._or_close(lambda: self._ask_to_resume(made.token))
        elif make is not None:
            self._or_close(lambda: self.send(make))

    def finish(self, report: Report | None = None) -> Session:
        """Wait for the make reply; return the session itself.

        Args:
            report: See :func:`finish_all`.

        Raises:
            RemoteError: The server refused the request; the connection is closed.
        """
        finish_all([self], report)
        return self

    def expect(self, made: make_messages.Made) -> None:
        """Prepare for an environment while the server is still making it.

        Args:
            made: A description with the same spaces.
        """
        self._prepared = made, self._values(made, math.inf)

    def _values(self, made: make_messages.Made, deadline: float) -> MessageValues:
        return MessageValues(made, self._codec, **self._checks, deadline=deadline)

    def advance(self) -> bool:
        """Receive the make reply, or the place in the server's queue; return whether the session can be used.

        Raises:
            RemoteError: As for :meth:`finish`.
        """
        self._is_moving = False
        self._or_close(self._receive_made)
        if self.place is not None or self._is_moving:
            return False
        self._outlive_connection()
        self._or_close(self._share)
        return True

    def _outlive_connection(self) -> None:
        """From now on, resume the session if the connection is lost and the server permits it."""
        if self._outlive is None:
            return
        if self.made.resume is None:
            logger.warn(
                "%s does not keep this session if the connection is lost, so resume has no effect: its operator does "
                "not allow that (--resume-timeout), or the session runs on a node",
                self.connection.name,
            )
            return
        self.connection = self._outlive(self.connection, self.made.resume, self._codec, self._taken_over)

    def _receive_made(self) -> None:
        """Receive the make reply, which may take no more memory than its spaces do, or a message that precedes it."""
        connection = self.connection
        # Each space has two bounds, which are each as large as an element.
        connection.limit_replies(2 * self._max_space_bytes + MAX_FRAME)
        payload = self._payload()
        if len(payload) > _MAX_MADE_PARTS and self._codec.has_more(payload, _MAX_MADE_PARTS):
            raise self._broken(f"a reply to make has more than {_MAX_MADE_PARTS} parts")
        if self._awaits_last:
            self._awaits_last, self._last_reply = False, self._decoded(bytes(payload))
            return
        reply = self._decoded(payload)
        if isinstance(reply, make_messages.Queued):
            self._queued(reply)
            return
        self.place = None
        if isinstance(reply, Resumed) and self.made_payload:
            connection.limit_replies(MAX_REPLY)
            self._resumed(reply)
            return
        if isinstance(reply, make_messages.Moved):
            self._move(reply)
            return
        connection.limit_replies(MAX_REPLY)
        try:
            made = self._expected(reply, self._made_type)
        except RemoteError as error:
            if error.environments:
                error.renumber(self._first, self._num_envs or 1)
            if isinstance(error, UnknownKwarg):
                raise unknown_kwarg(error, self._kwargs) from None
            raise
        if self._outlive is not None:
            self.made_payload = bytes(payload)
        self._understand(made)

    def _ask_to_resume(self, token: str | None) -> None:
        """Ask to resume a session that another process started."""
        made = self._decoded(self.made_payload)
        resume = getattr(made, "resume", None) if isinstance(made, self._made_type) else None  # both kinds have it
        if resume is None:
            raise self._broken("the stored reply is none to make")
        self._stored = made
        self.send(Resume(resume.secret, None, token))

    def _resumed(self, reply: Resumed) -> None:
        """Take over the session; its last reply follows."""
        self._taken_over = reply
        self._understand(self._stored)
        if reply.received:
            self._is_moving = self._awaits_last = True
            self.connection.due += 1

    def last_step(self) -> Stepped | None:
        """Return what the previous process's last step or reset returned; None if its last request was another.

        Raises:
            ProtocolBroken: The reply is malformed.
        """
        reply, values = self._last_reply, self.values
        if isinstance(reply, messages.ResetDone):
            values.use_plain_numbers(reply.plain_numbers)
            return self.read(lambda: (values.own(reply.observation), 0.0, False, False, reply.info))
        if not isinstance(reply, messages.Stepped):
            return None
        if reply.reward_type is not None:
            self._stepped = values.stepped_with(reply.reward_type)
        return self.read(lambda: (*self._stepped(reply, values.own), reply.info))

    def _queued(self, message: make_messages.Queued) -> None:
        self.connection.due += 1  # the reply itself
        self.place = message.place
        _log.warning("%s is full: place %d in its queue", self.connection.name, message.place)

    def _move(self, message: make_messages.Moved) -> None:
        """Continue at a node, or have the server relay if the node cannot be reached."""
        connection = self.connection
        self._is_moving = True
        connection.due += 1  # the reply itself
        back = self.encoded(messages.Reset())
        moved = isinstance(connection, Connection) and connection.move(
            message.host, message.port, message.ticket.encode(), back
        )
        if not moved and self._make is not None:
            _log.debug("%s: its node %s cannot be reached, and so it relays", connection.name, message.host)
            connection.due -= 1
            self.send(self._make)

    def _or_close(self, act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as error:
            self.connection.close(error if isinstance(error, RemoteError) else None)
            raise

    def _understand(self, made: Any) -> None:
        if made.num_envs != self._num_envs:
            raise self._broken(f"num_envs is {made.num_envs} where {self._num_envs} was asked for")
        if made.wrappers != self._wrappers:
            raise RequestRefused(
                "the server is of a version without `wrappers`: put them around the environment here",
                code="wrapper-refused",
            )
        if made.vector_wrappers != self._vector_wrappers:
            raise RequestRefused(
                "the server is of a version without `vector_wrappers`: put them around the vector environment here",
                code="wrapper-refused",
            )
        if made.each != self._each:
            raise RequestRefused(
                "the server is of a version without `each`: its environments of one vector are alike",
                code="invalid-field",
            )
        if made.branched != self._is_branch:
            raise RequestRefused("the server is of a version without snapshots", code="unknown-snapshot")
        if self._records and made.recording is None:
            raise RequestRefused(
                "the server is of a version without `record`: record here, with minari.DataCollector",
                code="recording-refused",
            )
        if made.limits is not None:
            self._most = made.limits.max_frame + MAX_OVERHEAD
        self._check_size(made)
        self.made = made
        prepared, self._prepared = self._prepared, None
        if prepared is not None and spaces_of(prepared[0]) == spaces_of(made):
            self._use(prepared[1])
            return
        deadline = math.inf if self.connection.timeout is None else monotonic() + self.connection.timeout
        self._use(self.read(lambda: self._values(made, deadline)))

    def single_values(self) -> MessageValues:
        """Return the converter for the values of one of several environments."""
        made = self.made
        single = msgspec.structs.replace(
            made,
            action_space=made.single_action_space,
            observation_space=made.single_observation_space,
            action_layout=made.single_action_layout,
            observation_layout=made.single_observation_layout,
            num_envs=None,
        )
        return self.read(lambda: MessageValues(single, self._codec, **self._checks))

    def _check_size(self, made: make_messages.Made) -> None:
        """Check the size of the spaces before any memory is allocated for them.

        Raises:
            RequestRefused: The spaces are too large.
        """
        size = self.read(lambda: sum(descriptions.check(each) for each in spaces_of(made) if each is not None))
        if size > self._max_space_bytes:
            raise RequestRefused(
                f"the environment's spaces have elements of {size} bytes in all, and {self._max_space_bytes} are "
                f"allowed; if you trust the server, connect with max_space_bytes={size}",
                code="limit-exceeded",
            )

    def _share(self) -> None:
        """Share memory with the server if it is on this host and permits it."""
        connection = self.connection.direct
        if not isinstance(connection, SharedMemoryConnection) or not self.made.shared_memory:
            return
        layouts = (self.made.action_layout, self.made.observation_layout)
        times = _TEXT if self.values.is_json else 1
        sizes = [None if layout is None else times * layout.size for layout in layouts]
        usual = sizes[1] or 0
        request_room, room_of_one = shared_memory.rooms(*sizes)
        slots = connection.max_slots(usual, room_of_one)
        reply_room = slots * room_of_one
        try:
            offer = self.ask(messages.Share(), messages.Shared)
            memory: SharedMemory | None = None
            with contextlib.suppress(SharingRefused):
                memory = create_for(offer, request_room, reply_room)
            # Always: without a descriptor the server refuses, and stops waiting for one.
            self.ask(messages.Share(request_room, reply_room), messages.Shared)
            if memory is not None and connection is self.connection.direct:
                connection.share(memory, usual, slots)
                _log.debug("%s: memory of %d bytes is shared", connection.name, request_room + reply_room)
        except RequestRefused as error:
            _log.debug("%s: no memory is shared: %s", connection.name, error)

    def before_reset(self) -> None:
        """Share memory again if required: after the server's process has died, or forks have lost all slots.

        Raises:
            RemoteError: As for :meth:`ask`.
        """
        self.check_idle()
        self.failure = None
        self.stepping.clear()
        connection = self.connection.direct
        if isinstance(connection, SharedMemoryConnection) and connection.needs_memory:
            connection.is_lost = False
            self._share()

    @property
    def made_id(self) -> str | None:
        """The id of the environment, as the server has registered it; None if it is not registered."""
        return None if self.made.spec is None else self.made.spec.id

    def ask_for_list(self, request: messages.Envs) -> messages.EnvsListed:
        """Ask for a list of environments; the server may have to wait for a free session first.

        Raises:
            RemoteError: As for :meth:`ask`.
        """
        self.send(request)
        try:
            while isinstance(reply := self._decoded(self._payload()), make_messages.Queued):
                self._queued(reply)
        except TimedOut as error:
            raise explained_timeout(error, [self], 1) from None
        self.place = None
        return self._expected(reply, messages.EnvsListed)


def spaces_of(made: make_messages.Made) -> tuple[Any, ...]:
    """Return the descriptions of the spaces."""
    return (
        made.action_space,
        made.observation_space,
        made.single_action_space,
        made.single_observation_space,
        made.reward_space,
    )
