"""The framed protocol for the session loop: all requests that do not concern the environment alone."""

from __future__ import annotations

import bisect
import contextlib
import os
import select
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, get_args

import msgspec

import gymtwist
from gymtwist.envs import agent_environments
from gymtwist.envs.installed import find_listed
from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    InvalidField,
    LimitExceeded,
    ProtocolError,
    RepliesLost,
    RequestError,
    ResetNeeded,
    SharingRefused,
    SnapshotRefused,
)
from gymtwist.protocol import agent_messages, all_messages, make_messages, messages
from gymtwist.protocol.codec import MessageCodec, tag_of
from gymtwist.protocol.framing import MAX_FRAME, FrameReader, Parts, ProtocolName
from gymtwist.protocol.handshake import MAX_MAKE, error_message
from gymtwist.protocol.resume_messages import Resume, Resumed
from gymtwist.protocol.websocket import OPCODES, CloseCode, WebSocketError, close_code, without_header
from gymtwist.worker import process_control, process_copy
from gymtwist.worker.access_policy import AllowList
from gymtwist.worker.base_handler import State
from gymtwist.worker.guarded_call import ran_out_of_memory
from gymtwist.worker.omission_warning import OmissionWarning
from gymtwist.worker.recovery_state import RecoveryState
from gymtwist.worker.reply_writer import ReplyWriter
from gymtwist.worker.request_handler import RequestHandler
from gymtwist.worker.resumable_transport import ResumableTransport
from gymtwist.worker.session_channel import Reconnection, SessionChannel
from gymtwist.worker.session_status import ANSWERED, OUTLIVES, Operation, SessionStatus
from gymtwist.worker.shared_memory_transport import Offer, SharedMemoryTransport
from gymtwist.worker.snapshot_handler import SnapshotHandler
from gymtwist.worker.socket_waiting import receiver
from gymtwist.worker.transports import FrameTransport, Transport
from gymtwist.worker.websocket_transport import WebSocketTransport
from gymtwist.worker.worker_settings import WorkerSettings

if TYPE_CHECKING:
    from gymtwist.worker.agents_handler import AgentsHandler

#: The maximum number of refused make messages that a session logs, and their maximum length in characters.
_MOST_REFUSALS_PRINTED, _REFUSAL_LENGTH = 16, 1000


