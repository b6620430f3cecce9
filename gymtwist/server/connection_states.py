"""The states of a connection, and which may follow which."""

from __future__ import annotations

import enum


class State(enum.Enum):
    """Where a connection is on its way."""

    OPENING = enum.auto()  # its first message is read
    WAITING = enum.auto()  # there is no room yet
    SERVING = enum.auto()  # a child has it
    ENDING = enum.auto()  # a child has it and is to close the environment, or is being killed
    GONE = enum.auto()  # relayed, and the client has left; a child is to learn of it and close the environment
    FLUSHING = enum.auto()  # relayed, and the child has finished; what it sent is still under way
    CLOSING = enum.auto()  # the last words are sent, and what the client still sends is dropped
    CLOSED = enum.auto()


#: Where a connection can go from each state.
MOVES = {
    State.OPENING: {State.WAITING, State.SERVING, State.CLOSING, State.CLOSED},
    State.WAITING: {State.SERVING, State.CLOSING, State.CLOSED},
    State.SERVING: {State.ENDING, State.GONE, State.FLUSHING, State.CLOSING},
    State.ENDING: {State.GONE, State.FLUSHING, State.CLOSING},
    State.GONE: {State.CLOSED},
    State.FLUSHING: {State.CLOSING, State.CLOSED},
    State.CLOSING: {State.CLOSED},
    State.CLOSED: set(),
}
