"""The scenarios: what a client is to do with each environment, and what the referee replies."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from itertools import cycle
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gymtwist_conformance import fixtures
from gymtwist_conformance.assertions import Assertions
from gymtwist_conformance.fixtures import NUM_ENVS, Answer, Delivery, Environment
from gymtwist_conformance.reference_client import NETSTRING

#: A script receives requests and yields answers; it ends with the last answer.
Script: TypeAlias = Generator[Answer, dict[str, Any], None]

_SEED, _OTHER_SEED = 42, 43
#: Numbers that determine the action; they differ from step to step.
_ECHOES = (3, 0, 4, -1, 2, 1, 4, 3, -1, 0)
_TERMINATED, _TRUNCATED = {"terminated": True, "truncated": False}, {"terminated": False, "truncated": True}
_GOES_ON = {"terminated": False, "truncated": False}


class Scenario(NamedTuple):
    """One scenario.

    Attributes:
        name: The name of the scenario.
        id: The environment that a client makes to play it.
        task: What the client is to do.
        script: The referee's side.
    """

    name: str
    id: str
    task: str
    script: Callable[[Assertions, dict[str, Any], str], Script]


def _error(code: str, message: str, fault: str, **fields: Any) -> dict[str, Any]:
    return {"op": "error", "code": code, "message": message, "fault": fault, **fields}


def _deliveries() -> Iterator[tuple[Delivery, bool]]:
    """Return all ways of delivery, each with and without everything that is allowed."""
    return cycle((delivery, dressed) for dressed in (False, True) for delivery in reversed(Delivery))


def _numbers(echo: int) -> Any:
    return np.array([echo, np.nan, np.inf, -0.1], np.float32)


def _check_reset(assertions: Assertions, request: dict[str, Any], seed: int | None) -> None:
    found = assertions.take("resets", request, "reset").get("seed")
    assertions.check("seed", found == seed, f"the seed of a reset is {found!r}; expected {seed!r}")


def _check_step(assertions: Assertions, environment: Environment, request: dict[str, Any], expected: Any) -> None:
    """Check the action of a step, which must be part of the previous observation."""
    action = environment.action(assertions, assertions.take("steps", request, "step")["action"])
    told = "an action that is not in the space" if action is None else np.asarray(action).tolist()
    right = action is not None and np.array_equal(action, expected)
    assertions.check("action", right, f"the action is {told}; expected {np.asarray(expected).tolist()}")


def _close(assertions: Assertions, request: dict[str, Any]) -> Script:
    assertions.take("close", request, "close")
    yield Answer([{"op": "close"}], last=True)


def echo(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Play two episodes of a simple environment, after one with an error of either kind."""
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    deliveries = _deliveries()
    request = yield Answer([environment.made()], Delivery.BYTES)
    for seed, steps, end in ((_SEED, 5, None), (_OTHER_SEED, 10, _TERMINATED), (None, 4, _TRUNCATED)):
        _check_reset(assertions, request, seed)
        first = {"op": "reset", "observation": environment.observation(_numbers(_ECHOES[0]))}
        request = yield Answer([first], *next(deliveries))
        for index in range(steps):
            _check_step(assertions, environment, request, _ECHOES[index])
            if index == 2 and end is None:
                refused = _error("bad-request", "refused once, on purpose: send it again", "request")
                request = yield Answer([refused], *next(deliveries))
                again = environment.action(assertions, assertions.take("repeats", request, "step")["action"])
                right = again == _ECHOES[index]
                assertions.check("repeats", right, "the step that was refused once was not sent again as it was")
            flags = end if index == steps - 1 else _GOES_ON
            if flags is None:
                failed = "the environment failed, on purpose"
                reply = _error("environment-fault", failed, "environment", reset_needed=True)
            else:
                after = environment.observation(_numbers(_ECHOES[(index + 1) % len(_ECHOES)]))
                # An integer is a number, too.
                reply = {"op": "step", "observation": after, "reward": 1.0 if index else 1, **flags}
                # A field that has its default may be present or not.
                if index % 2:
                    reply["info"] = {"index": index, "text": "Größe 🎲", "nothing": None, "nested": {"op": ["error"]}}
                    reply["omitted"] = ["info.model"]
            request = yield Answer([reply], *next(deliveries))
    yield from _close(assertions, request)


