"""The REST interface of gym-http-api, at ``/v1/``.

Its clients work unchanged. An *instance* is a session that the server plays. Observations, actions, rewards and infos
are JSON in both protocols, so they are passed on unchanged.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias, TypeVar
from urllib.parse import unquote

import msgspec
from twisted.internet import defer
from twisted.internet.error import ReactorNotRunning
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from gymtwist.errors import GymtwistError
from gymtwist.protocol import make_messages, messages
from gymtwist.protocol.framing import ProtocolName
from gymtwist.server.client_address import name_of
from gymtwist.server.gym_factory import GymFactory
from gymtwist.web.finite_numbers import finite, has_names
from gymtwist.web.forwarding import forward
from gymtwist.web.played_session import PlayedSession, RequestFailed, open_session
from gymtwist.web.space_fields import contains, space_fields

#: Gym's error for an unknown id; clients look for its beginning.
_MALFORMED = "Attempted to look up malformed environment ID"
_UPLOAD_CLOSED = (
    "OpenAI's scoreboard closed in 2017, so nothing can be uploaded; the recorded statistics are in the monitor's "
    "directory"
)
_SHUTTING_DOWN = b"Server shutting down"
_NO_SHUTDOWN = "clients may not shut this server down; start it with --rest-shutdown to allow that"
_NOT_JSON = "Request is not a valid json"
#: The errors of a make request that concern the id.
_ID_ERRORS = frozenset(("unknown-environment", "environment-refused", "invalid-field"))
#: The errors of a server that has no room, or is shutting down.
_NO_ROOM = frozenset(("server-full", "server-stopping", "no-process"))
_STATUS = {"request": 400, "environment": 500, "protocol": 400, "server": 500}

_encode = msgspec.json.Encoder(order="deterministic").encode
T = TypeVar("T")
#: Answers a request with the body of its response.
Handler: TypeAlias = Callable[..., "bytes | defer.Deferred[bytes]"]
#: The body where gym-http-api has none. The original answers with 204, which its own C++ client takes for an error.
_NOTHING = b"{}"


class Refusal(Exception):
    """A request cannot be answered.

    Args:
        status: The status code.
        message: The reason.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


# Request bodies; a field that is absent, null, "" or [] counts as not given.


class _Creation(msgspec.Struct):
    env_id: Any = None
    seed: Any = None


class _Action(msgspec.Struct):
    action: msgspec.Raw = msgspec.Raw(b"null")


class _Monitor(msgspec.Struct):
    directory: Any = None
    force: Any = False
    resume: Any = False
    video_callable: Any = False


class _Upload(msgspec.Struct):
    training_dir: Any = None
    api_key: Any = None


# Replies of the worker, whose JSON is passed on


class _ResetDone(msgspec.Struct, tag="reset", tag_field="op"):
    observation: msgspec.Raw


class _Stepped(msgspec.Struct, tag="step", tag_field="op"):
    observation: msgspec.Raw
    reward: msgspec.Raw
    terminated: bool
    truncated: bool
    info: msgspec.Raw = msgspec.Raw(b"{}")


class _Sampled(msgspec.Struct, tag="sample", tag_field="op"):
    action: msgspec.Raw


_read_reset = msgspec.json.Decoder(_ResetDone | messages.Error).decode
_read_step = msgspec.json.Decoder(_Stepped | messages.Error).decode
_read_sample = msgspec.json.Decoder(_Sampled | messages.Error).decode
_read_action = msgspec.json.Decoder(_Action).decode
_read_creation = msgspec.json.Decoder(_Creation).decode
_read_monitor = msgspec.json.Decoder(_Monitor).decode
_read_upload = msgspec.json.Decoder(_Upload).decode
_read_object = msgspec.json.Decoder(dict[str, Any]).decode


def _body(request: Any, read: Callable[[bytes], T]) -> T:
    """Read the body of a request.

    Raises:
        Refusal: It is not a JSON object.
    """
    if "json" not in (request.getHeader("content-type") or "").lower():
        raise Refusal(400, _NOT_JSON)
    try:
        return read(request.content.read())
    except (ValueError, RecursionError):
        raise Refusal(400, _NOT_JSON) from None


def _missing(name: str) -> Refusal:
    return Refusal(400, f"A required request parameter '{name}' was not provided")


def _is_given(value: Any) -> bool:
    return value is not None and value != "" and value != []


def _boolean(value: Any) -> Any:
    """Read the strings that a Lua client sends for booleans; return anything else unchanged."""
    return {"true": True, "false": False}.get(value, value) if isinstance(value, str) else value


