"""All errors of gymtwist: one tree, each class a noun, each with a code that never changes.

The code (kebab-case) is for programs, the message for people: what was wrong, what was expected and what to do.
"""

from __future__ import annotations

from typing import ClassVar


class GymtwistError(Exception):
    """The root of all errors that gymtwist raises on purpose.

    Attributes:
        environments: The indices of the affected environments, for environments that step together. The message begins
            with them.
        warnings: Warnings about the request that are sent along.
    """

    code: ClassVar[str] = "error"
    environments: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


class ProtocolError(GymtwistError):
    """The client sent bytes that its protocol does not allow; the connection cannot continue."""

    code = "protocol-error"


class HandshakeError(ProtocolError):
    """The first message of a connection is not a handshake of any supported protocol."""

    code = "bad-opening"


class LimitExceeded(ProtocolError):
    """The client announced a length above the limit; nothing was allocated for it."""

    code = "limit-exceeded"


class RequestError(GymtwistError):
    """The server cannot fulfil the request; the connection remains usable."""

    code = "bad-request"


class MalformedMessage(RequestError):
    """The payload of a frame is not a message: malformed JSON or MessagePack, not an object, too deep or too large."""

    code = "malformed-message"


class UnknownOperation(RequestError):
    """The message asks for an operation that the protocol does not have."""

    code = "unknown-operation"


class InvalidField(RequestError):
    """A field of the message is missing, has the wrong type, or is out of range."""

    code = "invalid-field"


class UnknownKwarg(RequestError):
    """The environment's constructor takes no keyword argument of that name."""

    code = "unknown-kwarg"


class InvalidAction(RequestError):
    """The action is not an element of the environment's action space."""

    code = "invalid-action"


class ResetNeeded(RequestError):
    """There is no episode to step: none has begun, the last one has ended, or the environment has failed."""

    code = "reset-needed"


class NoEnvironment(RequestError):
    """The command needs an environment, but the connection was opened without one."""

    code = "no-environment"


class UnknownEnvironment(RequestError):
    """Neither Gymnasium nor Gym has an environment with that id."""

    code = "unknown-environment"


class EnvironmentRefused(RequestError):
    """The operator of the server does not allow this environment id."""

    code = "environment-refused"


class KwargRefused(RequestError):
    """The operator of the server does not allow this keyword argument for an environment."""

    code = "kwarg-refused"


class UnknownAttribute(RequestError):
    """The environment has no attribute of that name."""

    code = "unknown-attribute"


class AttributeRefused(RequestError):
    """The client may not read, change or call this attribute."""

    code = "attribute-refused"


class UnsendableValue(RequestError):
    """The value of an attribute, or the result of a method, is too large or an object that no message can carry."""

    code = "unsendable-value"


class WrapperRefused(RequestError):
    """The operator of the server does not allow this wrapper, or this argument of it."""

    code = "wrapper-refused"


class EnvironmentMade(RequestError):
    """The connection already has its environment; each connection can have only one."""

    code = "environment-made"


class SharingRefused(RequestError):
    """Memory cannot be shared with the server; requests and replies continue to use the socket."""

    code = "sharing-refused"


class UnknownSession(RequestError):
    """No session waits for this client with this secret: it has ended, or there never was one."""

    code = "unknown-session"


class RepliesLost(RequestError):
    """The server no longer keeps replies that the client has not received; the session cannot continue."""

    code = "replies-lost"


class TokenRefused(RequestError):
    """The client has no identity here: its token is missing, wrong or expired.

    Attributes:
        is_wrong: Whether the client sent a token; then the refusal is delayed, and the connection is closed.
    """

    code = "token-refused"
    is_wrong = True


class QuotaExceeded(RequestError):
    """The client's identity has reached one of its limits, which the message names."""

    code = "quota-exceeded"


class ServerFull(RequestError):
    """All sessions and all places in the queue are taken."""

    code = "server-full"


class NodeMissing(RequestError):
    """No node of the cluster is large enough for a session of this environment, or has the labels that it needs."""

    code = "node-missing"


class ServerStopping(RequestError):
    """The server is shutting down and begins no new session."""

    code = "server-stopping"


class SnapshotRefused(RequestError):
    """A copy of the process would not be a copy of the environment, or the process cannot be copied."""

    code = "snapshot-refused"


class UnknownSnapshot(RequestError):
    """The session holds no snapshot with that number, or no session holds one with that ticket."""

    code = "unknown-snapshot"


class TooManySnapshots(RequestError):
    """The session already holds as many snapshots as it may."""

    code = "too-many-snapshots"


class MonitorError(RequestError):
    """Recording cannot start: the directory or the environment does not permit it."""

    code = "monitor-refused"


class RecordingRefused(RequestError):
    """The episodes cannot be recorded into a dataset: the server cannot, or another dataset is in the way."""

    code = "recording-refused"


class EnvironmentFault(GymtwistError):
    """The environment's own code failed; the exception it raised is the cause.

    Args:
        operation: The operation that failed: ``make``, ``reset``, ``step``, ...
        message: The problem, for a log or a client.

    Attributes:
        operation: The operation that failed.
        exception: The name of the built-in Python exception that it raised; empty if there is none.
    """

    code = "environment-fault"
    exception = ""

    def __init__(self, operation: str, message: str) -> None:
        super().__init__(message)
        self.operation = operation


class WorkerStartError(GymtwistError):
    """No process could be started for a session."""

    code = "no-process"
