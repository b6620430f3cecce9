"""What request handlers have in common: the state of the session's environment, and its attributes."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from gymtwist.envs.vector_environments import has_processes
from gymtwist.errors import EnvironmentMade, InvalidField, NoEnvironment, RequestError, ResetNeeded, SnapshotRefused
from gymtwist.protocol import agent_messages, all_messages, make_messages, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.worker.access_policy import AttributePolicy
from gymtwist.worker.async_attributes import AsyncAttributeAccess
from gymtwist.worker.attribute_access import AttributeAccess
from gymtwist.worker.session_status import SessionStatus
from gymtwist.worker.worker_settings import WorkerSettings


class State(enum.Enum):
    """The state of a session's environment."""

    UNMADE = "no environment was made"
    MADE = "no episode was begun"
    PLAYING = "an episode goes on"
    STEPPING = "some environments are in a step"
    ENDED = "the episode has ended"
    FAILED = "the environment has failed"
    BROKEN = "the environment has failed, and is to be made anew"
    CLOSED = "the environment is closed"


class Runner(Protocol):
    """A running environment."""

    environment: Any

    def close(self) -> None:
        """Close the environment."""

    def count_on(self) -> None:
        """Continue the session's count of steps in a copy of a process that did not take all of them."""


_Runner = TypeVar("_Runner", bound=Runner)


class BaseHandler(Generic[_Runner]):
    """Serves requests with an environment.

    Args:
        codec: The codec of the client's messages.
        settings: The operator's options.
        status: The session's status.

    Attributes:
        state: The state of the environment.
        handlers: The handler of each type of request except make; each returns the reply.
    """

    _several = False

    def __init__(self, codec: MessageCodec, settings: WorkerSettings, status: SessionStatus) -> None:
        self._codec, self._framing = codec, codec.framing
        self._settings = settings
        self._status = status
        self._runner: _Runner | None = None
        self.state = State.UNMADE
        self.handlers: dict[type, Callable[[Any], all_messages.Reply]] = {
            messages.Get: partial(self._reach, "get"),
            messages.Set: partial(self._reach, "set"),
            messages.Call: partial(self._reach, "call"),
        }

    def _check_asked(self, request: make_messages.Make | agent_messages.MakeAgents) -> None:
        """Check the fields of a request that do not depend on the environment.

        Raises:
            RequestError: A field is refused.
        """
        if request.version > messages.VERSION:
            raise InvalidField(f"version {request.version}: this server speaks version {messages.VERSION}")
        # For "human_list", Gymnasium also makes an environment with the mode "human", and collects its frames.
        if (request.render_mode or "").removesuffix("_list") == "human" and not self._settings.display:
            raise RequestError(
                f'render_mode "{request.render_mode}" opens a window on the server\'s screen, which was started '
                'without --display; ask for "rgb_array", and show the frames yourself'
            )

    @property
    def keep_snapshots(self) -> int:
        """How many snapshots to keep so as to return to the latest after a crash; 0 to keep all, and not to return."""
        return 0

    @property
    def is_recorded(self) -> bool:
        """Whether episodes are being recorded to files, which a copy of the process would write to as well."""
        return False

    def check_unmade(self) -> None:
        """Check that there is no environment yet.

        Raises:
            EnvironmentMade: There is one.
        """
        if self.state is not State.UNMADE:
            raise EnvironmentMade("this connection has its environment; open another connection to make another")

    def check_made(self, purpose: str) -> None:
        """Check that an environment was made, even if it has failed since.

        Args:
            purpose: What the environment is needed for.

        Raises:
            NoEnvironment: No environment was made.
        """
        if self.state is State.UNMADE:
            raise self._not_now(purpose)

    def _running(self) -> _Runner:
        """Return the running environment.

        Raises:
            RequestError: There is none.
        """
        if self._runner is None:
            raise self._not_now("the next request")
        return self._runner

    def _not_now(self, purpose: str) -> RequestError:
        """Return the error for a request that must wait for another one."""
        if self.state is State.UNMADE:
            return NoEnvironment(f"{self.state.value}: make one before {purpose}")
        if self.state is State.STEPPING:
            return RequestError(f"{self.state.value}: take their results with step_ready before {purpose}")
        return ResetNeeded(f"{self.state.value}: reset before {purpose}")

    def _reach(self, handle: str, request: all_messages.Request) -> all_messages.Reply:
        """Read, change or call an attribute. The object that does so is not kept, since few clients need it."""
        environment, policy = self._running().environment, AttributePolicy(self._settings.attributes)
        if self.state is State.STEPPING:
            raise self._not_now("you reach for an attribute")
        with self._status.request():
            access: Any = (
                AsyncAttributeAccess(environment, self._status, self._codec)
                if has_processes(environment)
                else AttributeAccess(environment, policy, self._status, self._codec, several=self._several)
            )
            reply: all_messages.Reply = getattr(access, handle)(request)
            return reply

    def try_out(self) -> bytes:
        """Use the environment in a copy of the process that is then discarded; return a digest of the results."""
        return b"-"

    def make_generators(self) -> None:
        """Create the random generators that each copy of this process would otherwise create differently."""

    def keep_state(self) -> Any:
        """Save the environment's state, if it has a hook for that; see :mod:`~gymtwist.envs.kept_state`.

        Raises:
            SnapshotRefused: It has no such hook.
        """
        raise SnapshotRefused("no hook is looked for in multi-agent environments")

    def restore_state(self, kept: Any) -> None:
        """Restore a state of the environment.

        Args:
            kept: What :meth:`keep_state` returned.

        Raises:
            EnvironmentFault: The environment raised an exception, and must be reset.
            RequestError: The state belongs to another environment, or this one is being recorded.
        """
        raise NotImplementedError

    def count_on(self) -> None:
        """Continue the session's count of steps in a copy of a process that did not take all of them."""
        if self._runner is not None:
            self._runner.count_on()

    def unmake(self) -> None:
        """Close the environment as if it had never been made."""
        self._close_runner()
        self.state = State.UNMADE

    def close(self) -> None:
        """Close the environment, once."""
        if self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._close_runner()

    def _close_runner(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.close()
