"""Waits for the sockets of all relays, in place of the reactor while nothing else happens.

An iteration of Twisted's reactor is cheap while its code is in the processor's caches. But an environment computes
between two frames, which evicts that code. So the reactor calls this loop once; it relays and waits by itself until the
reactor has something to do.
"""

from __future__ import annotations

import select
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from gymtwist.server.server_log import log

_IN, _OUT = select.EPOLLIN, select.EPOLLOUT


def relay_loop(reactor: Any) -> Any:
    """Return what relays register their sockets with: their own loop, or the reactor if that does not use ``epoll``."""
    # This private attribute is needed because Twisted has no public access to the descriptor on which its reactor
    # waits. Registering all readers and writers of the reactor here would cost a call per connection whenever the loop
    # begins.
    poller = getattr(reactor, "_poller", None)
    return RelayLoop(reactor, poller.fileno()) if isinstance(poller, select.epoll) else reactor


@implementer(IReadDescriptor)
class RelayLoop:
    """Watches sockets, with the same methods as a reactor.

    Args:
        reactor: The reactor.
        waiting: The descriptor that the reactor waits on; it is readable when the reactor has something to do.
    """

    def __init__(self, reactor: Any, waiting: int) -> None:
        self._reactor = reactor
        self._waiting = waiting
        self._epoll = select.epoll()
        #: The sockets by descriptor, with the events that they wait for.
        self._watched: dict[int, tuple[Any, int]] = {}

    # The methods of a reactor

    def addReader(self, end: Any) -> None:  # noqa: N802 # Twisted's name
        """Watch a socket for data to read."""
        self._watch(end, _IN, 0)

    def addWriter(self, end: Any) -> None:  # noqa: N802 # Twisted's name
        """Watch a socket for room to write."""
        self._watch(end, _OUT, 0)

    def removeReader(self, end: Any) -> None:  # noqa: N802 # Twisted's name
        """Stop watching a socket for data."""
        self._watch(end, 0, _IN)

    def removeWriter(self, end: Any) -> None:  # noqa: N802 # Twisted's name
        """Stop watching a socket for room."""
        self._watch(end, 0, _OUT)

    def _watch(self, end: Any, more: int, less: int) -> None:
        descriptor = end.fileno()
        _, before = self._watched.get(descriptor, (end, 0))
        events = (before | more) & ~less
        if events == before:
            return
        if not before:
            if not self._watched:
                self._reactor.addReader(self)
            self._epoll.register(descriptor, events)
        elif events:
            self._epoll.modify(descriptor, events)
        else:
            self._epoll.unregister(descriptor)
            del self._watched[descriptor]
            if not self._watched:
                self._reactor.removeReader(self)
            return
        self._watched[descriptor] = end, events

    # Called by the reactor

    def logPrefix(self) -> str:
        """Return the name for the reactor's log."""
        return "relay"

    def fileno(self) -> int:
        """Return the descriptor, which is readable when a socket is ready."""
        return self._epoll.fileno()

    def doRead(self) -> None:
        """Relay until the reactor has something to do."""
        # The two epoll descriptors cannot watch each other at the same time.
        self._reactor.removeReader(self)
        self._epoll.register(self._waiting, _IN)
        try:
            while self._turn():
                pass
        finally:
            self._epoll.unregister(self._waiting)
            if self._watched:
                self._reactor.addReader(self)

    def _turn(self) -> bool:
        """Wait for events, and handle them; return whether to continue."""
        left = self._reactor.timeout()
        ready = self._epoll.poll(-1 if left is None else left)
        goes_on = bool(ready)
        for descriptor, event in ready:
            watched = self._watched.get(descriptor)
            if watched is not None:
                self._handle(*watched, event)
                # A handler may have stopped the reactor, which wakes up nobody.
                goes_on = goes_on and not watched[0].has_ended
            elif descriptor == self._waiting:
                goes_on = False
        return goes_on and bool(self._watched)

    def _handle(self, end: Any, wanted: int, event: int) -> None:
        try:
            if wanted & _IN and event & ~_OUT:
                end.doRead()
            if wanted & _OUT and event & ~_IN and end.fileno() in self._watched:
                end.doWrite()
        except Exception:
            failure = Failure()
            log.failure("A relay failed", failure=failure)
            end.connectionLost(failure)

    def connectionLost(self, reason: Failure) -> None:
        """End all relays; called by the reactor when it stops."""
        for end, _ in list(self._watched.values()):
            end.connectionLost(reason)
