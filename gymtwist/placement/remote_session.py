"""A session whose worker is on a node: the front relays its bytes, and moves it to another node if this one is lost."""

from __future__ import annotations

import collections
import enum
import os
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from twisted.internet import defer
from twisted.python.failure import Failure

from gymtwist.error_texts import RESET_TO_CONTINUE
from gymtwist.errors import EnvironmentFault, WorkerStartError
from gymtwist.placement.conversation import MOST_KEPT, Conversation
from gymtwist.placement.frame_counter import FrameCounter, NoFrame, counter_for
from gymtwist.placement.node import Node, NodeState
from gymtwist.placement.node_commands import TICKET_TIMEOUT
from gymtwist.placement.node_place import NodePlace
from gymtwist.placement.node_resources import Demand
from gymtwist.placement.session_relay import RelayEnd
from gymtwist.protocol.framing import ProtocolName
from gymtwist.protocol.handshake import error_reply, moved_reply, read_handshake
from gymtwist.server.worker_process import WorkerExited
from gymtwist.worker.session_status import ANSWERED, OPERATION, TAKEN, Operation, SessionStatus

#: How many nodes are tried if each is lost before the client has got anything.
MAX_ATTEMPTS = 3
#: Seconds that a node has to end a session whose client has left.
_LEAVE_TIMEOUT = 40.0
#: Seconds that a client has to take the last bytes of its session.
_FLUSH_TIMEOUT = 5.0
#: Seconds between the report that a session has ended and the end of its connection.
_END_TIMEOUT = 10.0


class State(enum.Enum):
    """Where a session is."""

    WAITING = enum.auto()  # no node has room for it
    CONNECTING = enum.auto()  # the node was told, and the connection to it is being made
    PLAYING = enum.auto()  # the node has it
    DIRECT = enum.auto()  # the same, and the client was told to connect to the node
    ORPHANED = enum.auto()  # its node is lost, and the client has not noticed: it waits for nothing
    ENDED = enum.auto()


class NodeLost(WorkerExited):
    """A worker was lost together with its node; as a string, a clause that says how.

    Args:
        how: The clause.
    """

    def __init__(self, how: str) -> None:
        super().__init__(None)
        self._how = how

    def __str__(self) -> str:
        return self._how


class _Output:
    """What the processes of a session have printed; the node logs it."""

    def __init__(self) -> None:
        self.source = ""
        self.kept: collections.deque[str] = collections.deque(maxlen=0)


class _RemoteLink:
    """In place of the link with a worker."""

    responsive = False