def nested(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Play an episode of an environment whose observation is a Dict, and whose action is a Box."""
    space = fixtures.nested_space(text=encoding == NETSTRING)
    environment = Environment(make, encoding, fixtures.TARGET, space)
    deliveries, random = _deliveries(), np.random.default_rng(_SEED)
    request = yield Answer([environment.made()], *next(deliveries))
    _check_reset(assertions, request, _SEED)
    for index in range(9):
        target = random.uniform(-1, 1, 3).astype(np.float32)
        observation = environment.observation(
            {
                "number": 5 + index,
                "picture": random.integers(0, 256, (2, 3, 2), np.uint8),
                "pair": (np.array([np.nan, 0.5 * index]), np.array([1, 0, 1], np.int8)),
                "target": target,
            }
        )
        if not index:
            # The reply names what the info lacks, and that its number is a plain one: clients must accept both.
            told = {"info": {}, "omitted": ["info.model"], "plain_numbers": True}
            reply: dict[str, Any] = {"op": "reset", "observation": observation, **told}
        else:
            reward = environment.reward((0.1, np.nan, np.inf, -1e300)[index % 4])
            flags = _TERMINATED if index == 8 else _GOES_ON
            reply = {"op": "step", "observation": observation, "reward": reward, **flags}
        request = yield Answer([reply], *next(deliveries))
        if index < 8:
            _check_step(assertions, environment, request, target)
    yield from _close(assertions, request)


def vector(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Play several environments until each of them has ended once."""
    found = make.get("num_envs")
    assertions.check("num-envs", found == NUM_ENVS, f"num_envs of make is {found}; expected {NUM_ENVS}")
    single = (fixtures.ACTIONS, fixtures.NUMBERS)
    environment = Environment(make, encoding, fixtures.MANY_ACTIONS, fixtures.MANY_NUMBERS, single)
    deliveries = _deliveries()
    request = yield Answer([environment.made(num_envs=NUM_ENVS, autoreset_mode="next_step")], *next(deliveries))
    _check_reset(assertions, request, _SEED)
    # The step in which each of them ends.
    ends = np.array([2, 5, 4])
    for index in range(6):
        echoes = [_ECHOES[(index + 3 * place) % len(_ECHOES)] for place in range(NUM_ENVS)]
        observation = environment.observation(np.array([_numbers(each) for each in echoes]))
        reply: dict[str, Any] = {"op": "reset", "observation": observation}
        if index:
            reply = {
                "op": "step",
                "observation": observation,
                "reward": environment.rewards([1.0, 0.5, -1.0]),
                "terminated": environment.flags((ends == index) & (ends != 4)),
                "truncated": environment.flags((ends == index) & (ends == 4)),
            }
        request = yield Answer([reply], *next(deliveries))
        if index < 5:
            _check_step(assertions, environment, request, echoes)
    yield from _close(assertions, request)


def rewards(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Play an episode whose rewards are arrays, except for one that is a number."""
    asked = make.get("vector_rewards")
    assertions.check("vector-rewards", asked is True, f"vector_rewards of make is {asked}; expected true")
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    deliveries = _deliveries()
    request = yield Answer([environment.made(reward_space=fixtures.REWARDS)], *next(deliveries))
    _check_reset(assertions, request, _SEED)
    observation = environment.observation(_numbers(_ECHOES[0]))
    request = yield Answer([{"op": "reset", "observation": observation}], *next(deliveries))
    for index in range(8):
        _check_step(assertions, environment, request, _ECHOES[index])
        after = _ECHOES[index + 1]
        reward = environment.reward(float(after)) if index == 3 else environment.reward_array([np.nan, after])
        flags = _TERMINATED if index == 7 else _GOES_ON
        reply = {"op": "step", "observation": observation, "reward": reward, **flags}
        request = yield Answer([reply], *next(deliveries))
    yield from _close(assertions, request)


def mask(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Play several environments without autoreset: an error names those that the client must reset."""
    for name, expected in (("num_envs", NUM_ENVS), ("autoreset_mode", "disabled")):
        right = make.get(name) == expected
        assertions.check(name.replace("_", "-"), right, f"{name} of make is {make.get(name)}; expected {expected}")
    single = (fixtures.ACTIONS, fixtures.NUMBERS)
    environment = Environment(make, encoding, fixtures.MANY_ACTIONS, fixtures.MANY_NUMBERS, single)
    deliveries = _deliveries()
    request = yield Answer([environment.made(num_envs=NUM_ENVS, autoreset_mode="disabled")], *next(deliveries))
    _check_reset(assertions, request, _SEED)
    going, over = [False] * NUM_ENVS, [True, False, True]
    before: list[int] = []
    for index, flags in enumerate((None, going, over, going, [True] * NUM_ENVS)):
        echoes = [_ECHOES[index + place] for place in range(NUM_ENVS)]
        observation = environment.observation(np.array([_numbers(each) for each in echoes]))
        reply: dict[str, Any] = {"op": "reset", "observation": observation}
        if flags is not None:
            _check_step(assertions, environment, request, before)
            told, none = environment.flags(flags), environment.flags(going)
            reply = {"op": "step", "observation": observation, "terminated": told, "truncated": none}
            reply["reward"] = environment.rewards([1.0] * NUM_ENVS)
        before = echoes
        request = yield Answer([reply], *next(deliveries))
        if flags is over:
            _check_step(assertions, environment, request, echoes)
            ended = [place for place, each in enumerate(over) if each]
            text = "environments 0 and 2 have no episode: reset them"
            needed = _error("reset-needed", text, "request", reset_needed=True, environments=ended)
            request = yield Answer([needed], *next(deliveries))
            found = assertions.take("resets", request, "reset").get("mask")
            assertions.check("mask", found == over, f"the mask of the reset is {found}; expected {over}")
            request = yield Answer([{"op": "reset", "observation": observation}], *next(deliveries))
    yield from _close(assertions, request)


def queue(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Let a client wait for its environment, and report its place in the queue."""
    asked = make.get("report_queue")
    assertions.check("report-queue", asked is True, f"report_queue of make is {asked}; expected true")
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    places = [{"op": "queued", "place": place} for place in (2, 1)]
    request = yield Answer([*places, environment.made()], Delivery.HALVES, dressed=True)
    _check_reset(assertions, request, _SEED)
    observation = environment.observation(_numbers(_ECHOES[0]))
    request = yield Answer([{"op": "reset", "observation": observation}])
    yield from _close(assertions, request)


def many(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Take several steps in one request, more than the episode has."""
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    deliveries = _deliveries()
    request = yield Answer([environment.made()])
    _check_reset(assertions, request, _SEED)
    first = {"op": "reset", "observation": environment.observation(_numbers(_ECHOES[0]))}
    request = yield Answer([first], *next(deliveries))
    assertions.take("step-many", request, "step_many")
    wanted = [0, 1, 2, 3, 4, 0]
    given = [environment.action(assertions, each) for each in request.get("actions", [])]
    assertions.check("step-many", given == wanted, f"the actions of step_many are {given}; expected {wanted}")
    asked = request.get("observations", "last")
    assertions.check("step-many", asked == "all", f'observations is {asked!r}; expected "all"')
    observations = [environment.observation(_numbers(each)) for each in _ECHOES[1:5]]
    stepped = {
        "op": "step_many",
        "observations": observations if environment.is_json else b"".join(observations),
        "rewards": environment.rewards([2.0, 0.0, 3.0, 1.0]),
        **_TERMINATED,
        "count": 4,
    }
    request = yield Answer([stepped], *next(deliveries))
    _check_reset(assertions, request, _OTHER_SEED)
    first = {"op": "reset", "observation": environment.observation(_numbers(_ECHOES[7]))}
    request = yield Answer([first], *next(deliveries))
    # The actions show what the client has read: there is one for each observation and for each reward.
    for index, expected in enumerate((*_ECHOES[1:5], 2, 0, 3, 1)):
        _check_step(assertions, environment, request, expected)
        after = environment.observation(_numbers(_ECHOES[index]))
        request = yield Answer([{"op": "step", "observation": after, "reward": 0.0, **_GOES_ON}], *next(deliveries))
    yield from _close(assertions, request)


def pipeline(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Take a reset and four steps before the first reply; all replies come at once."""
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    request = yield Answer([environment.made()])
    actions, observed = [0, 1, 2, 3], [3, 0, -1, 2]
    for dressed in (False, True):
        _check_reset(assertions, request, _SEED)
        first = environment.observation(_numbers(observed[0]))
        replies: list[dict[str, Any]] = [{"op": "reset", "observation": first}]
        for index, action in enumerate(actions):
            request = yield Answer([])
            _check_step(assertions, environment, request, action)
            if index == 1:
                replies.append(_error("bad-request", "the second step is refused, on purpose", "request"))
                continue
            after = environment.observation(_numbers(observed[max(index, 1)]))
            replies.append({"op": "step", "observation": after, "reward": float(index), **_GOES_ON})
        # The actions of the second round show which reply the client took for which request.
        actions = observed
        request = yield Answer(replies, dressed=dressed)
    yield from _close(assertions, request)


def attributes(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Let a client read and change an attribute, and call a method with what it has read."""
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    deliveries = _deliveries()
    request = yield Answer([environment.made()])
    level, scores = 7, np.array([0.1, -2.25], np.float32)
    hidden = _error("attribute-refused", 'the attribute "secret" is not for clients, on purpose', "request")
    for name, reply in (
        ("level", {"op": "get", "value": level}),
        ("", {"op": "set"}),
        ("secret", hidden),
        ("scores", {"op": "get", "value": environment.array(scores)}),
        ("choose", {"op": "get", "callable": True}),
    ):
        assertions.take("attributes", request, "get" if name else "set")
        wanted = {"name": name or "level"} if name else {"name": "level", "value": level + 1}
        _check_fields(assertions, request, wanted)
        request = yield Answer([reply], *next(deliveries))
    assertions.take("attributes", request, "call")
    arguments = {"name": "choose", "args": [float(scores[1])], "kwargs": {"level": level + 1}}
    _check_fields(assertions, request, arguments)
    request = yield Answer([{"op": "call", "value": {"action": _ECHOES[0]}}], *next(deliveries))
    _check_reset(assertions, request, _SEED)
    observation = environment.observation(_numbers(_ECHOES[1]))
    request = yield Answer([{"op": "reset", "observation": observation}])
    _check_step(assertions, environment, request, _ECHOES[0])
    request = yield Answer([{"op": "step", "observation": observation, "reward": 1.0, **_TERMINATED}])
    yield from _close(assertions, request)


def _check_fields(assertions: Assertions, request: dict[str, Any], wanted: dict[str, Any]) -> None:
    found = {name: request.get(name) for name in wanted}
    assertions.check("attribute", found == wanted, f'"{request["op"]}" has {found}; expected {wanted}')


def render(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Render before the first reset, where there is nothing to see, and afterwards."""
    mode = make.get("render_mode")
    assertions.check("render-mode", mode == "rgb_array", f'render_mode of make is {mode!r}; expected "rgb_array"')
    environment = Environment(make, encoding, fixtures.ACTIONS, fixtures.NUMBERS)
    deliveries = _deliveries()
    request = yield Answer([environment.made(render_mode="rgb_array", metadata={"render_modes": ["rgb_array"]})])
    early = assertions.take("renders", request, "render").get("before_reset")
    assertions.check("before-reset", early is True, f"before_reset of the first render is {early}; expected true")
    # The field has its default, and may be left out.
    request = yield Answer([{"op": "render"}], *next(deliveries))
    _check_reset(assertions, request, _SEED)
    observation = environment.observation(_numbers(_ECHOES[1]))
    reply: dict[str, Any] = {"op": "reset", "observation": observation}
    for index, pixel in enumerate((3, 0, 2)):
        request = yield Answer([reply], *next(deliveries))
        assertions.take("renders", request, "render")
        frame = np.array([[[255, 128, pixel], [index, 0, 1]]], np.uint8)
        request = yield Answer([{"op": "render", "frame": environment.array(frame)}], *next(deliveries))
        _check_step(assertions, environment, request, pixel)
        reply = {"op": "step", "observation": observation, "reward": 1.0, **(_TERMINATED if index == 2 else _GOES_ON)}
    request = yield Answer([reply], *next(deliveries))
    yield from _close(assertions, request)


def refused(assertions: Assertions, make: dict[str, Any], encoding: str) -> Script:
    """Refuse an environment."""
    assertions.check("make", make["id"], "make has no id")
    message = f'unknown environment "{make["id"]}", on purpose; there will be no other'
    yield Answer([_error("unknown-environment", message, "request")], Delivery.BYTES, dressed=True, last=True)


_BEGINNING = "Make {id}. Reset with seed 42."
_CLOSE = "Close, read the reply, and close the connection."
SCENARIOS = (
    Scenario(
        "echo",
        "Conformance/Echo-v0",
        f"{_BEGINNING} Step, always with the first number of the previous observation as the action (an integer). "
        "If an error has reset_needed false, send the same step again. If an error has reset_needed true, reset with "
        "seed 43, and go on. After the end of that episode, reset without a seed, and step to the end of this one. "
        + _CLOSE,
        echo,
    ),
    Scenario(
        "nested",
        "Conformance/Nested-v0",
        f"{_BEGINNING} Step to the end of the episode, always with `target` of the previous observation as the action. "
        + _CLOSE,
        nested,
    ),
    Scenario(
        "vector",
        "Conformance/Vector-v0",
        "Make {id} with num_envs 3. Reset with seed 42. Step, always with the first numbers of the three previous "
        "observations as the actions, until each environment has been terminated or truncated once. " + _CLOSE,
        vector,
    ),
    Scenario(
        "rewards",
        "Conformance/Rewards-v0",
        "Make {id} with vector_rewards true. Reset with seed 42. Step with the first number of the observation, then "
        "always with the last number of the previous reward, which is an array or a single number, to the end of the "
        "episode. " + _CLOSE,
        rewards,
    ),
    Scenario(
        "mask",
        "Conformance/Mask-v0",
        "Make {id} with num_envs 3 and the autoreset_mode disabled. Reset with seed 42. Step, always with the first "
        "numbers of the three previous observations as the actions, until all are terminated in one step. If an error "
        "has the code reset-needed, reset without a seed, and with a mask of the environments that the error names. "
        + _CLOSE,
        mask,
    ),
    Scenario(
        "queue",
        "Conformance/Queue-v0",
        "Make {id} with report_queue true: the places in a queue come before the reply. Reset with seed 42. " + _CLOSE,
        queue,
    ),
    Scenario(
        "many",
        "Conformance/Many-v0",
        f"{_BEGINNING} Send step_many with the actions 0, 1, 2, 3, 4, 0, and ask for all observations: four come. "
        "Reset with seed 43. Step with the first number of each of those four observations, then with each of the four "
        "rewards. " + _CLOSE,
        many,
    ),
    Scenario(
        "pipeline",
        "Conformance/Pipeline-v0",
        "Make {id}. Send a reset with seed 42 and steps with the actions 0, 1, 2 and 3 before you read; then read the "
        "five replies, of which one is an error. Do the same again; the actions are the first numbers of the four "
        "observations that came. " + _CLOSE,
        pipeline,
    ),
    Scenario(
        "attributes",
        "Conformance/Attributes-v0",
        "Make {id}. Get the attribute `level`, a number, and set it to one more. Get `secret`, which is refused, and "
        "go on. Get `scores`, an array, and `choose`, which is a method. Call it with the last of the scores as its "
        "argument, and with the keyword argument `level`, which is what you have set. Reset with seed 42. Step with "
        "the `action` that the call has returned. " + _CLOSE,
        attributes,
    ),
    Scenario(
        "render",
        "Conformance/Render-v0",
        'Make {id} with the render_mode "rgb_array". Before any reset, render with before_reset true: there is no '
        "frame. Reset with seed 42. Render, and step with the last number of the first pixel as the action, to the end "
        "of the episode. " + _CLOSE,
        render,
    ),
    Scenario("refused", "Conformance/Refused-v0", "Make {id}: it is refused. Close the connection.", refused),
)