class Instance:
    """An environment that clients refer to by its instance id.

    Args:
        session: The session.
        seed: The seed of the first episode; None for none.
        owner: The name of the identity whose clients may use it.

    Attributes:
        session: The session.
        owner: The name of the identity whose clients may use it.
    """

    def __init__(self, session: PlayedSession, seed: int | None, owner: str) -> None:
        self.session = session
        self.owner = owner
        self._seed = seed

    @property
    def environment(self) -> str:
        """The id of the environment."""
        spec = self.session.made.spec
        return "" if spec is None else spec.id

    def reset(self) -> defer.Deferred[bytes]:
        """Begin an episode."""
        seed, self._seed = self._seed, None
        frame = b"".join(self.session.codec.encode_request(messages.Reset(seed=seed)))
        return self.session.send(frame, self._reset_body)

    def step(self, action: bytes) -> defer.Deferred[bytes]:
        """Take a step.

        Args:
            action: The JSON of the action.
        """
        if action in (b"true", b"false") and self._space("action").__class__.__name__ == "Discrete":
            action = b"1" if action == b"true" else b"0"
        payload = b'{"op":"step","action":%b}' % action
        return self.session.send(b"%d:%b," % (len(payload), payload), self._step_body)

    def sample(self) -> defer.Deferred[bytes]:
        """Sample an action."""
        frame = b"".join(self.session.codec.encode_request(messages.Sample()))
        return self.session.send(frame, self._sample_body)

    def space(self, name: str) -> dict[str, Any]:
        """Return the fields of a space: ``action`` or ``observation``."""
        return space_fields(self._space(name))

    def _space(self, name: str) -> Any:
        made = self.session.made
        return made.action_space if name == "action" else made.observation_space

    def contains(self, number: int) -> bool:
        """Return whether an integer is in the action space."""
        return contains(self._space("action"), number)

    def _value(self, name: str, text: msgspec.Raw) -> bytes:
        """Return the JSON of an element of a space, with the names of non-finite numbers replaced by numbers."""
        encoded = bytes(text)
        if not has_names(encoded):
            return encoded
        return _encode(finite(self._space(name), msgspec.json.decode(encoded)))

    def _reset_body(self, payload: memoryview) -> bytes:
        reply = _checked(_read_reset(payload))
        return b'{"observation":%b}\n' % self._value("observation", reply.observation)

    def _step_body(self, payload: memoryview) -> bytes:
        reply = _checked(_read_step(payload))
        info, reward = bytes(reply.info), bytes(reply.reward)
        if has_names(info):
            info = _encode(finite(None, msgspec.json.decode(info)))
        if has_names(reward):
            reward = _encode(finite(None, msgspec.json.decode(reward)))
        done = b"true" if reply.terminated or reply.truncated else b"false"
        observation = self._value("observation", reply.observation)
        return b'{"done":%b,"info":%b,"observation":%b,"reward":%b}\n' % (done, info, observation, reward)

    def _sample_body(self, payload: memoryview) -> bytes:
        return b'{"action":%b}\n' % self._value("action", _checked(_read_sample(payload)).action)


def _checked(reply: Any) -> Any:
    if isinstance(reply, messages.Error):
        raise RequestFailed(reply)
    return reply


