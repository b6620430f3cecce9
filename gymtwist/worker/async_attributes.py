"""Attributes of environments that each run in a process of their own, where requests for the attributes are handled."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from gymtwist.envs.attribute_layers import HANDLE, ReachableEnvironment
from gymtwist.envs.error_locations import name_environments
from gymtwist.errors import EnvironmentFault, GymtwistError, InvalidField
from gymtwist.protocol import messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import ProtocolName
from gymtwist.spaces.value_mismatch import shown
from gymtwist.worker import process_control
from gymtwist.worker.access_policy import AttributePolicy
from gymtwist.worker.attribute_access import AttributeAccess
from gymtwist.worker.guarded_call import guarded_call
from gymtwist.worker.session_status import Operation, SessionStatus, create


class InProcess:
    """Makes an environment in a process of its own, and handles requests for its attributes there.

    Args:
        rule: What the operator lets clients reach.
        protocol: The protocol of the client.
        debuggable: Whether other processes of the same user may debug it.
    """

    def __init__(self, rule: str, protocol: str, *, debuggable: bool) -> None:
        self._rule, self._protocol, self._debuggable = rule, protocol, debuggable

    def __call__(self, make: Callable[[], Any]) -> ReachableEnvironment:
        """Make the environment."""
        process_control.isolate(debuggable=self._debuggable)
        return ReachableEnvironment(make(), self._handled)

    def _handled(self, environment: Any, handle: str, request: Any) -> tuple[Any, Any]:
        """Handle a request.

        Args:
            environment: The environment.
            handle: The name of the :class:`~gymtwist.worker.attribute_access.AttributeAccess` method to call.
            request: The request, with the value for this environment.

        Returns:
            The encoded value, or True for a method; then None, or the type of an error and its arguments.
        """
        descriptor = create()  # the session's status is that of the parent process
        try:
            policy, codec = AttributePolicy(self._rule), MessageCodec(ProtocolName(self._protocol))
            access = AttributeAccess(environment, policy, SessionStatus(descriptor), codec, several=False)
            reply = getattr(access, handle)(request)
        except EnvironmentFault as error:
            return None, (type(error), error.operation, str(error), error.exception)
        except GymtwistError as error:
            return None, (type(error), str(error))
        finally:
            os.close(descriptor)
        return True if getattr(reply, "callable", False) else bytes(getattr(reply, "value", b"")), None


class AsyncAttributeAccess:
    """Handles the requests for attributes of an asynchronous vector environment.

    Args:
        environment: The vector environment.
        status: The session's status.
        codec: The codec of the client's messages.
    """

    def __init__(self, environment: Any, status: SessionStatus, codec: MessageCodec) -> None:
        self._environment = environment.unwrapped
        self._status, self._codec = status, codec

    def get(self, request: messages.Get) -> messages.Got:
        """Read an attribute; for a method, the reply only says that it is one."""
        values = self._ask(Operation.GET, "get", [request] * self._environment.num_envs)
        return messages.Got(callable=True) if True in values else messages.Got(self._joined(values))

    def set(self, request: messages.Set) -> messages.AttributeSet:
        """Change an attribute; all values are checked before any is changed."""
        values, count = request.value, self._environment.num_envs
        if not isinstance(values, list) or len(values) != count:
            raise InvalidField(
                f"set: field `value` is {shown(values)}: send a list with a value for each of {count} environments"
            )
        requests = [replace(request, value=each) for each in values]
        for handle in ("check", "set"):
            self._ask(Operation.SET, handle, requests)
        return messages.AttributeSet()

    def call(self, request: messages.Call) -> messages.Called:
        """Call a method, or read an attribute that is not a method."""
        return messages.Called(self._joined(self._ask(Operation.CALL, "call", [request] * self._environment.num_envs)))

    def _ask(self, operation: Operation, handle: str, requests: list[Any]) -> list[Any]:
        """Have each process handle its request; an error names the first environment that it concerns."""
        made = self._environment
        with guarded_call(self._status, operation):
            for pipe, request in zip(made.parent_pipes, requests, strict=True):
                pipe.send(("_call", (HANDLE, (handle, request), {})))
            results, successes = zip(*[pipe.recv() for pipe in made.parent_pipes], strict=True)
            made._raise_if_errors(successes)
        for index, (_, failure) in enumerate(results):
            if failure is not None:
                raise _named(index, *failure)
        return [value for value, _ in results]

    def _joined(self, values: list[bytes]) -> Raw:
        return self._codec.encode_list([Raw(each) for each in values])


def _named(index: int, kind: type[GymtwistError], *arguments: str) -> GymtwistError:
    """Recreate an error that a process has sent."""
    error = kind(*arguments[:2])
    if isinstance(error, EnvironmentFault):
        error.exception = arguments[2]
    name_environments(error, (index,), str(error))
    return error
