"""Handles requests to step some of several environments, each of which has a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gymtwist.errors import InvalidField
from gymtwist.protocol import messages
from gymtwist.protocol.framing import Framing
from gymtwist.spaces.gymnasium_spaces import space_of
from gymtwist.spaces.value_mismatch import shown
from gymtwist.worker.session_codecs import ObservationCollector, SessionCodecs
from gymtwist.worker.vector_environment_runner import VectorEnvironmentRunner


class ReadySteps:
    """Begins steps in some environments, and returns the results of those that have finished.

    Args:
        runner: The environments.
        framing: The framing of the client's messages.
        form: The form of values in JSON.
        bounded: Whether actions must be within the bounds of Boxes.
    """

    def __init__(
        self, runner: VectorEnvironmentRunner, framing: Framing, form: messages.ValueForm, *, bounded: bool
    ) -> None:
        self._runner = runner
        actions, observations = (
            space_of(runner.environment, f"single_{name}_space") for name in ("action", "observation")
        )
        self._codecs = SessionCodecs(actions, observations, framing, form, bounded=bounded)

    def step(
        self, request: messages.StepReady, wanted: Callable[[dict[str, Any], Any, Any], dict[str, Any]]
    ) -> messages.SteppedReady:
        """Handle a request; all checks come before the first step.

        Args:
            request: The request.
            wanted: Returns the part of an info that the client wants, given the info and the flags.

        Raises:
            RequestError: The request does not suit the environments.
            EnvironmentFault: An environment has failed.
        """
        runner, codecs = self._runner, self._codecs
        self._check(request)
        actions = codecs.actions_of(request.actions)
        codecs.check_count(request.min_ready)
        if actions:
            runner.begin_steps(request.env_ids, actions)
        if not request.min_ready:
            return messages.SteppedReady()
        env_ids, observations, rewards, terminated, truncated, info = runner.take_ready(request.min_ready)
        collected = ObservationCollector(codecs, "step_ready")
        for each in observations:
            collected.add(each)
        return messages.SteppedReady(
            collected.joined(),
            env_ids,
            codecs.rewards(rewards),
            codecs.flags(terminated),
            codecs.flags(truncated),
            wanted(info, terminated, truncated),
        )

    def _check(self, request: messages.StepReady) -> None:
        env_ids, stepping, count = request.env_ids, self._runner.stepping, self._runner.num_envs
        if len(set(env_ids)) < len(env_ids) or any(each >= count for each in env_ids):
            raise InvalidField(f"env_ids {shown(env_ids)}: send different integers from 0 to {count - 1}")
        if len(request.actions) != len(env_ids):
            raise InvalidField(f"{len(request.actions)} actions for {len(env_ids)} env_ids; send one for each")
        if busy := [each for each in env_ids if each in stepping]:
            raise InvalidField(f"env_ids {shown(busy)}: they are in a step; take their results first")
        if request.min_ready > (most := len(stepping) + len(env_ids)):
            raise InvalidField(f"min_ready {request.min_ready}: {most} environments are in a step, send that at most")