class RemoteSession:
    """One session on a node; for :class:`~gymtwist.server.server_session.Session` it is the worker.

    Args:
        reactor: The reactor.
        relays: What watches the sockets of relays: a :class:`~.relay_loop.RelayLoop`, or the reactor.
        job: The arguments of :class:`~gymtwist.worker.amp_commands.Serve`.
        find_node: Called with this session to find a node for it.

    Attributes:
        answer: Fires with the answer to ``Serve``.
        output: What it has printed.
        link: Whether it is known to answer.
        pid: Fires with None: the process is not one of this machine.
        end: The descriptor of its link: none, so 0.
        finished: Fires when it has ended.
        used: The memory that its process holds, and the processor time that it had.
        state: Where it is.
        demand: What it takes of a node.
        session: The session whose worker it is.
    """

    session: Any
    end = 0

    def __init__(
        self, reactor: Any, relays: Any, job: dict[str, Any], find_node: Callable[[RemoteSession], None]
    ) -> None:
        self.answer: defer.Deferred[dict[str, Any]] = defer.Deferred()
        self.output, self.link = _Output(), _RemoteLink()
        self.pid: defer.Deferred[int | None] = defer.Deferred()
        self.finished: defer.Deferred[str] = defer.Deferred()
        self.used = (0, 0.0)
        self.state = State.WAITING
        self.demand = Demand()
        self._place: NodePlace | None = None
        self._reactor, self._relays = reactor, relays
        self._find_node = find_node
        self._job = job
        self._protocol = ProtocolName(job["protocol"].decode())
        self._conversation = Conversation(self._protocol, job["handshake"])
        self._status = SessionStatus(job["status"])
        self._recovery_reply = b""
        self._attempts = 0
        self._unread = bytearray(job["trailing_data"])
        self._worker: RelayEnd | None = None
        self._timer: Any = None
        self._report: dict[str, Any] | None = None
        end = socket.socket(fileno=os.dup(job["socket"]))
        end.setblocking(False)
        self._client = RelayEnd(relays, end, self._from_client, self._client_ended)
        #: Counts the request that a client has sent in vain on its connection to the node.
        self._dropped: FrameCounter | None = None
        self._handshake = _direct_handshake(self._protocol, job["handshake"]) if not self._unread else None
        self._how = ""
        if self._unread:
            self._conversation.requested(memoryview(bytes(self._unread)))

    @property
    def node(self) -> Node | None:
        """The node that it is on."""
        return None if self._place is None else self._place.node

    @property
    def place(self) -> str:
        """The name of that node."""
        return "" if self.node is None else self.node.info.name

    def start(self) -> None:
        """Find a node."""
        self._client.start()
        self._find_node(self)

    # A node

    def begin_on(self, node: Node) -> None:
        """Begin on a node, or go on there."""
        self.state = State.CONNECTING
        place = self._place = NodePlace(self._reactor, node, self, self.demand, self._join, self._lost_if_connecting)
        if not self.pid.called:
            self.pid.callback(None)
        self.session.found_place()
        self._attempts += 1
        self._stop_timer()
        place.when_open(partial(self._announce, place))

    def _announce(self, place: NodePlace) -> None:
        """Tell the node of the session, and connect to it."""
        if self._handshake is None:
            place.connect()
        place.announce(
            self._redirect,
            session=self._job["session"],
            protocol=self._job["protocol"],
            handshake=self._job["handshake"],
            recovery_reply=self._recovery_reply,
            make=self._conversation.make if self._recovery_reply else b"",
            overrides=self._overrides(place),
        )

    def _overrides(self, place: NodePlace) -> bytes:
        """Return the settings that differ; a client that connects to the node itself may be on its machine."""
        overrides: bytes = self._job["overrides"]
        own: dict[str, Any] = {} if place.gpus is None else {"gpus": place.gpus}
        if self._handshake is not None and place.node.shares_memory:
            own["shared_memory"] = True
        if not own:
            return overrides
        settings = msgspec.json.decode(overrides) if overrides else {}
        return msgspec.json.encode(settings | own)

    # A client that connects to the node itself

    def _redirect(self) -> None:
        """Tell the client where its session is, if it is to connect there itself, and wait for the session to end."""
        place = self._place
        if self._handshake is None or self.state is not State.CONNECTING or place is None:
            return
        self.state = State.DIRECT
        host, port = place.node.info.host, place.node.info.port
        self._client.write(moved_reply(self._protocol, host, port, place.ticket.decode()))
        if self._client.has_ended:
            self._client_ended()

    def _come_back(self) -> None:
        """Relay from now on: the client could not connect to the node, or has lost its connection."""
        handshake, unread = self._handshake, self._unread
        assert handshake is not None
        is_again = self._dropped is None and unread.startswith(handshake)
        if is_again:
            end = len(handshake)
        elif self._dropped is None and handshake.startswith(unread):
            return  # more of it may come
        else:
            found = self._drop_request()
            if not found:
                return
            end = found[0]
            self._conversation.take_over()
        del unread[:end]
        self._handshake = None
        self._conversation.requested(memoryview(bytes(unread)))
        unread[:] = self._conversation.unread()
        if self._place is None:
            if is_again:
                self._begin_again(self._how)
            else:
                self._resume()
        elif is_again:
            self.state = State.CONNECTING
            self._place.connect()
        else:
            self._place.end(kill=True)
            self.lost("the client has lost its connection there")

    def _drop_request(self) -> list[int]:
        """Drop a request, which an error answers, however long it is; return where requests end in what is left."""
        counter = self._dropped = self._dropped or counter_for(self._protocol)
        assert counter is not None  # only protocols with frames have direct connections
        try:
            ends = counter.ends(memoryview(bytes(self._unread)))
        except NoFrame:
            self._finish("the client broke the protocol")
            return []
        if not ends:
            self._unread.clear()
        return ends

    def ticket_expired(self) -> None:
        """The node waits for no connection any more."""
        if self.state is State.CONNECTING:
            self.lost(f"no connection was made within {TICKET_TIMEOUT:g} s")
        else:
            self.give_up(f"the client did not connect to the node within {TICKET_TIMEOUT:g} s")

    def _join(self, connection: socket.socket) -> None:
        """Begin to relay."""
        assert self._place is not None
        self.state = State.PLAYING
        self._recovery_reply = b""
        worker = self._worker = RelayEnd(self._relays, connection, self._conversation.replied, self._worker_ended)
        worker.peer, self._client.peer = self._client, worker
        self._client.seen = self._conversation.requested
        self._client.start()
        worker.write(self._place.ticket + b"\n" + self._unread)
        self._unread.clear()
        worker.start()
        if self._client.has_ended:
            worker.end_writing()

    def _lost_if_connecting(self, how: str) -> None:
        if self.state is State.CONNECTING:
            self.lost(how)

    # What crosses the relay

    def _from_client(self, data: memoryview) -> None:
        if self._handshake is not None:
            self._unread += data
            if self.state in (State.DIRECT, State.ORPHANED):
                self._come_back()
        else:
            self._conversation.requested(data)
            if self.state is not State.ORPHANED:
                self._unread += data
            elif self._conversation.is_owed_reply:
                self._resume()
            elif not self._conversation.can_go_on:
                self._fail(self._how)
        if len(self._unread) > MOST_KEPT:
            self._client.pause()  # until there is a node

    def _client_ended(self) -> None:
        if self.state is State.PLAYING and self._worker is not None:
            self._worker.end_writing()
        elif self.state is State.DIRECT and self._place is not None:
            self._place.end(kill=False)
            self._start_timer(_LEAVE_TIMEOUT, lambda: self._finish("the client left"))
        elif self.state is not State.CONNECTING or self.node is None or self.node.state is not NodeState.OPEN:
            self._finish("the client left")

    def _worker_ended(self) -> None:
        """The node has closed the connection: it has ended the session, or it is lost, which the link shows."""
        if self._report is not None:
            self._flush()
        elif not self._conversation.has_spoken:
            self.lost("it does not take the ticket")

    def node_reported(
        self, now: float, words: bytes, processor_time: float, memory: int = 0, reason: str | None = None
    ) -> None:
        """Note what the session has done, and that it has ended; what it has sent may still be on its way.

        Args:
            now: The time of the node's clock.
            words: What its status tells.
            processor_time: The processor time that its process had.
            memory: The memory that it holds.
            reason: Why it has ended; None if it has not.
        """
        self._status.take_over(words, time.monotonic() - now)
        self.used = (memory, processor_time)
        if reason is None:
            return
        self._report = {"reason": reason, "processor_time": processor_time}
        if self._worker is None or self._worker.has_ended:
            self._flush()
        else:
            self._start_timer(_END_TIMEOUT, self._flush)

    def _flush(self) -> None:
        """Let the client take the last bytes."""
        assert self._report is not None
        if self.state is State.ENDED:
            return
        self._start_timer(_FLUSH_TIMEOUT, self._finish)
        self._client.when_flushed(self._finish)

    # The loss of the node

    def lost(self, how: str) -> None:
        """Go on at another node, if that is possible.

        Args:
            how: How the node was lost, as a clause.
        """
        if self.state is State.ENDED:
            return
        node = self.node
        if node is None:
            return
        if self._report is not None:
            self._flush()
            return
        self._leave_node()
        clause = f"was lost with the node {node.info.name}: {how}"
        conversation = self._conversation
        if self._client.has_ended:
            self._finish("the client left")
        elif self.state is State.DIRECT and self._handshake is not None:
            self._how = clause
            self._status.words[OPERATION] = Operation.STEP
            self.session.lost_place(clause)
            self.state = State.ORPHANED
        elif not conversation.has_spoken and not self._recovery_reply:
            self._begin_again(clause)
        elif not conversation.can_go_on or not conversation.make or conversation.has_part_of_reply:
            self._fail(clause)
        else:
            self._status.words[OPERATION] = Operation.STEP
            self.session.lost_place(clause)
            self._how = clause
            if conversation.is_owed_reply:
                self._resume()
            else:
                self.state = State.ORPHANED
                self._client.start()

    def _begin_again(self, clause: str) -> None:
        """Begin at another node: the client has noticed nothing."""
        if self._attempts >= MAX_ATTEMPTS or self._conversation.has_lost_requests:
            self._fail(clause)
            return
        self._unread[:] = self._conversation.unread()
        self.state = State.WAITING
        self._find_node(self)

    def _resume(self) -> None:
        """Have another node answer the request that the client waits for, with an error, and go on."""
        error = EnvironmentFault("step", f"the environment's process {self._how}: {RESET_TO_CONTINUE}")
        self._recovery_reply = error_reply(self._protocol, error, reset_needed=True)
        self._conversation.resume()
        self._unread[:] = self._conversation.unread()
        self._attempts = 0
        self.state = State.WAITING
        self._find_node(self)

    def _fail(self, clause: str) -> None:
        words = self._status.words
        words[OPERATION] = Operation.STEP if self._conversation.has_spoken else Operation.MAKE
        words[ANSWERED] = float(self._conversation.has_spoken)
        words[TAKEN] = -1.0  # no other worker of this machine can go on
        self._status.end()
        self._close()
        self.answer.errback(Failure(NodeLost(clause)))

    def give_up(self, reason: str) -> None:
        """End the session, which has not begun."""
        if self.state in (State.WAITING, State.DIRECT):
            self._status.words[ANSWERED] = 0.0
            self._close()
            self.answer.errback(Failure(WorkerStartError(reason)))

    # The end

    def kill(self) -> None:
        """Kill the worker."""
        if self._place is not None and self._place.node.state is NodeState.OPEN:
            self._place.end(kill=True)
        elif self.state is not State.ENDED:
            self._finish("it was ended")

    def _finish(self, reason: str = "") -> None:
        if self.state is State.ENDED:
            return
        report = self._report or {"reason": reason, "processor_time": None}
        self._status.words[ANSWERED] = 1.0  # the node has answered
        self._close()
        self.answer.callback(report)

    def _leave_node(self) -> None:
        if self._place is not None:
            self._place.leave()
            self._place = None
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._client.peer, self._client.seen = None, self._from_client

    def _close(self) -> None:
        self.state = State.ENDED
        self._stop_timer()
        self._leave_node()
        self._client.close()
        self._status.close()
        self._reactor.callLater(0, self.finished.callback, "ended")

    def _start_timer(self, seconds: float, act: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._reactor.callLater(seconds, act)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None


def _direct_handshake(protocol: ProtocolName, handshake: bytes) -> bytes | None:
    """Return the handshake if it asks for a direct connection; otherwise None."""
    if protocol not in (ProtocolName.INT32, ProtocolName.NETSTRING):
        return None
    read = read_handshake(handshake)
    return handshake if read is not None and read.direct else None
