"""The states of a client's connection, and the events that may change them.

``GymProtocol.TRANSITIONS`` in :mod:`~gymtwist.server.gym_protocol` says what each event does in each state.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """The state of a connection."""

    HANDSHAKE = enum.auto()  # its first message is being read
    DELAYED = enum.auto()  # its token was refused, and it waits for the reply
    QUEUED = enum.auto()  # it waits for another session to end
    HTTP = enum.auto()  # the site answers its requests
    SERVING = enum.auto()  # a worker serves it
    ENDING = enum.auto()  # its worker is to close the environment, or is being killed
    LEAVING = enum.auto()  # likewise, and its worker may tell the client first
    ABANDONED = enum.auto()  # relayed, and the client has left; its worker is to close the environment
    FLUSHING = enum.auto()  # relayed, and its worker has finished; what that sent is on its way to the client
    CLOSING = enum.auto()  # the final reply is sent; what the client still sends is dropped
    CLOSED = enum.auto()


class Event(enum.Enum):
    """An event in the life of a connection, with its argument if it has one."""

    DATA = enum.auto()  # bytes came from the client (bytes)
    LOST = enum.auto()  # the connection is closed, by either side (reason)
    TIMEOUT = enum.auto()  # the timer has fired
    STOP = enum.auto()  # the server is shutting down (reason)
    DROP = enum.auto()  # it has no session, and there are too many such connections
    HTTP = enum.auto()  # its first bytes are an HTTP request
    DISMISS = enum.auto()  # it gets no session, and a last answer (bytes)
    # Identities
    DELAY = enum.auto()  # its token is refused (error)
    # Admission
    QUEUE = enum.auto()  # too many sessions run
    ADMIT = enum.auto()  # its session can begin
    REFUSE = enum.auto()  # it gets no session (error)
    RECONNECT = enum.auto()  # it goes on with a session whose connection was lost
    # The watchdog
    HANG_UP = enum.auto()  # the client is idle or has vanished (reason)
    TAKE_LEAVE = enum.auto()  # the worker may tell the client why
    KILL = enum.auto()  # the environment does not return (reason)
    KILL_AND_RESUME = enum.auto()  # the same, but another worker can continue (reason)
    # The session
    RESUMED = enum.auto()  # another worker serves it
    TAKEN = enum.auto()  # another connection of the client has it
    FINISHED = enum.auto()  # the session has ended, or waits for another connection (final reply)
    FINISHED_UNFLUSHED = enum.auto()  # the same, but the relay may have bytes for the client (final reply)
    RELAY_CLOSED = enum.auto()  # the relay has passed on everything that the worker sent
