"""The scenario: what a client is to do with each environment, and what it is told meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import cycle
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gymtwist.conformance.client import stage
from gymtwist.conformance.client.delivery import Answer, Delivery
from gymtwist.conformance.client.exam import Exam
from gymtwist.conformance.client.stage import NUM_ENVS, Stage
from gymtwist.protocol.messages import Close, Make, Request, Reset, Step, StepMany
from gymtwist.protocol.names import ProtocolName

#: A script is told requests, and gives answers; it ends with the answer that is the last.
Script: TypeAlias = Generator[Answer, Request, None]

_SEED, _OTHER_SEED = 42, 43
#: Numbers from which the action is read: all of them different from one step to the next.
_ECHOES = (3, 0, 4, -1, 2, 1, 4, 3, -1, 0)
_TERMINATED, _TRUNCATED = {"terminated": True, "truncated": False}, {"terminated": False, "truncated": True}
_GOES_ON = {"terminated": False, "truncated": False}


class Part(NamedTuple):
    """One part of the scenario.

    Attributes:
        name: Of the part.
        id: The environment that a client makes to play it.
        task: What the client is to do.
        script: The judge's side.
    """

    name: str
    id: str
    task: str
    script: Callable[[Exam, Make, ProtocolName], Script]


def _error(code: str, message: str, fault: str, **fields: Any) -> dict[str, Any]:
    return {"op": "error", "code": code, "message": message, "fault": fault, **fields}


def _hard() -> Iterator[tuple[Delivery, bool]]:
    """Go through the ways of delivery, with and without all that may be there."""
    return cycle((delivery, dressed) for dressed in (False, True) for delivery in reversed(Delivery))


def _numbers(echo: int) -> Any:
    return np.array([echo, np.nan, np.inf, -0.1], np.float32)


def _reset(exam: Exam, request: Request, seed: int | None) -> None:
    reset = exam.take("resets", request, Reset)
    exam.check("seed", reset.seed == seed, f"the seed of a reset is {reset.seed!r}; expected {seed!r}")


def _echoed(exam: Exam, set_: Stage, request: Request, expected: Any) -> None:
    """Judge the action of a step, which is to be part of the observation before it."""
    step = exam.take("steps", request, Step)
    action = set_.action(exam, step.action)
    told = "an action that is not in the space" if action is None else np.asarray(action).tolist()
    right = action is not None and np.array_equal(action, expected)
    exam.check("action", right, f"the action is {told}; expected {np.asarray(expected).tolist()}")


def _closed(exam: Exam, request: Request) -> Script:
    exam.take("close", request, Close)
    yield Answer([{"op": "close"}], last=True)


def echo(exam: Exam, make: Make, protocol: ProtocolName) -> Script:
    """Two episodes of a simple environment, with an error of either kind in between."""
    set_ = Stage(make, protocol, stage.ACTIONS, stage.NUMBERS)
    hard = _hard()
    request = yield Answer([set_.made()], Delivery.BYTES)
    # An episode in which something goes wrong, that which follows it, and one that is truncated.
    for seed, steps, end in ((_SEED, 5, None), (_OTHER_SEED, 10, _TERMINATED), (None, 4, _TRUNCATED)):
        _reset(exam, request, seed)
        first = {"op": "reset", "observation": set_.observation(_numbers(_ECHOES[0]))}
        request = yield Answer([first], *next(hard))
        for index in range(steps):
            _echoed(exam, set_, request, _ECHOES[index])
            if index == 2 and end is None:
                refused = _error("bad-request", "refused once, on purpose: send it again", "request")
                request = yield Answer([refused], *next(hard))
                again = exam.take("repeats", request, Step)
                right = set_.action(exam, again.action) == _ECHOES[index]
                exam.check("repeats", right, "the step that was refused once was not sent again as it was")
            last = index == steps - 1
            if last and end is None:
                request = yield Answer(
                    [
                        _error(
                            "environment-fault", "the environment failed, on purpose", "environment", reset_needed=True
                        )
                    ],
                    *next(hard),
                )
                continue
            flags = end if last and end is not None else _GOES_ON
            after = _numbers(_ECHOES[(index + 1) % len(_ECHOES)])
            stepped = {"op": "step", "observation": set_.observation(after), "reward": 1.0, **flags}
            if not index:
                stepped["reward"] = 1  # an integer is a number
            # A field that has its default may be there or not.
            if index % 2:
                stepped["info"] = {"index": index, "text": "Größe 🎲", "nothing": None, "nested": {"op": ["error"]}}
            request = yield Answer([stepped], *next(hard))
    yield from _closed(exam, request)


def nested(exam: Exam, make: Make, protocol: ProtocolName) -> Script:
    """An episode of an environment whose observation is a Dict, and whose action is a Box."""
    set_ = Stage(make, protocol, stage.TARGET, stage.NESTED)
    hard = _hard()
    random = np.random.default_rng(_SEED)
    request = yield Answer([set_.made()], *next(hard))
    _reset(exam, request, _SEED)
    for index in range(9):
        target = random.uniform(-1, 1, 3).astype(np.float32)
        observation = set_.observation(
            {
                "number": np.int64(5 + index),
                "picture": random.integers(0, 256, (2, 3, 2), np.uint8),
                "pair": (np.array([np.nan, 0.5 * index]), np.array([1, 0, 1], np.int8)),
                "target": target,
            }
        )
        if not index:
            reply: dict[str, Any] = {"op": "reset", "observation": observation, "info": {}}
        else:
            flags = _TERMINATED if index == 8 else _GOES_ON
            reward = (0.1, np.nan, np.inf, -1e300)[index % 4]
            reply = {"op": "step", "observation": observation, "reward": set_.number(reward), **flags}
        request = yield Answer([reply], *next(hard))
        if index < 8:
            _echoed(exam, set_, request, target)
    yield from _closed(exam, request)


def vector(exam: Exam, make: Make, protocol: ProtocolName) -> Script:
    """Several environments, until each of them has ended once."""
    right = make.num_envs == NUM_ENVS
    exam.check("num-envs", right, f"num_envs of make is {make.num_envs}; expected {NUM_ENVS}")
    set_ = Stage(make, protocol, stage.MANY_ACTIONS, stage.MANY_NUMBERS, (stage.ACTIONS, stage.NUMBERS))
    hard = _hard()
    request = yield Answer([set_.made(num_envs=NUM_ENVS, autoreset_mode="next_step")], *next(hard))
    _reset(exam, request, _SEED)
    # In which step each of them ends.
    ends = np.array([2, 5, 4])
    for index in range(6):
        echoes = [_ECHOES[(index + 3 * place) % len(_ECHOES)] for place in range(NUM_ENVS)]
        observation = set_.observation(np.array([_numbers(each) for each in echoes]))
        reply: dict[str, Any] = {"op": "reset", "observation": observation}
        if index:
            reply = {
                "op": "step",
                "observation": observation,
                "reward": set_.numbers([1.0, 0.5, -1.0]),
                "terminated": set_.flags((ends == index) & (ends != 4)),
                "truncated": set_.flags((ends == index) & (ends == 4)),
            }
        request = yield Answer([reply], *next(hard))
        if index < 5:
            _echoed(exam, set_, request, echoes)
    yield from _closed(exam, request)


def many(exam: Exam, make: Make, protocol: ProtocolName) -> Script:
    """Several steps in one request, of which the episode takes fewer."""
    set_ = Stage(make, protocol, stage.ACTIONS, stage.NUMBERS)
    hard = _hard()
    request = yield Answer([set_.made()])
    _reset(exam, request, _SEED)
    request = yield Answer([{"op": "reset", "observation": set_.observation(_numbers(_ECHOES[0]))}], *next(hard))
    asked = exam.take("step-many", request, StepMany)
    wanted = [0, 1, 2, 3, 4, 0]
    given = [set_.action(exam, each) for each in asked.actions] if isinstance(asked.actions, list) else None
    exam.check("step-many", given == wanted, f"the actions of step_many are {given}; expected {wanted}")
    exam.check("step-many", asked.observations == "all", f'observations is {asked.observations!r}; expected "all"')
    observations = [set_.observation(_numbers(each)) for each in _ECHOES[1:5]]
    stepped = {
        "op": "step_many",
        "observations": observations if set_.is_json else b"".join(observations),
        "rewards": set_.numbers([2.0, 0.0, 3.0, 1.0]),
        **_TERMINATED,
        "count": 4,
    }
    request = yield Answer([stepped], *next(hard))
    _reset(exam, request, _OTHER_SEED)
    request = yield Answer([{"op": "reset", "observation": set_.observation(_numbers(_ECHOES[7]))}], *next(hard))
    # What is played tells what was read: one action for each of the observations, and for each of the rewards.
    for index, expected in enumerate((*_ECHOES[1:5], 2, 0, 3, 1)):
        _echoed(exam, set_, request, expected)
        after = set_.observation(_numbers(_ECHOES[index]))
        request = yield Answer([{"op": "step", "observation": after, "reward": 0.0, **_GOES_ON}], *next(hard))
    yield from _closed(exam, request)


def pipeline(exam: Exam, make: Make, protocol: ProtocolName) -> Script:
    """A reset and four steps before the first reply, which all come at once."""
    set_ = Stage(make, protocol, stage.ACTIONS, stage.NUMBERS)
    request = yield Answer([set_.made()])
    actions = [0, 1, 2, 3]
    for dressed in (False, True):
        _reset(exam, request, _SEED)
        observed = [3, 0, -1, 2]
        replies: list[dict[str, Any]] = [{"op": "reset", "observation": set_.observation(_numbers(observed[0]))}]
        for index, action in enumerate(actions):
            request = yield Answer([])
            _echoed(exam, set_, request, action)
            if index == 1:
                replies.append(_error("bad-request", "the second step is refused, on purpose", "request"))
                continue
            after = set_.observation(_numbers(observed[max(index, 1)]))
            replies.append({"op": "step", "observation": after, "reward": float(index), **_GOES_ON})
        # What is played in the second turn tells which reply was taken for which.
        actions = observed
        request = yield Answer(replies, dressed=dressed)
    yield from _closed(exam, request)


def refused(exam: Exam, make: Make, protocol: ProtocolName) -> Script:
    """An environment that cannot be had."""
    exam.check("make", make.id, "make has no id")
    message = f'unknown environment "{make.id}", on purpose; there will be no other'
    yield Answer([_error("unknown-environment", message, "request")], Delivery.BYTES, dressed=True, last=True)


_BEGINNING = "Make {id}. Reset with seed 42."
_CLOSE = "Close, read the reply, and close the connection."
PARTS = (
    Part(
        "echo",
        "Conformance/Echo-v0",
        f"{_BEGINNING} Step, always with the first number of the observation before as the action (an integer). An "
        "error whose reset_needed is false: send the same step again. An error whose reset_needed is true: reset with "
        "seed 43, and go on. After the end of that episode, reset without a seed, and step to the end of this one. "
        + _CLOSE,
        echo,
    ),
    Part(
        "nested",
        "Conformance/Nested-v0",
        f"{_BEGINNING} Step to the end of the episode, always with `target` of the observation before as the action. "
        + _CLOSE,
        nested,
    ),
    Part(
        "vector",
        "Conformance/Vector-v0",
        "Make {id} with num_envs 3. Reset with seed 42. Step, always with the first numbers of the three observations "
        "before as the actions, until each environment has been terminated or truncated once. " + _CLOSE,
        vector,
    ),
    Part(
        "many",
        "Conformance/Many-v0",
        f"{_BEGINNING} Send step_many with the actions 0, 1, 2, 3, 4, 0, and ask for all observations: four come. "
        "Reset with seed 43. Step with the first number of each of those four observations, then with each of the four "
        "rewards. " + _CLOSE,
        many,
    ),
    Part(
        "pipeline",
        "Conformance/Pipeline-v0",
        "Make {id}. Send a reset with seed 42 and steps with the actions 0, 1, 2 and 3 before you read; then read the "
        "five replies, of which one is an error. Do the same again; the actions are the first numbers of the four "
        "observations that came. " + _CLOSE,
        pipeline,
    ),
    Part("refused", "Conformance/Refused-v0", "Make {id}: it is refused. Close the connection.", refused),
)
