"""The environments that clients may ask for. The server imports none: it asks sessions to list and describe them."""

from __future__ import annotations

import collections
from functools import partial
from typing import Any

from twisted.internet import defer

from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.framing import ProtocolName
from gymtwist.server.identities import Identity
from gymtwist.web.played_session import PlayedSession, RequestFailed, open_session

#: How many descriptions are kept, and how many are requested at a time for one identity.
_KEPT, _AT_ONCE = 100, 2
#: The client of these sessions in the log.
_CLIENT = "the web page"


class EnvironmentCatalogue:
    """Asks sessions about environments, and keeps their answers.

    Args:
        factory: What the connections of the server share.
    """

    def __init__(self, factory: Any) -> None:
        self._factory = factory
        self._listed: dict[str, list[messages.ListedEnv]] = {}
        self._made: collections.OrderedDict[tuple[str, str], bytes] = collections.OrderedDict()
        #: One semaphore per identity, since an environment may take minutes to make.
        self._places = collections.defaultdict[str, defer.DeferredSemaphore](lambda: defer.DeferredSemaphore(_AT_ONCE))
        factory.when_applied.append(self._forget)

    def _forget(self) -> None:
        """Forget the answers of sessions with earlier options."""
        self._listed, self._made = {}, collections.OrderedDict()  # answers still to come go to the old dictionaries

    def listed(self, identity: Identity) -> defer.Deferred[list[messages.ListedEnv]]:
        """Return a Deferred that fires with all environments that a client may ask for, sorted by id."""
        return self._places[identity.name].run(self._list, identity)

    @defer.inlineCallbacks
    def _list(self, identity: Identity) -> Any:
        if identity.name in self._listed:
            return self._listed[identity.name]
        session = open_session(self._factory, _CLIENT, ProtocolName.NETSTRING, identity)
        try:
            found: list[messages.ListedEnv] = []
            more = True
            while more:
                after = found[-1].id if found else ""
                answer = yield session.ask(messages.Envs(after), messages.EnvsListed)
                found += answer.envs
                more = answer.more and bool(answer.envs)
        finally:
            session.abort()
        self._listed[identity.name] = found
        return found

    def described(self, name: str, identity: Identity) -> defer.Deferred[bytes]:
        """Return a Deferred that fires with the reply to make for an environment, as JSON.

        It fails with a :class:`~gymtwist.web.played_session.RequestFailed` if the environment cannot be made.
        """
        return self._places[identity.name].run(self._describe, name, identity)

    @defer.inlineCallbacks
    def _describe(self, name: str, identity: Identity) -> Any:
        key = (identity.name, name)
        if key in self._made:
            self._made.move_to_end(key)
            return self._made[key]
        session = open_session(self._factory, _CLIENT, ProtocolName.NETSTRING, identity)
        try:
            frame = b"".join(session.codec.encode_request(make_messages.Make(name)))
            encoded = yield session.send(frame, partial(_payload, session))
        finally:
            session.abort()
        self._made[key] = encoded
        if len(self._made) > _KEPT:
            self._made.popitem(last=False)
        return encoded


def _payload(session: PlayedSession, payload: memoryview) -> bytes:
    """Return the JSON of a reply unchanged."""
    reply = session.codec.decode_reply(payload)
    if isinstance(reply, messages.Error):
        raise RequestFailed(reply)
    return bytes(payload)