class GymHttpApi(Resource):
    """Answers all requests below ``/v1/``.

    Args:
        factory: What connections share.
    """

    isLeaf = True

    def __init__(self, factory: GymFactory) -> None:
        super().__init__()
        self._factory = factory
        self._instances: dict[str, Instance] = {}
        #: Called with the id of each instance that is created.
        self.created: list[Callable[[str], object]] = []
        one = ("envs", "*")
        self._routes: dict[tuple[str, ...], dict[bytes, Handler]] = {
            (*one, "step"): {b"POST": self._step},
            (*one, "reset"): {b"POST": self._reset},
            ("envs",): {b"GET": self._list, b"POST": self._create},
            (*one, "action_space"): {b"GET": self._action_space},
            (*one, "action_space", "sample"): {b"GET": self._sample},
            (*one, "action_space", "contains", "*"): {b"GET": self._contains},
            (*one, "observation_space"): {b"GET": self._observation_space},
            (*one, "observation_space", "contains"): {b"POST": self._compare},
            (*one, "monitor", "start"): {b"POST": self._start_monitor},
            (*one, "monitor", "close"): {b"POST": self._close_monitor},
            (*one, "close"): {b"POST": self._close},
            ("upload",): {b"POST": self._upload},
            ("shutdown",): {b"POST": self._shut_down},
        }

    def render(self, request: Any) -> bytes | int:
        """Answer a request; called by Twisted."""
        parts = [unquote(each) for each in request.path.decode("latin-1").split("/") if each][1:]
        arguments = []
        if parts[:1] == ["envs"]:
            for index in (1, 4):
                if len(parts) > index:
                    arguments.append(parts[index])
                    parts[index] = "*"
        handlers = self._routes.get(tuple(parts))
        if handlers is None:
            return _error(request, 404, "there is no such path")
        handler = handlers.get(b"GET" if request.method == b"HEAD" else request.method)
        if handler is None:
            return _other_method(request, handlers)
        if arguments and arguments[0] not in self._instances and self._factory.predecessors.links:
            return self._ask_predecessor(request, handler, arguments)
        return self._handle(request, handler, arguments)

    def _ask_predecessor(self, request: Any, handler: Handler, arguments: list[str]) -> bytes | int:
        """Let the process that has the instance answer; after an upgrade, that may be an earlier one."""
        predecessors = self._factory.predecessors
        if not predecessors.are_known:
            predecessors.when_known.append(lambda: request.channel and request.render(self))
            return NOT_DONE_YET
        owner = predecessors.owner_of(arguments[0])
        if owner is None:
            return self._handle(request, handler, arguments)
        forward(self._factory.reactor, request, owner.forward)
        return NOT_DONE_YET

    def _handle(self, request: Any, handler: Handler, arguments: list[str]) -> bytes | int:
        try:
            answer = handler(request, *arguments)
        except Refusal as refusal:
            return _error(request, refusal.status, str(refusal))
        if isinstance(answer, bytes):
            return _json(request, answer)
        _answer_later(request, answer)
        return NOT_DONE_YET

    # Instances

    @property
    def instances(self) -> list[str]:
        """The ids of all instances."""
        return list(self._instances)

    def _instance(self, request: Any, name: str) -> Instance:
        """Find an instance.

        Raises:
            Refusal: This identity has no instance of that id: it never did, or it was closed, or its session has ended.
        """
        instance = self._instances.get(name)
        if instance is None or instance.owner != request.identity.name:
            raise Refusal(400, f"Instance_id {name} unknown")
        return instance

    def _list(self, request: Any) -> bytes:
        owner = request.identity.name
        own = {name: each.environment for name, each in self._instances.items() if each.owner == owner}
        return _encode({"all_envs": own}) + b"\n"

    def _create(self, request: Any) -> defer.Deferred[bytes]:
        asked = _body(request, _read_creation)
        environment, seed = asked.env_id, asked.seed
        if not _is_given(environment):
            raise _missing("env_id")
        if not isinstance(environment, str):
            raise Refusal(400, f"{_MALFORMED} {environment!r:.80}: it is a string, such as 'CartPole-v1'")
        if type(seed) is bool or not (seed is None or (type(seed) is int and 0 <= seed < 2**63)):
            raise Refusal(400, f"seed {seed!r:.80}: it is an integer from 0 to 2**63 - 1")
        try:
            client = name_of(request.getClientAddress())
            session = open_session(self._factory, client, ProtocolName.NETSTRING, request.identity, "gym-http-api")
        except (GymtwistError, OSError) as error:
            raise Refusal(503, f"the server cannot begin a session now: {error}") from None
        request.notifyFinish().addErrback(lambda left: None if hasattr(session, "made") else session.abort())
        made = session.make_visible(make_messages.Make(environment, lenient=True))
        return made.addCallbacks(
            self._created, _not_created, (session, seed, request.identity.name), {}, (session, environment)
        )

    def _created(self, made: make_messages.Made, session: PlayedSession, seed: int | None, owner: str) -> bytes:
        name = uuid.uuid4().hex[:8]
        while name in self._instances:
            name = uuid.uuid4().hex[:8]
        self._instances[name] = Instance(session, seed or None, owner)
        session.ended.addCallback(lambda reason: self._instances.pop(name))
        for note in self.created:
            note(name)
        return _encode({"instance_id": name}) + b"\n"

    def _close(self, request: Any, name: str) -> defer.Deferred[bytes]:
        session = self._instance(request, name).session
        return session.close().addCallback(lambda _: _NOTHING)

    # Playing

    def _reset(self, request: Any, name: str) -> defer.Deferred[bytes]:
        return self._instance(request, name).reset()

    def _step(self, request: Any, name: str) -> defer.Deferred[bytes]:
        action = bytes(_body(request, _read_action).action).strip()
        if action in (b"null", b'""') or (len(action) < 80 and action.translate(None, b" \t\r\n") == b"[]"):
            raise _missing("action")
        return self._instance(request, name).step(action)

    # Recording

    def _start_monitor(self, request: Any, name: str) -> defer.Deferred[bytes]:
        asked = _body(request, _read_monitor)
        if not _is_given(asked.directory):
            raise _missing("directory")
        instance = self._instance(request, name)
        if not isinstance(asked.directory, str):
            raise Refusal(400, f"directory {asked.directory!r:.80}: it is a string")
        every = _boolean(asked.video_callable) or 0
        if not isinstance(every, int) or not 0 <= every <= messages.MAX_VIDEO_EVERY:
            raise Refusal(
                400, f"video_callable {every!r:.80}: it is a boolean, or the number of episodes for each video"
            )
        force, resume = bool(_boolean(asked.force)), bool(_boolean(asked.resume))
        monitor = messages.Monitor(asked.directory, resume, force, int(every))
        return instance.session.ask(monitor, messages.Monitored).addCallback(lambda _: _NOTHING)

    def _close_monitor(self, request: Any, name: str) -> defer.Deferred[bytes]:
        return (
            self._instance(request, name)
            .session.ask(messages.Monitor(), messages.Monitored)
            .addCallback(lambda _: _NOTHING)
        )

    # Spaces

    def _action_space(self, request: Any, name: str) -> bytes:
        return _space_body(self._instance(request, name), "action")

    def _observation_space(self, request: Any, name: str) -> bytes:
        return _space_body(self._instance(request, name), "observation")

    def _sample(self, request: Any, name: str) -> defer.Deferred[bytes]:
        return self._instance(request, name).sample()

    def _contains(self, request: Any, name: str, text: str) -> bytes:
        instance = self._instance(request, name)
        try:
            number = int(text)
        except ValueError:
            raise Refusal(400, f"{text!r:.80} is no integer; only integers can be asked for") from None
        return _encode({"member": instance.contains(number)}) + b"\n"

    def _compare(self, request: Any, name: str) -> bytes:
        """Answer whether fields of the observation space have the given values, compared as JSON text."""
        instance, asked = self._instance(request, name), _body(request, _read_object)
        fields = instance.space("observation")
        unknown = [each for each in asked if each not in fields]
        if unknown:
            raise Refusal(400, f"the observation space has no {unknown[0]!r:.80}; it has {', '.join(fields)}")
        member = all(_encode(value) == _encode(fields[field]) for field, value in asked.items())
        return _encode({"member": member}) + b"\n"

    # Features that no longer exist, or are not for everybody

    def _upload(self, request: Any) -> bytes:
        asked = _body(request, _read_upload)
        for name in ("training_dir", "api_key"):
            if not _is_given(getattr(asked, name)):
                raise _missing(name)
        raise Refusal(400, _UPLOAD_CLOSED)

    def _shut_down(self, request: Any) -> bytes:
        reactor = self._factory.reactor
        if not self._factory.options.rest_shutdown:
            raise Refusal(403, _NO_SHUTDOWN)

        def stop() -> None:
            with contextlib.suppress(ReactorNotRunning):  # another client has asked for it, too
                reactor.stop()

        request.notifyFinish().addBoth(lambda _: reactor.callLater(0, stop))
        return _SHUTTING_DOWN