class FramedAdapter:
    """One session of the framed protocol; for the attributes see :class:`~gymtwist.worker.session_loop.Adapter`.

    Args:
        protocol: The protocol, which determines the framing.
        connection: The client's socket, in blocking mode.
        settings: The operator's options.
        status: The session's status.
        channel: Hands over a new connection when this one is lost; None if the session then ends.
    """

    transport: Transport
    #: The transport over the client's socket, which every session begins with.
    _socket: FrameTransport | WebSocketTransport

    def __init__(
        self,
        protocol: ProtocolName,
        connection: socket.socket,
        settings: WorkerSettings,
        status: SessionStatus,
        channel: SessionChannel | None = None,
    ) -> None:
        self._connection = connection
        self._channel = channel
        self._is_resumable = False
        self._resumable: ResumableTransport | None = None
        self._settings = settings
        self._status = status
        self._codec = MessageCodec(protocol, OmissionWarning(), self._note)
        self._recovery = RecoveryState(status)
        self._replies = ReplyWriter(self._codec)
        self._handler: RequestHandler | AgentsHandler = self._single_handler()
        self._offer: Offer | None = None
        self._shared: SharedMemoryTransport | None = None
        #: The environments that a client may make, by the API for multi-agent environments; None for single-agent ones.
        self._listed: dict[str | None, list[messages.ListedEnv]] = {}
        self._snapshots = SnapshotHandler(self, connection, settings, status)
        #: Whether this process is a copy of one that continues, so that it must not end what both use.
        self._is_branch = False
        self._refusals = 0
        self._payload: bytes | memoryview = b""
        self.decode: Callable[[bytes | memoryview], all_messages.Request] = self._decode_make
        self.send = self._replies.send
        self.handlers: dict[type, Callable[[Any], Any]] = {}
        self._set_handlers()

    def _single_handler(self) -> RequestHandler:
        return RequestHandler(
            self._codec, self._settings, self._status, self._check_client, self._replies.tell_reward_type
        )

    def _set_handlers(self) -> None:
        """Set the handler of each type of request in the session loop's dictionary."""
        self.handlers.update(dict.fromkeys(get_args(all_messages.Request), self._unsuitable))
        self.handlers.update(self._handler.handlers)
        self.handlers |= self._snapshots.handlers
        own: dict[type, Callable[[Any], Any]] = {
            make_messages.Make: self._make,
            agent_messages.MakeAgents: self._make,
            messages.Share: self._share,
            messages.Envs: self._envs,
            Resume: self._refuse_resume,
        }
        for request, handle in own.items():
            self.handlers[request] = partial(self._handle, handle)
        self.handlers[messages.Close] = self._close

    def _handle(self, handle: Callable[[Any], Any], request: Any) -> Any:
        """Handle a request of the session itself, and count it as activity; a refusal counts, too."""
        reply = handle(request)
        self._status.end()
        return reply

    def _use_handler_for(
        self, request: make_messages.Make | agent_messages.MakeAgents
    ) -> RequestHandler | AgentsHandler:
        """Replace the handler if the request is for the other kind of environment."""
        if isinstance(request, make_messages.Make) != isinstance(self._handler, RequestHandler):
            if isinstance(request, make_messages.Make):
                self._handler = self._single_handler()
            else:
                # Few sessions need this import.
                from gymtwist.worker.agents_handler import AgentsHandler

                self._handler = AgentsHandler(self._codec, self._settings, self._status)
            self._set_handlers()
        return self._handler

    def _unsuitable(self, request: all_messages.Request) -> None:
        """Refuse a request for another kind of environment."""
        operation = tag_of(request)
        self._handler.check_made(f'"{operation}"')
        several = (
            "environments of one agent"
            if operation in ("reset", "step", "step_many", "sample")
            else "multi-agent environments"
        )
        raise RequestError(f'"{operation}" is for {several}; this session has another')

    def open(self, handshake: bytes, trailing_data: bytes) -> None:
        """Answer the handshake, the frame of a ``make`` or ``envs`` message.

        Raises:
            ProtocolError: The handshake is not one of these.
        """
        self._receive_frames(trailing_data)
        request = self._first_request(handshake)
        try:
            if isinstance(request, messages.Envs):
                reply = self._replies.encode(self._envs(request))
            elif isinstance(request, (make_messages.Make, agent_messages.MakeAgents)):
                reply = self._reply_to_make(request)
            else:
                raise ProtocolError("the handshake is neither a make, a make_agents nor an envs message")
        except (RequestError, EnvironmentFault) as error:
            self._leave_if_out_of_memory(error)
            reply = self._replies.encode(error_message(error))
        self._status.end()
        with self._status.answering():
            self.transport.send_parts(reply)
        self._outlive_connection()

    def resume(self, recovery_reply: bytes, trailing_data: bytes) -> None:
        """Resume the session of a process that has died.

        Args:
            recovery_reply: The frame of an error, the reply to the pending request.
            trailing_data: The bytes that the server received after the handshake.
        """
        # Do not send the reply again if this process dies, too.
        self._status.words[ANSWERED] = 1.0
        self._status.end()
        # The client sends again what was lost with the connection.
        is_resumable = self._status.outlives_connection and self._channel is not None
        self._receive_frames(b"" if is_resumable else trailing_data + self._recovery.pending())
        if isinstance(self._socket, FrameTransport):
            # The process that died may have left doorbells unread.
            self._socket.skips_doorbells()
        payload = self._recovery.make()
        request = None if payload is None else self._codec.decode_request(payload)
        if isinstance(request, (make_messages.Make, agent_messages.MakeAgents)):
            handler: Any = self._use_handler_for(request)
            handler.resume(request)
            self.decode = self._codec.decode_request
        if is_resumable:
            self._is_resumable = True
            self._outlive_connection(self._status.requests)
            payload_of = without_header if self._codec.framing.is_websocket else bytes
            self.transport.send_parts([payload_of(recovery_reply)])
        else:
            self._connection.sendall(recovery_reply)

    # The connections of a session that outlives them

    def _outlive_connection(self, requests: int = 0) -> None:
        """From now on, wait for a new connection when this one is lost, if the session is resumable.

        Args:
            requests: How many requests were received; the last is not answered yet.
        """
        if self._is_resumable and self._channel is not None:
            parts = self.transport, self._channel, self._status, self
            self._resumable = ResumableTransport(*parts, requests, max(0, requests - 1))
            self.transport = self._replies.transport = self._resumable

    def drop_connection(self) -> None:
        """Close the connection, which has ended; see :class:`~gymtwist.worker.resumable_transport.Connector`."""
        if isinstance(self._socket, WebSocketTransport):
            self._socket.end()
        self._connection.close()

    def use_connection(self, found: Reconnection) -> Transport:
        """Return the transport of a new connection; see :class:`~gymtwist.worker.resumable_transport.Connector`."""
        self._connection = found.connection
        self._snapshots.use_connection(found.connection)
        self._receive_frames(found.trailing_data)
        # A new connection counts as activity.
        self._status.end()
        return self._socket

    def answer_resume(self, transport: Transport, answer: int | RepliesLost, *, is_new: bool = False) -> None:
        """Tell a client how many requests were received, or that the session cannot continue."""
        if is_new:
            self._replies.forget_client()
        reply = Resumed(answer, self._status.takeovers) if isinstance(answer, int) else error_message(answer)
        transport.send_parts(self._replies.encode(reply))

    @property
    def was_closed_for_good(self) -> bool:
        """Whether the client has closed its connection for good."""
        return isinstance(self._socket, WebSocketTransport) and self._socket.was_closed_for_good

    def _refuse_resume(self, request: Resume) -> None:
        raise RequestError("resume is the first message of a connection; open another one for it")

    def _note(self, notes: list[str]) -> None:
        self._replies.warn(notes)

    def _receive_frames(self, received: bytes) -> None:
        framing = self._codec.framing
        receive = receiver(self._connection, self._settings.poll, self._status)
        if framing.is_websocket:
            opcode = OPCODES[ProtocolName(framing.value)]
            self._socket = WebSocketTransport(self._connection, opcode, received, self._recovery, receive, self._status)
        else:
            reader = FrameReader(framing, received, borrowed=self._recovery.buffer)
            self._socket = FrameTransport(self._connection, reader, self._recovery, receive)
        self._socket.limit_requests(self._settings.max_frame)
        self._use(self._socket)

    def _use(self, transport: Transport) -> None:
        if self._resumable is not None:
            self._resumable.inner = transport
        else:
            self.transport = self._replies.transport = transport

    def _share_by(self, transport: SharedMemoryTransport | None) -> None:
        """Use shared memory from now on, and release the previous one; None to stop sharing."""
        before, self._shared = self._shared, transport
        if before is not None:
            before.release()
        if transport is not None:
            self._use(transport)

    def _check_client(self) -> None:
        """Raise a ConnectionError if the connection is closed; the server closes it when the client leaves."""
        if self._is_resumable and self._channel is not None:
            if self._channel.has_ended:
                raise ConnectionError("the session is to end")
            return
        poll = select.poll()
        poll.register(self._connection, 0)
        if poll.poll(0):
            raise ConnectionError("the connection is closed")

    def refuse(self, error: RequestError | EnvironmentFault) -> None:
        """Answer a request with an error; the session continues."""
        self._handler.locate(error)
        if isinstance(error, EnvironmentFault):
            reset_needed = self._handler.failed(error)
            if reset_needed or self._handler.state is State.UNMADE:
                self._leave_if_out_of_memory(error)
        else:
            reset_needed = isinstance(error, ResetNeeded)
        self._send_error(error, reset_needed=reset_needed)

    def _leave_if_out_of_memory(self, error: RequestError | EnvironmentFault) -> None:
        """End a process that has run out of memory; another one resumes the session, and answers the request."""
        if ran_out_of_memory(error, self._status):
            self._status.begin(self._status.operation)  # the server owes the client a reply
            process_control.leave(1)

    def final_reply(self, error: GymtwistError) -> None:
        """Answer with an error that ends the session; only an OSError leaves a reply incomplete."""
        if isinstance(error, LimitExceeded) and self._settings.max_frame < MAX_FRAME:
            error = LimitExceeded(f"{error} by the operator of the server (max-frame)")
        if not isinstance(error, WebSocketError):
            self._send_error(error)
        if isinstance(self._socket, WebSocketTransport):
            self._socket.close(close_code(error), str(error))
        self._status.words[ANSWERED] = 1.0  # the server has nothing to add

    def _send_error(self, error: GymtwistError, *, reset_needed: bool = False) -> None:
        # A refused request counts as activity, too.
        self._status.end()
        self.transport.send_parts(self._replies.encode(error_message(error, reset_needed=reset_needed)))

    def close(self) -> None:
        """Close the environment, and let no other process resume the session."""
        self._recovery.end()
        if isinstance(self._socket, WebSocketTransport):
            self._socket.end()
        if self._offer is not None:
            self._offer.close()
        self._share_by(None)
        self._close_environment()
        if self._channel is not None:
            self._connection.close()
            self._channel.close()

    def _close_environment(self) -> None:
        if not self._is_branch:
            self._handler.close()

    # Copies of this process

    @property
    def handler(self) -> RequestHandler | AgentsHandler:
        """The handler of requests for the environment."""
        return self._handler

    def warn(self, texts: list[str]) -> None:
        """Send warnings along with the reply."""
        self._replies.warn(texts)

    @property
    def sockets(self) -> set[int]:
        """The descriptors of this process's sockets for the client."""
        channel = set() if self._channel is None else {self._channel.fileno()}
        return {self._connection.fileno()} | channel

    def disconnect(self) -> None:
        """Close the client's connection in this process only."""
        process_copy.disconnect(self._connection)

    def reconnected(self) -> None:
        """Use the client's connection again, or in a copy of the process that used it before."""
        self._socket.begin()

    def hand_over(self) -> tuple[bytes, list[int]]:
        """Return the state and the descriptors that a copy needs to use the connection in place of this process.

        Raises:
            SnapshotRefused: The client has sent too many requests ahead, or the transport cannot be handed over.
        """
        self._socket.end()
        transport = self.transport if self._resumable is None else self._resumable.inner
        if transport is not self._socket and not isinstance(transport, SharedMemoryTransport):
            raise SnapshotRefused(f"{type(transport).__name__} cannot be handed over to a copy: use the socket")
        if not self._recovery.move_pending(self._socket.buffer):
            raise SnapshotRefused("too many requests wait behind the one to restore: take their replies first")
        handover, descriptors = transport.hand_over() if isinstance(transport, SharedMemoryTransport) else (b"", [])
        if self._resumable is not None:
            try:
                descriptors.append(self._resumable.hand_over())
            except OSError as error:
                raise SnapshotRefused(f"the last replies cannot be handed over: {error.strerror}") from error
        return handover, descriptors

    def take_over(self, handover: bytes, descriptors: list[int]) -> None:
        """Use the client's connection in place of another process.

        Args:
            handover: What :meth:`hand_over` returned there.
            descriptors: The client's socket, followed by the descriptors that it returned.
        """
        process_copy.put_in_place(descriptors.pop(0), self._connection.fileno())
        if self._resumable is not None and not descriptors:
            self._receive_frames(b"")  # the client sends again what was lost
            self._resumable.go_back(self._connection)
            self._handler.count_on()
            return
        self._receive_frames(self._recovery.pending())
        if self._resumable is not None:
            self._resumable.take_over(descriptors.pop())
        if isinstance(self._socket, FrameTransport):
            self._socket.skips_doorbells()
            if handover:
                (descriptor,) = descriptors
                framing, poll = self._codec.framing, self._settings.poll
                self._share_by(SharedMemoryTransport.taken_over(self._socket, handover, descriptor, framing, poll))
        self._handler.count_on()

    def branch(
        self,
        descriptor: int,
        status: int,
        handshake: bytes,
        trailing_data: bytes,
        channel: SessionChannel | None = None,
    ) -> None:
        """Serve another session, with the environment as it is.

        Args:
            descriptor: The client's socket; it is closed here.
            status: The descriptor of the session status's memory; it is closed, too.
            handshake: The make message of the session.
            trailing_data: The bytes received after it.
            channel: Hands over a new connection when this one is lost; None if the session then ends.

        Raises:
            RequestError: The message differs from the one by which the environment was made.
        """
        made_by = self._recovery.make() or b""
        self._is_branch = True
        self._status.replace(status)
        os.close(status)
        self._status.begin(Operation.MAKE)
        process_copy.put_in_place(descriptor, self._connection.fileno())
        self._connection.setblocking(True)
        self._replies.forget_client()
        if self._channel is not None:
            self._channel.close()  # it belongs to the other client, as does the shared memory
        self._channel, self._resumable, self._is_resumable = channel, None, False
        self._share_by(None)
        self._receive_frames(trailing_data)
        request = self._first_request(handshake)
        if not isinstance(request, make_messages.Make) or not isinstance(self._handler, RequestHandler):
            raise ProtocolError("the handshake is no make message")
        reply = self._replies.encode(self._granted(self._handler.branched(request), request))
        self._recovery.keep_make(made_by)
        self._handler.count_on()
        self._status.end()
        with self._status.answering():
            self.transport.send_parts(reply)
        self._outlive_connection()

    def _first_request(self, handshake: bytes) -> Any:
        framing = self._codec.framing
        payload = handshake if framing.is_websocket else FrameReader(framing, handshake).next_frame()
        return None if payload is None else self.decode(payload)

    # Handlers of requests that do not concern the environment alone

    def _decode_make(self, payload: bytes | memoryview) -> all_messages.Request:
        """Decode requests until there is an environment, and keep the payload, which may be a make message."""
        self._payload = payload
        return self._codec.decode_request(payload)

    def _make(self, request: make_messages.Make | agent_messages.MakeAgents) -> None:
        self.transport.send_parts(self._reply_to_make(request))
        self._outlive_connection()

    def _reply_to_make(self, request: make_messages.Make | agent_messages.MakeAgents) -> Parts:
        """Make the environment, and keep the message so that another process can make it again."""
        self._handler.check_unmade()
        try:
            return self._reply_to_first_make(request)
        except RequestError as error:
            self._print_refusal(error)
            raise

    def _print_refusal(self, error: RequestError) -> None:
        """Log why no environment was made, up to a limit: a client may retry without end."""
        self._refusals += 1
        if self._refusals <= _MOST_REFUSALS_PRINTED:
            with contextlib.suppress(Exception):  # an environment may have closed standard error
                print(f"not made: {error}"[:_REFUSAL_LENGTH], file=sys.stderr, flush=True)

    def _reply_to_first_make(self, request: make_messages.Make | agent_messages.MakeAgents) -> Parts:
        if len(self._payload) > MAX_MAKE:
            raise InvalidField(f"a make message of {len(self._payload)} bytes; it may have {MAX_MAKE}")
        handler: Any = self._use_handler_for(request)
        made = self._granted(handler.make(request), request)
        try:
            reply = self._replies.encode(made)
        except EnvironmentFault:
            # The client never learns of this environment, but may ask for another.
            handler.unmake()
            raise
        self._recovery.keep_make(self._payload)
        self.decode, self._payload = self._codec.decode_request, b""
        return reply

    def _granted(self, made: Any, request: Any) -> Any:
        """Return the reply to ``make`` with the secret of a session that may outlive its connection."""
        self._is_resumable = request.resume is not None and self._channel is not None
        # Set before the client has the secret and can use it.
        self._status.words[OUTLIVES] = float(self._is_resumable)
        if self._channel is None or not self._is_resumable:
            return made
        return msgspec.structs.replace(made, resume=self._channel.granted)

    def _share(self, request: messages.Share) -> None:
        """Share memory with the client: the first request asks for an address, the second comes after the descriptor.

        Raises:
            SharingRefused: Memory cannot be shared.
            NoEnvironment: No environment was made.
        """
        self._handler.check_made("you share memory")
        offer, self._offer = self._offer, None
        if offer is not None and request.request_room is None:
            offer.close()
        if not isinstance(self._socket, FrameTransport):
            raise SharingRefused("memory is not shared over WebSocket; go on without")
        if not self._settings.shared_memory:
            raise SharingRefused("the operator of this server does not allow shared memory; go on without")
        if request.request_room is None or request.reply_room is None:
            self._offer = Offer()
            self.send(self._offer.reply())
        else:
            if offer is None:
                raise SharingRefused("no memory was offered; send a share message without rooms first")
            memory, descriptor = offer.accept(request.request_room, request.reply_room)
            self.send(messages.Shared())
            framing, poll = self._codec.framing, self._settings.poll
            self._share_by(SharedMemoryTransport(self._socket, memory, framing, poll, descriptor))

    def _envs(self, request: messages.Envs) -> messages.EnvsListed:
        """List environments that the client may make."""
        listed = self._listed.get(request.api)
        if listed is None:
            allows = AllowList(self._settings.allow).allows
            found = find_listed(allows) if request.api is None else agent_environments.find_listed(request.api, allows)
            listed = self._listed[request.api] = [
                messages.ListedEnv(**each._asdict())
                for each in found
                if max(len(each.id), len(each.library)) <= messages.MAX_ID
            ]
        start = bisect.bisect_right(listed, request.after, key=lambda each: each.id)
        stop = start + request.count
        return messages.EnvsListed(tuple(listed[start:stop]), stop < len(listed), f"gymtwist {gymtwist.__version__}")

    def _close(self, request: messages.Close) -> None:
        """Close the environment, answer and end the session.

        Raises:
            ConnectionError: Always: the client has closed the session.
        """
        self._recovery.end()
        self._close_environment()
        # From now on, nobody can resume the session, although the server does not yet know that it has ended.
        self._status.words[OUTLIVES] = 0.0
        self.send(messages.Closed())
        if isinstance(self._socket, WebSocketTransport):
            self._socket.close(CloseCode.NORMAL)
        raise ConnectionError("the client closed the session")
