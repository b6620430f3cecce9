"""The states of a client's connection, and the events that may change them.

``GymProtocol.TRANSITIONS`` in :mod:`~gymtwist.server.gym_protocol` says what each event does in each state.
"""

from __future__ import annotations

import enum


class State(enum.Enum):
    """The state of a connection."""

    HANDSHAKE = enum.auto()  # the client's first message is being read
    DELAYED = enum.auto()  # its token was refused; the reply is delayed
    QUEUED = enum.auto()  # waiting for another session to end
    HTTP = enum.auto()  # the site answers its requests
    SERVING = enum.auto()  # a worker serves it
    ENDING = enum.auto()  # the worker must close the environment, or is being killed
    LEAVING = enum.auto()  # likewise, but the worker may first tell the client
    ABANDONED = enum.auto()  # relayed, and the client has left; the worker must close the environment
    FLUSHING = enum.auto()  # relayed, and the worker has finished; its last output is on its way to the client
    CLOSING = enum.auto()  # the final reply is sent; further data from the client is dropped
    CLOSED = enum.auto()


class Event(enum.Enum):
    """An event in the life of a connection; its argument, if any, is in parentheses."""

    DATA = enum.auto()  # bytes arrived from the client (bytes)
    LOST = enum.auto()  # either side has closed the connection (reason)
    TIMEOUT = enum.auto()  # the timer has fired
    STOP = enum.auto()  # the server is shutting down (reason)
    DROP = enum.auto()  # there are too many connections without a session, and this is one
    HTTP = enum.auto()  # its first bytes are an HTTP request
    DISMISS = enum.auto()  # it gets no session, only a final answer (bytes)
    # Identities
    DELAY = enum.auto()  # its token was refused (error)
    # Admission
    QUEUE = enum.auto()  # too many sessions are running
    ADMIT = enum.auto()  # its session can begin
    REFUSE = enum.auto()  # it gets no session (error)
    RECONNECT = enum.auto()  # it resumes a session whose connection was lost
    # The watchdog
    HANG_UP = enum.auto()  # the client is idle or has vanished (reason)
    TAKE_LEAVE = enum.auto()  # the worker may tell the client why it is disconnected
    KILL = enum.auto()  # the environment does not return (reason)
    KILL_AND_RESUME = enum.auto()  # likewise, but another worker can continue (reason)
    # The session
    RESUMED = enum.auto()  # another worker serves it
    TAKEN = enum.auto()  # another connection of the client has the session now
    FINISHED = enum.auto()  # the session has ended, or waits for another connection (final reply)
    FINISHED_UNFLUSHED = enum.auto()  # likewise, but the relay may still have bytes for the client (final reply)
    RELAY_CLOSED = enum.auto()  # the relay has passed on everything that the worker sent
