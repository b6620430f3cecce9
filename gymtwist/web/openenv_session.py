"""One OpenEnv client: its messages, and the session that is played for it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

import msgspec
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure

from gymtwist.errors import GymtwistError
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.framing import ProtocolName
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.identities import Identity
from gymtwist.spaces.descriptions import for_json
from gymtwist.spaces.value_mismatch import shown
from gymtwist.web.openenv_values import Encoding, Observations, encode
from gymtwist.web.played_session import PlayedSession, RequestFailed, SessionEnded, open_session

_log = Logger("gymsock")
#: The names that OpenEnv environments use for the action; a step must have exactly one.
_ACTION_NAMES = ("action", "action_id", "values", "actions")
#: Other fields that some clients send with each action.
_IGNORED = frozenset(("metadata", "game_name", "obs_type", "full_action_space"))
#: Fields of ALE's info that the client of OpenEnv's Atari environment expects in the observation.
_COUNTS = ("lives", "episode_frame_number", "frame_number")
_RESET_FIRST = "there is no episode: call reset first"
#: The errors of a server that has no room.
_NO_ROOM = frozenset(("server-full", "server-stopping", "no-process"))


class Failed(Exception):
    """A message must be answered with an error.

    Args:
        code: One of OpenEnv's error codes.
        message: What was wrong, what was expected and what to do.
        more: Additional fields of the error.
        closes: Whether to close the connection afterwards.
    """

    def __init__(self, code: str, message: str, *, closes: bool = False, **more: Any) -> None:
        super().__init__(message)
        self.data = {"message": message, "code": code, **more}
        self.closes = closes


def _invalid(message: str) -> Failed:
    return Failed("VALIDATION_ERROR", message, errors=[{"type": "value_error", "loc": ["data"], "msg": message}])


class _Reset(msgspec.Struct):
    """The fields of a reset; others are ignored."""

    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] | None = None
    options: dict[str, Any] | None = None
    episode_id: Annotated[str, msgspec.Meta(max_length=255)] | None = None
    make: dict[str, Any] | None = None
    encoding: Encoding | None = None


class OpenEnvSession:
    """Answers the messages of one client, one after another.

    Args:
        factory: What connections share.
        client: The client's address.
        identity: Who the client is.
        environment: The id of the environment.
        counted: Called with True when a session begins, and with False when it has ended.

    Attributes:
        closed: Called with the reason when the session has ended, unless the client ended it; set by the connection.
    """

    closed: Callable[[str], None]

    def __init__(
        self,
        factory: GymFactory,
        client: str,
        identity: Identity,
        environment: str,
        counted: Callable[[bool], None],
    ) -> None:
        self._factory, self._client, self._identity = factory, client, identity
        self._environment, self._counted = environment, counted
        self._session: PlayedSession | None = None
        self._observations: Observations | None = None
        self._kwargs: dict[str, Any] = {}
        self._episode: str | None = None
        self._steps = 0

    @property
    def is_playing(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    def leave(self) -> None:
        """End the session: the client has left."""
        if self._session is not None:
            session, self._session = self._session, None
            session.abort()

    def answer(self, text: bytes) -> defer.Deferred[tuple[bytes, bool]]:
        """Answer a message.

        Returns:
            A Deferred that fires with the reply, which may be empty for none, and whether to close the connection after
                it.
        """
        handled: defer.Deferred[Any] = defer.maybeDeferred(self._handle, text)
        return handled.addCallbacks(lambda reply: (reply, False), self._error)

    def _error(self, failure: Failure) -> tuple[bytes, bool]:
        error = failure.value
        if isinstance(error, RequestFailed):
            told, text = error.error, str(error)
            if told.fault == "request":
                error = Failed("EXECUTION_ERROR", text) if told.code == "reset-needed" else _invalid(text)
            else:
                is_over = told.fault in ("server", "protocol")
                error = Failed("SESSION_ERROR" if is_over else "EXECUTION_ERROR", text, closes=is_over)
        elif isinstance(error, SessionEnded):
            error = Failed("SESSION_ERROR", f"the session has ended: {error}", closes=True)
        elif isinstance(error, GymtwistError):
            error = _invalid(str(error))
        elif not isinstance(error, Failed):
            _log.failure("an error in gymtwist itself, for OpenEnv", failure)
            error = Failed("SESSION_ERROR", "an error in the server itself; its log has more", closes=True)
        return encode({"type": "error", "data": error.data}), error.closes

    def _handle(self, text: bytes) -> bytes | defer.Deferred[bytes]:
        message = _parsed(text)
        kind, data = message.get("type"), message.get("data")
        if kind == "step":
            return self._step({} if data is None else data)
        if kind == "reset":
            return self._reset({} if data is None else data)
        if kind == "state":
            return encode({"type": "state", "data": self._state()})
        if kind == "close":
            self.leave()
            return b""
        if kind == "mcp":
            return encode({"type": "mcp", "data": no_tools(data)})
        raise Failed("UNKNOWN_TYPE", f"there is no message of the type {kind!r:.80}; send reset, step, state or close")

    # Episodes

    @defer.inlineCallbacks
    def _reset(self, data: Any) -> Any:
        try:
            asked = msgspec.convert(data, _Reset)
        except (ValueError, OverflowError) as error:
            raise _invalid(f"reset: {error}") from None
        if self._session is None:
            self._kwargs = asked.make or {}
            yield self._make()
        elif asked.make not in (None, self._kwargs):
            raise _invalid("make is for the first reset of a connection; open another one for another environment")
        session, observations = self._session, self._observations
        if session is None or observations is None:
            raise Failed("SESSION_ERROR", "the client has left", closes=True)
        if asked.encoding is not None:
            observations.encoding = asked.encoding
        done = yield session.ask(messages.Reset(asked.seed, asked.options), messages.ResetDone)
        self._episode, self._steps = asked.episode_id or uuid.uuid4().hex, 0
        return self._reply(observations, done.observation, None, done.info)

    @defer.inlineCallbacks
    def _make(self) -> Any:
        try:
            session = open_session(self._factory, self._client, ProtocolName.INT32, self._identity, "openenv")
        except (GymtwistError, OSError) as error:
            raise self._no_room(str(error)) from None
        self._session = session
        try:
            made = yield session.make_visible(make_messages.Make(self._environment, self._kwargs))
        except RequestFailed as failed:
            self.leave()
            self._not_made(failed.error)
        self._observations = Observations(made, None)
        self._counted(True)
        session.ended.addCallback(self._ended, session)

    def _ended(self, reason: str, session: PlayedSession) -> None:
        self._counted(False)
        if self._session is session:
            self._session = None
            self.closed(reason)

    def _not_made(self, error: messages.Error) -> NoReturn:
        if error.code in _NO_ROOM:
            raise self._no_room(error.message)
        closes = error.code in ("unknown-environment", "environment-refused")
        raise Failed("FACTORY_ERROR", error.message, closes=closes, factory_name=self._environment)

    def _no_room(self, message: str) -> Failed:
        most = self._factory.options.max_sessions
        return Failed("CAPACITY_REACHED", message, closes=True, active_sessions=most, max_sessions=most)

    def _step(self, data: Any) -> defer.Deferred[bytes]:
        session, observations = self._session, self._observations
        if session is None or observations is None:
            raise Failed("EXECUTION_ERROR", _RESET_FIRST)
        action = self._action(data, observations)

        def reply(done: messages.Stepped) -> bytes:
            self._steps += 1
            flags = done.terminated, done.truncated
            return self._reply(observations, done.observation, done.reward, done.info, *flags)

        return session.ask(messages.Step(action), messages.Stepped).addCallback(reply)

    def _action(self, data: Any, observations: Observations) -> Any:
        """Return the action in the data of a step."""
        given = [each for each in data if each not in _IGNORED] if isinstance(data, dict) else []
        assert self._session is not None
        made = self._session.made
        found = ""
        if len(given) != 1 or given[0] not in _ACTION_NAMES:
            found = f"the keys {', '.join(data)}"[:200] if isinstance(data, dict) and data else "no key"
        elif isinstance(data[given[0]], str) and made.action_layout is not None:
            # In MessagePack, a string would stand for bytes.
            found = f"the text {shown(data[given[0]])}"
        if found:
            space = encode(for_json(made.action_space)).decode()
            raise _invalid(f'step: data has {found}; send {{"action": ...}} of the space {space:.500}')
        if given[0] == "action_id" and "game_name" in data and observations.encoding is None:
            observations.encoding = "list"  # a client of the Atari environment, which knows no other encoding
        return data[given[0]]

    def _reply(
        self,
        observations: Observations,
        value: Any,
        reward: float | None,
        info: dict[str, Any],
        terminated: Any = False,
        truncated: Any = False,
    ) -> bytes:
        counts = {name: info[name] for name in _COUNTS if name in info}
        # One of OpenEnv's packages shows its users the outer metadata, the other shows the inner.
        metadata = msgspec.Raw(encode({"terminated": terminated, "truncated": truncated, "info": info}))
        data = {
            "observation": {**counts, **observations.fields(value), "metadata": metadata},
            "reward": reward,
            "done": bool(terminated or truncated),
            "metadata": metadata,
        }
        return encode({"type": "observation", "data": data})

    def _state(self) -> dict[str, Any]:
        state = {"episode_id": self._episode, "step_count": self._steps, "env_id": self._environment}
        if self._session is None or self._observations is None:
            return state
        made = self._session.made
        spaces = {"action_space": made.action_space, "observation_space": made.observation_space}
        return {**state, **{name: for_json(space) for name, space in spaces.items()}}


def no_tools(request: Any) -> dict[str, Any]:
    """Answer an MCP request (JSON-RPC) with an error: Gymnasium environments have no tools."""
    name = request.get("id") if isinstance(request, dict) else None
    error = {"code": -32601, "message": "environments of Gymnasium have no tools; play them by WebSocket"}
    return {"jsonrpc": "2.0", "id": name if isinstance(name, (str, int)) else None, "error": error}


def _parsed(text: bytes) -> dict[str, Any]:
    try:
        message = msgspec.json.decode(text)
    except ValueError:
        try:
            # Python clients write non-finite numbers in a form that is not JSON. The text must be valid Unicode.
            message = json.loads(text)
            json.dumps(message, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise Failed("INVALID_JSON", f"the message is no JSON: {error!s:.200}") from None
    except RecursionError:
        raise Failed("INVALID_JSON", "the message is nested too deeply") from None
    if not isinstance(message, dict):
        raise _invalid('a message is an object: {"type": ..., "data": ...}')
    return message