# Responses


def _json(request: Any, body: bytes) -> bytes:
    is_json = body not in (_NOTHING, _SHUTTING_DOWN)
    request.setHeader(b"Content-Type", b"application/json" if is_json else b"text/html; charset=utf-8")
    return body


def _error(request: Any, status: int, message: str) -> bytes:
    request.setResponseCode(status)
    return _json(request, _encode({"message": message}) + b"\n")


def _other_method(request: Any, handlers: dict[bytes, Handler]) -> bytes:
    allowed = b", ".join([*handlers, *([b"HEAD"] if b"GET" in handlers else []), b"OPTIONS"])
    request.setHeader(b"Allow", allowed)
    if request.method == b"OPTIONS":
        return _json(request, _NOTHING)
    return _error(request, 405, f"this path takes {allowed.decode()}")


def _space_body(instance: Instance, name: str) -> bytes:
    try:
        return _encode({"info": instance.space(name)}) + b"\n"
    except ValueError as error:
        raise Refusal(500, str(error)) from None


def _answer_later(request: Any, answer: defer.Deferred[bytes]) -> None:
    """Answer once the body is available, unless the client has left by then."""

    def send(body: bytes) -> None:
        request.answer(_json(request, body))

    def fail(failure: Failure) -> None:
        error = failure.value
        if isinstance(error, Refusal):
            request.answer(_error(request, error.status, str(error)))
        elif isinstance(error, RequestFailed):
            request.answer(_error(request, _STATUS[error.error.fault], str(error)))
        elif isinstance(error, GymtwistError):
            request.answer(_error(request, 500, str(error)))
        else:
            request.processingFailed(failure)

    answer.addCallbacks(send, fail)


def _not_created(failure: Failure, session: PlayedSession, environment: str) -> NoReturn:
    """End the session, which has no environment, and refuse the request."""
    session.abort()
    error = failure.value
    code = error.error.code if isinstance(error, RequestFailed) else ""
    if code in _NO_ROOM:
        raise Refusal(503, str(error))
    if code in _ID_ERRORS:
        raise Refusal(400, f"{_MALFORMED} {environment!r:.300} ({error})")
    failure.raiseException()
