"""A client session: sends requests to an environment at a server, and receives the replies in order."""

from __future__ import annotations

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Iterable
from functools import partial
from time import monotonic
from typing import Any, TypeAlias, TypeVar

import msgspec
from gymnasium import logger

from gymtwist.client.client_errors import (
    ProtocolBroken,
    RemoteError,
    RequestRefused,
    TimedOut,
    UnknownKwarg,
    of_reply,
    unknown_kwarg,
)
from gymtwist.client.connection import Connection
from gymtwist.client.frame_connection import MAX_REPLY, FrameConnection, unasked_reply
from gymtwist.client.message_values import MessageValues, Steps
from gymtwist.client.pending_makes import explained_timeout, finish_all
from gymtwist.client.progress import Report
from gymtwist.client.resumable_connection import Reopening, ResumableConnection
from gymtwist.client.shared_memory_connection import SharedMemoryConnection, create_for
from gymtwist.error_texts import printable
from gymtwist.errors import GymtwistError, SharingRefused
from gymtwist.protocol import all_messages, dynamic_values, messages, received_values, shared_memory
from gymtwist.protocol.codec import MessageCodec, refuse_extension, tag_of
from gymtwist.protocol.dynamic_values import MAX_DEPTH, MAX_OMITTED, MAX_PLACE
from gymtwist.protocol.framing import MAX_FRAME, MAX_OVERHEAD, ProtocolName
from gymtwist.protocol.shared_memory import SharedMemory
from gymtwist.spaces import descriptions

_log = logging.getLogger("gymtwist.client")
_Reply = TypeVar("_Reply", bound=messages.Message)
T = TypeVar("T")
#: Default for the most bytes of one element of each of the environment's spaces together. Spaces whose
#: bounds are not the same everywhere take about six times as much memory.
MAX_SPACE_BYTES = 64 << 20
#: The most items of a make reply: values at any depth, and map keys. As Python objects they take a hundred times the
#: memory that they take in MessagePack.
_MAX_MADE_PARTS = 2_000_000
#: How many bytes of text a byte of an array takes at most: 255 and a comma.
_TEXT = 4
#: The result of a step: observation, reward, terminated, truncated, info; arrays for vector environments.
Stepped: TypeAlias = "tuple[Any, Any, Any, Any, dict[str, Any]]"


class _PackedStep(messages.Stepped, frozen=True, tag="step", kw_only=True):
    """The reply to a step whose observation has a layout; the observation is a view of the received bytes."""

    observation: memoryview


