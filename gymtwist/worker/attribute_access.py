"""Reads, changes and calls attributes of a session's environment, or of each of its environments, for the client."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any, NamedTuple, TypeVar

from msgspec import Raw

from gymtwist.envs import attribute_layers, environment_wrappers
from gymtwist.envs.error_locations import name_environments
from gymtwist.errors import (
    AttributeRefused,
    GymtwistError,
    InvalidField,
    UnknownAttribute,
    UnsendableValue,
)
from gymtwist.protocol import messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import MAX_FRAME
from gymtwist.spaces.value_mismatch import shown
from gymtwist.worker.access_policy import CONVENTIONAL, AttributePolicy
from gymtwist.worker.guarded_call import guarded_call
from gymtwist.worker.session_status import Operation, SessionStatus

#: The maximum length, in characters, of text sent instead of an object, and of methods listed in an error.
_LONGEST_TEXT, _MOST_METHODS = 10_000, 10

T = TypeVar("T")


class _Change(NamedTuple):
    """A change of an attribute: the environment, the object that has the attribute, and its old and new values."""

    environment: Any
    owner: Any
    old: Any
    new: Any


class AttributeAccess:
    """Handles the requests for attributes.

    Args:
        environment: The environment or vector environment.
        policy: What the client may reach.
        status: The session's status.
        codec: The codec of the client's messages.
        several: Whether it is a vector environment.
    """

    def __init__(
        self,
        environment: Any,
        policy: AttributePolicy,
        status: SessionStatus,
        codec: MessageCodec,
        *,
        several: bool,
    ) -> None:
        found = attribute_layers.environments_of(environment, several=several)
        if found is None:
            raise AttributeRefused(
                f"the attributes of a {type(environment.unwrapped).__name__}'s environments cannot be reached: make it "
                'with the vectorization_mode "sync"'
            )
        self._environments = found
        self._policy = policy
        self._status = status
        self._codec = codec
        self._several = several

    def get(self, request: messages.Get) -> messages.Got:
        """Read an attribute; for a method, the reply only says that it is one."""
        name = request.name

        def get(environment: Any) -> Raw | None:
            value = self._read(environment, name)
            if callable(value) and not request.repr:
                self._policy.check_call(name, attribute_layers.declared(environment))
                return None
            return self._checked(environment, name, self._text(environment, name, value) if request.repr else value)

        values = [each for each in self._each(name, get) if each is not None]
        if len(values) < len(self._environments):
            return messages.Got(callable=True)
        return messages.Got(self._joined(name, values))

    def set(self, request: messages.Set) -> messages.AttributeSet:
        """Change an attribute; all values are checked before any is changed."""
        for index, change in enumerate(self._changes(request)):
            with self._named(index):
                self._write(request.name, change)
        return messages.AttributeSet()

    def check(self, request: messages.Set) -> None:
        """Check the values without changing anything."""
        self._changes(request)

    def _changes(self, request: messages.Set) -> list[_Change]:
        name, given = request.name, request.value if self._several else [request.value]
        if not isinstance(given, list) or len(given) != len(self._environments):
            raise InvalidField(
                f"set: field `value` is {shown(given)}: send a list with a value for each of "
                f"{len(self._environments)} environments"
            )
        new_values = iter(given)
        return self._each(name, lambda environment: self._change(environment, name, next(new_values)))

    def _change(self, environment: Any, name: str, given: Any) -> _Change:
        """Check a new value of an attribute."""
        owner = attribute_layers.owner(environment, name)
        if owner is None:
            raise self._unknown(environment, name)
        if environment_wrappers.is_size(owner, name):
            raise AttributeRefused(
                f'remote attribute "{name}" decides how much memory a {type(owner).__name__} takes, and cannot be '
                "changed; make an environment with another one"
            )
        old = self._read(environment, name)
        if not callable(old):
            self._encoded(environment, name, old)
        try:
            new = attribute_layers.in_the_form_of(old, given)
        except (ValueError, TypeError, OverflowError) as error:
            raise InvalidField(f'remote attribute "{name}" is {shown(old)}: {error}') from None
        self._policy.check_write(name, old, new, attribute_layers.declared(environment))
        return _Change(environment, owner, old, new)

    def _write(self, name: str, change: _Change) -> None:
        with guarded_call(self._status, Operation.SET):
            try:
                setattr(change.owner, name, change.new)
            except AttributeError as error:
                raise AttributeRefused(f'remote attribute "{name}" cannot be changed: {error}') from None
        now = self._read(change.environment, name)
        if not attribute_layers.is_same(now, change.new) and attribute_layers.is_same(now, change.old):
            raise AttributeRefused(f'remote attribute "{name}" cannot be changed: it is {shown(now)} as before')

    def call(self, request: messages.Call) -> messages.Called:
        """Call a method, or read an attribute that is not a method."""
        name = request.name

        def call(environment: Any) -> Raw:
            found = self._read(environment, name)
            if not callable(found):
                return self._checked(environment, name, found)
            declared = attribute_layers.declared(environment)
            self._policy.check_call(name, declared)
            self._policy.check_plain(name, (request.args, request.kwargs), declared)
            with guarded_call(self._status, Operation.CALL):
                # Each has arguments of its own: a method may keep or change them.
                returned = found(*deepcopy(request.args), **deepcopy(request.kwargs))
            return self._encoded(environment, name, returned)

        return messages.Called(self._joined(name, self._each(name, call)))

    # One environment after another

    def _each(self, name: str, act: Callable[[Any], T]) -> list[T]:
        """Call a function with each environment; an error names the environment that it concerns."""
        done: list[T] = []
        size = 0
        for index, environment in enumerate(self._environments):
            with self._named(index):
                self._policy.check_name(name, attribute_layers.declared(environment))
                value = act(environment)
            done.append(value)
            size += len(memoryview(value)) if isinstance(value, Raw) else 0
            if size > MAX_FRAME:
                raise UnsendableValue(
                    f'remote attribute "{name}" cannot be sent: that of {index + 1} of the {len(self._environments)} '
                    f"environments has more than {MAX_FRAME} bytes together, the most of a message"
                )
        return done

    @contextlib.contextmanager
    def _named(self, index: int) -> Iterator[None]:
        try:
            yield
        except GymtwistError as error:
            if self._several:
                name_environments(error, (index,), str(error))
            raise

    def _read(self, environment: Any, name: str) -> Any:
        with guarded_call(self._status, Operation.GET):
            try:
                return attribute_layers.read(environment, name)
            except AttributeError:
                raise self._unknown(environment, name) from None

    def _joined(self, name: str, values: list[Raw]) -> Raw:
        try:
            return self._codec.encode_list(values) if self._several else values[0]
        except ValueError as error:
            raise UnsendableValue(f'remote attribute "{name}" cannot be sent: {error}') from None

    def _text(self, environment: Any, name: str, value: Any) -> str:
        if not self._policy.is_free(name, attribute_layers.declared(environment)):
            self._checked(environment, name, value)
        with guarded_call(self._status, Operation.GET):
            return repr(value)[:_LONGEST_TEXT]

    def _checked(self, environment: Any, name: str, value: Any) -> Raw:
        """Encode the value of an attribute, if the client may read it."""
        encoded = self._encoded(environment, name, value)
        self._policy.check_plain(name, value, attribute_layers.declared(environment))
        return encoded

    def _encoded(self, environment: Any, name: str, value: Any) -> Raw:
        try:
            return self._codec.encode_value(value)
        except Exception as error:
            raise self._unsendable(environment, name, value, str(error)) from None

    # Errors

    @staticmethod
    def _unknown(environment: Any, name: str) -> UnknownAttribute:
        similar = attribute_layers.similar(environment, name)
        remedy = f'; did you mean "{similar[0]}"?' if similar else ""
        return UnknownAttribute(f'the remote environment has no attribute "{name[:80]}"{remedy}')

    def _unsendable(self, environment: Any, name: str, value: Any, reason: str = "") -> UnsendableValue:
        kind = type(value)
        what = f"is or returned an object of the type {kind.__module__}.{kind.__qualname__}, which stays at the server"
        # The text says already that no message can carry the type.
        is_new = reason and "unsupported" not in reason and not reason.endswith(f" {kind.__name__}")
        reason = f" ({reason[:200]})" if is_new else ""
        methods = self._methods(environment)
        remedy = f"; these methods can be called: {', '.join(methods)}" if methods else ""
        return UnsendableValue(f'remote attribute "{name}" {what}: no message can carry it{reason}{remedy}')

    def _methods(self, environment: Any) -> list[str]:
        """Return the methods that the client may call."""
        declared = attribute_layers.declared(environment)
        known = sorted({*CONVENTIONAL, *declared, *self._policy.names})
        found = []
        for name in known:
            with contextlib.suppress(Exception):
                if self._policy.may_call(name, declared) and callable(attribute_layers.read(environment, name)):
                    found.append(name)
        return found[:_MOST_METHODS]