class Session:
    """A session with one environment, or with several that step together.

    Args:
        connection: A new connection.
        protocol: The framed protocol to speak.
        make: The make request, which is sent at once. :meth:`finish` waits for its reply. None for no environment.
        check_observations: Whether to check that observations are in their space.
        max_space_bytes: The most bytes of one element of each of the environment's spaces together.
        first: The index of its first environment among those of several sessions.
        reopening: How to reach the server again if the connection is lost; None if the session ends then.

    Attributes:
        connection: The connection.
        made: The server's description of the environment; available after :meth:`finish`.
        values: Converts the environment's values; available likewise.
        outstanding: How many replies the user has yet to receive after calls of ``send``.
        place: The place in the server's queue while there is no session.
        failure: What ended the episode since the last reset, until somebody takes it; None for nothing.
        stepping: The environments that are in a step, if some are stepped alone.

    Raises:
        RemoteError: The request cannot be sent; the connection is closed.
    """

    #: The type of the reply that describes the environment.
    _made_type: type[messages.Message] = messages.Made
    made: messages.Made
    values: MessageValues
    _stepped: Callable[[Any, Callable[[Any], Any]], tuple[Any, Any, Any, Any]]

    def __init__(
        self,
        connection: FrameConnection,
        protocol: ProtocolName,
        make: messages.Make | None = None,
        *,
        check_observations: bool = False,
        max_space_bytes: int = MAX_SPACE_BYTES,
        first: int = 0,
        reopening: Reopening | None = None,
    ) -> None:
        self.connection = connection
        self._reopening = reopening
        self._codec = MessageCodec(protocol)
        connection.explain_unasked = partial(_unasked_error, self._codec)
        self.outstanding = 0
        self.stepping: set[int] = set()
        self.failure: RemoteError | None = None
        self.place: int | None = None
        made = messages.Make("") if make is None else make
        self._num_envs, self._wrappers, self._each = made.num_envs, len(made.wrappers), len(made.each)
        self._vector_wrappers = len(made.vector_wrappers)
        self._is_branch = bool(made.branch)
        self._records = made.record is not None
        self._kwargs: Iterable[str] = [
            name for kwargs in (made.kwargs, *(each.kwargs for each in made.each)) for name in kwargs
        ]
        self._first = first
        self._check_observations, self._max_space_bytes = check_observations, max_space_bytes
        self._most = MAX_FRAME + MAX_OVERHEAD
        self._has_warned = self._is_moving = False
        #: The make request, while it may have to be sent again.
        self._make = make if made.direct else None
        self._decode: Callable[[bytes | memoryview], Any] | None = None
        if make is not None:
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

    def advance(self) -> bool:
        """Receive the make reply, or the place in the server's queue; return whether the session can be used.

        Raises:
            RemoteError: As :meth:`finish`.
        """
        self._is_moving = False
        self._or_close(self._receive_made)
        if self.place is not None or self._is_moving:
            return False
        self._outlive_connection()
        self._or_close(self._share)
        return True

    def _outlive_connection(self) -> None:
        """Resume the session from now on if the connection is lost and the server permits it."""
        if self._reopening is None:
            return
        if self.made.resume is None:
            logger.warn(
                "%s does not keep this session if the connection is lost, so resume has no effect: its operator does "
                "not allow that (--resume-timeout), or the session branches off another one, or runs on a node",
                self.connection.name,
            )
            return
        self.connection = ResumableConnection(self.connection, self.made.resume, self._codec, self._reopening)

    def _receive_made(self) -> None:
        """Receive the make reply, which may take no more memory than its spaces do, or what comes before."""
        connection = self.connection
        # A bound is as large as an element, and each space has two.
        connection.limit_replies(2 * self._max_space_bytes + MAX_FRAME)
        payload = self._payload()
        if len(payload) > _MAX_MADE_PARTS and self._codec.has_more(payload, _MAX_MADE_PARTS):
            raise self._broken(f"a reply to make has more than {_MAX_MADE_PARTS} parts")
        reply = self._decoded(payload)
        if isinstance(reply, messages.Queued):
            self._queued(reply)
            return
        self.place = None
        if isinstance(reply, messages.Moved):
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
        self._understand(made)

    def _queued(self, message: messages.Queued) -> None:
        self.connection.due += 1  # the reply itself
        self.place = message.place
        _log.warning("%s is full: place %d in its queue", self.connection.name, message.place)

    def _move(self, message: messages.Moved) -> None:
        """Go on at a node, or let the server relay if the node cannot be reached."""
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
        deadline = math.inf if self.connection.timeout is None else monotonic() + self.connection.timeout
        self.values = self.read(
            lambda: MessageValues(made, self._codec, check_observations=self._check_observations, deadline=deadline)
        )
        # Bound methods save time in each step.
        self._written, self._stepped = self.values.written, self.values.stepped
        if self.values.layout is not None:
            self._decode_step = msgspec.msgpack.Decoder(_PackedStep | messages.Error, ext_hook=refuse_extension).decode
            self._decode = self._decode_first

    def single_values(self) -> MessageValues:
        """Return what converts the values of one of several environments."""
        made = self.made
        single = msgspec.structs.replace(
            made,
            action_space=made.single_action_space,
            observation_space=made.single_observation_space,
            action_layout=made.single_action_layout,
            observation_layout=made.single_observation_layout,
            num_envs=None,
        )
        return self.read(lambda: MessageValues(single, self._codec, check_observations=self._check_observations))

    def _check_size(self, made: messages.Made) -> None:
        """Check the size of the spaces before any memory is allocated for them.

        Raises:
            RequestRefused: They are too large.
        """
        described = (
            made.action_space,
            made.observation_space,
            made.single_action_space,
            made.single_observation_space,
            made.reward_space,
        )
        size = self.read(lambda: sum(descriptions.check(each) for each in described if each is not None))
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
            # In any case: without a descriptor the server refuses, and stops waiting for one.
            self.ask(messages.Share(request_room, reply_room), messages.Shared)
            if memory is not None and connection is self.connection.direct:
                connection.share(memory, usual, slots)
                _log.debug("%s: memory of %d bytes is shared", connection.name, request_room + reply_room)
        except RequestRefused as error:
            _log.debug("%s: no memory is shared: %s", connection.name, error)

    def before_reset(self) -> None:
        """Re-establish shared memory if required: after its process has died, or after forks have lost all slots.

        Raises:
            RemoteError: As :meth:`ask`.
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

    # One request, one reply

    def ask(self, request: all_messages.Request, kind: type[_Reply]) -> _Reply:
        """Send a request and wait for its reply.

        Raises:
            RemoteError: The server replied with an error, or did not reply.
        """
        self.send(request)
        return self.receive(kind)

    def ask_for_list(self, request: messages.Envs) -> messages.EnvsListed:
        """Ask for a list of environments, for which the server may need a free session first.

        Raises:
            RemoteError: As :meth:`ask`.
        """
        self.send(request)
        try:
            while isinstance(reply := self._decoded(self._payload()), messages.Queued):
                self._queued(reply)
        except TimedOut as error:
            raise explained_timeout(error, [self], 1) from None
        self.place = None
        return self._expected(reply, messages.EnvsListed)

    def send(self, request: all_messages.Request) -> None:
        """Send a request, whose reply must be received before the next request.

        Raises:
            RemoteError: The request cannot be sent.
        """
        self.check_idle()
        self.send_step(self.encoded(request))

    def encoded(self, request: all_messages.Request) -> bytes:
        """Encode a request as a frame.

        Raises:
            RequestRefused: No message can carry it.
        """
        try:
            return b"".join(self._codec.encode_request(request))
        except GymtwistError as error:
            raise RequestRefused(str(error), code=error.code) from error
        except (TypeError, ValueError, OverflowError) as error:
            name = tag_of(request)
            raise RequestRefused(
                f"no message can carry what {name} was given: {error}", code="invalid-field"
            ) from error

    def receive(self, kind: type[_Reply]) -> _Reply:
        """Wait for the reply to a request.

        Raises:
            RemoteError: The server replied with an error, or did not reply.
        """
        return self._expected(self._decoded(self._payload()), kind)

    def _expected(self, reply: messages.Message, kind: type[_Reply]) -> _Reply:
        if not isinstance(reply, kind):
            raise self._unexpected(reply, kind)
        if omitted := getattr(reply, "omitted", ()):
            self._warn_of(omitted)
        return reply

    def _warn_of(self, omitted: messages.Omitted) -> None:
        """Warn once of what the server leaves out of its replies."""
        if not self._has_warned:
            self._has_warned = True
            logger.warn(
                "the server leaves out %s, which no message can carry; let the environment convert it to numbers, "
                "text, arrays, lists or dictionaries",
                ", ".join(repr(place[:MAX_PLACE]) for place in omitted[:MAX_OMITTED]),
            )

    def check_idle(self) -> None:
        """Check that no reply is outstanding.

        Raises:
            RemoteError: A reply is outstanding, or the connection is closed.
        """
        self.connection.check_open()
        if self.outstanding:
            raise RequestRefused(
                f"{self.outstanding} replies to send() are outstanding; take them with recv() first",
                code="replies-outstanding",
            )

    def read(self, read: Callable[[], T]) -> T:
        """Read a reply's content; close the connection if it is malformed.

        Raises:
            ProtocolBroken: The content is malformed.
            TimedOut: It has spaces that take too long.
        """
        try:
            return read()
        except (ValueError, TypeError) as error:
            raise self._broken(str(error)) from error
        except TimeoutError as error:
            raise self.connection.timed_out(str(error)) from error

    # Steps

    def step(self, action: Any, read: Callable[[Any], Any]) -> Stepped:
        """Take a step.

        Args:
            action: An action.
            read: Converts an observation from a message.

        Raises:
            RemoteError: The step failed.
        """
        if self.outstanding:
            self.check_idle()
        frame = self._written(action)
        # As send_step(), without the call.
        if len(frame) > self._most:
            raise self._too_long(frame)
        self.connection.send(frame)
        return self.receive_step(read)

    def send_step(self, frame: bytes) -> None:
        """Send the frame of a request.

        Raises:
            RemoteError: The frame cannot be sent.
        """
        if len(frame) > self._most:
            raise self._too_long(frame)
        self.connection.send(frame)

    def _too_long(self, frame: bytes) -> RequestRefused:
        """Return the error for a request that would make the server close the connection."""
        return RequestRefused(
            f"the request has {len(frame)} bytes; the server takes {self._most - MAX_OVERHEAD} at most",
            code="limit-exceeded",
        )

    def take(self) -> None:
        """Begin to receive the first outstanding reply; the caller must receive it next.

        Raises:
            RemoteError: No reply is outstanding, or the connection is closed.
        """
        if not self.outstanding:
            self.connection.check_open()
            raise RequestRefused("nothing was sent that could be received", code="nothing-sent")
        self.outstanding -= 1

    def _decode_first(self, payload: bytes | memoryview) -> Any:
        """Decode the reply to the first step, which may have the type of rewards; later ones are not looked at."""
        reply = self._decode_step(payload)
        if type(reply) is _PackedStep:
            self._decode = self._decode_step
            self._stepped = self.values.stepped_with(reply.reward_type)
        return reply

    def receive_step(self, read: Callable[[Any], Any]) -> Stepped:
        """Wait for the reply to a step; see :meth:`step`."""
        connection = self.connection
        payload = connection.receive() if connection.due <= self.outstanding + 1 else self._payload()
        if self._decode is None:
            reply: Any = self._decoded(payload)
            if not isinstance(reply, messages.Stepped):
                raise self._unexpected(reply, messages.Stepped)
            if reply.omitted:
                self._warn_of(reply.omitted)
            if reply.reward_type is not None:
                self._stepped = self.values.stepped_with(reply.reward_type)
            info = reply.info
        else:
            try:
                reply = self._decode(payload)
            except (ValueError, RecursionError, OverflowError) as error:
                # It may be another valid message.
                raise self._unexpected(self._decoded(payload), messages.Stepped) from error
            if type(reply) is not _PackedStep:
                raise self._unexpected(reply, messages.Stepped)
            info = reply.info
            if (info and not dynamic_values.is_flat(info)) or reply.omitted:
                if reply.omitted:
                    self._warn_of(reply.omitted)
                shallow = received_values.restored_shallow(info)
                if shallow is None and received_values.too_deep(info):
                    raise self._broken(f"an info is nested deeper than {MAX_DEPTH}")
                # The field itself is never an array, whatever keys it has.
                info = shallow or {key: received_values.restored(each) for key, each in info.items()}
        try:
            return (*self._stepped(reply, read), info)
        except (ValueError, TypeError) as error:
            raise self._broken(str(error)) from error

    def receive_many(self, observations: messages.ObservationsWanted) -> Steps:
        """Wait for the reply to several steps.

        Args:
            observations: Which observations were requested.

        Raises:
            RemoteError: The steps failed.
        """
        reply = self.receive(messages.SteppedMany)
        return self.read(lambda: self.values.stepped_many(reply, observations))

    # Replies

    def _payload(self) -> bytes | memoryview:
        connection = self.connection
        while connection.due > self.outstanding + 1:
            # The reply to an interrupted request. Nobody needs it, but it may say that the environment has failed.
            connection.receive()
            connection.invalidate()
        return connection.receive()

    def _decoded(self, payload: bytes | memoryview) -> messages.Message:
        try:
            reply = self._codec.decode_reply(payload)
        except GymtwistError as error:
            raise self._broken(str(error)) from error
        for text in reply.warnings:
            warnings.warn(f"{self.connection.name}: {printable(text)}", stacklevel=2)
        return reply

    def _unexpected(self, reply: messages.Message, kind: type[messages.Message]) -> RemoteError:
        """Convert an unexpected message to an error."""
        if not isinstance(reply, messages.Error):
            return self._broken(f"there is a reply to {tag_of(reply)} where one to {tag_of(kind)} is due")
        error = of_reply(reply)
        if reply.fault in ("protocol", "server"):
            self.connection.close(error)
        elif reply.fault == "environment":
            self.connection.invalidate()
            if error.reset_needed and kind is not messages.ResetDone:
                self.failure = error
                self.stepping.clear()
        return error

    def _broken(self, message: str) -> ProtocolBroken:
        text = f"the server violates the protocol: {printable(message)}"
        error = ProtocolBroken(text, code="malformed-message")
        self.connection.close(error)
        return error


def _unasked_error(codec: MessageCodec, frame: memoryview | None) -> RemoteError:
    """Return the error for a frame that nobody asked for: it may say why the server closes the connection."""
    with contextlib.suppress(GymtwistError):
        reply = None if frame is None else codec.decode_reply(frame)
        if isinstance(reply, messages.Error):
            return of_reply(reply)
    return unasked_reply(frame)
