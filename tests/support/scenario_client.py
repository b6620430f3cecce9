"""A client that plays the scenario of the conformance suite, with habits that can be bad ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymtwist_conformance.reference_client import NETSTRING, Failed, FramedClient, decode_arrays
from tests.support.server_process import connected

#: What the judge has: the name of each part, and the environment to make.
PARTS = {
    "echo": "Conformance/Echo-v0",
    "nested": "Conformance/Nested-v0",
    "vector": "Conformance/Vector-v0",
    "rewards": "Conformance/Rewards-v0",
    "mask": "Conformance/Mask-v0",
    "queue": "Conformance/Queue-v0",
    "many": "Conformance/Many-v0",
    "pipeline": "Conformance/Pipeline-v0",
    "attributes": "Conformance/Attributes-v0",
    "render": "Conformance/Render-v0",
    "refused": "Conformance/Refused-v0",
}


class ScenarioClient:
    """A client that does what it is told to; subclasses do not.

    Args:
        port: Where the judge listens.
        encoding: What to speak.
        form: How values travel in JSON.

    Attributes:
        patience: Seconds that the judge is to wait for it.
    """

    patience = 5.0

    def __init__(self, port: int, encoding: str, form: str = "nested") -> None:
        """Connect for a part."""
        self.client = self.connect(port, encoding)
        self.form = {"values": form} if encoding == NETSTRING and form != "nested" else {}

    def connect(self, port: int, encoding: str) -> FramedClient:
        """Connect."""
        return FramedClient(connected(("127.0.0.1", port)), encoding)

    def play(self, part: str) -> None:
        """Play a part, and close the connection."""
        with self.client:
            getattr(self, part)()

    # Habits

    def make(self, part: str, **fields: Any) -> None:
        """Make the environment of a part."""
        self.client.make(PARTS[part], **fields, **self.form)

    def first(self, seed: int | None) -> Any:
        """Begin an episode; return its first observation."""
        return self.client.reset(**({} if seed is None else {"seed": seed}))[0]

    def echoed(self, observation: Any) -> Any:
        """Chooses the action that an observation asks for."""
        return int(observation[0])

    def is_over(self, stepped: Any) -> bool:
        """Tell the end of an episode."""
        return bool(stepped.terminated or stepped.truncated)

    def repeats(self, error: Failed) -> bool:
        """Tell whether to send a step again."""
        return not error.reset_needed

    def leave(self) -> None:
        """Close the environment."""
        assert self.client.ask("close") == {}
        assert self.client.read_to_end() == b""

    # Parts

    def echo(self) -> None:
        """Play two episodes, with errors in between."""
        self.make("echo")
        observation = self.first(42)
        for seed in (None, ...):
            over = False
            while not over:
                try:
                    stepped = self.client.step(self.echoed(observation))
                except Failed as error:
                    if not self.repeats(error):
                        observation = self.first(43)
                    continue
                observation, over = stepped.observation, self.is_over(stepped)
            if seed is None:
                observation = self.first(None)
        self.leave()

    def nested(self) -> None:
        """Play an episode with a Dict."""
        self.make("nested")
        observation, over = self.first(42), False
        while not over:
            stepped = self.client.step(observation["target"])
            observation, over = stepped.observation, self.is_over(stepped)
        self.leave()

    def vector(self) -> None:
        """Play three environments until each has ended."""
        self.make("vector", num_envs=3)
        observation, over = self.first(42), np.zeros(3, np.bool_)
        while not over.all():
            stepped = self.client.step([self.echoed(each) for each in observation])
            observation, over = stepped.observation, over | stepped.terminated | stepped.truncated
        self.leave()

    def of_reward(self, reward: Any) -> int:
        """Chooses the action that a reward asks for."""
        return int(np.atleast_1d(reward)[-1])

    def rewards(self) -> None:
        """Play an episode with rewards that are arrays."""
        self.make("rewards", vector_rewards=True)
        action, over = self.echoed(self.first(42)), False
        while not over:
            stepped = self.client.step(action)
            action, over = self.of_reward(stepped.reward), self.is_over(stepped)
        self.leave()

    def to_reset(self, error: Failed) -> dict[str, Any]:
        """Chooses the environments to reset after an error."""
        return {"mask": [index in error.environments for index in range(3)]}

    def mask(self) -> None:
        """Play three environments, and resets those whose episode has ended."""
        self.make("mask", num_envs=3, autoreset_mode="disabled")
        observation, over = self.first(42), np.zeros(3, np.bool_)
        while not over.all():
            try:
                stepped = self.client.step([self.echoed(each) for each in observation])
            except Failed as error:
                assert error.code == "reset-needed"
                observation = self.client.reset(**self.to_reset(error))[0]
                continue
            observation, over = stepped.observation, stepped.terminated
        self.leave()

    def queue(self) -> None:
        """Wait in a queue."""
        self.client.say("make", id=PARTS["queue"], report_queue=True, **self.form)
        self.wait()
        self.client.read_made(self.form.get("values", "nested"))
        self.first(42)
        self.leave()

    def wait(self) -> None:
        """Read the places in the queue."""
        assert [self.client.reply("queued")["place"] for _ in range(2)] == [2, 1]

    def many(self) -> None:
        """Take several steps in one request."""
        self.make("many")
        self.first(42)
        actions = [self.client.actions.dump(each) for each in (0, 1, 2, 3, 4, 0)]
        observations, rewards, *_ = self.client.step_many(actions=actions, observations="all")
        self.first(43)
        for each in observations:
            self.client.step(self.echoed(each))
        for reward in rewards:
            self.client.step(int(reward))
        self.leave()

    def pipeline(self) -> None:
        """Send before it reads."""
        self.make("pipeline")
        actions = [0, 1, 2, 3]
        for _ in range(2):
            self.client.say("reset", seed=42)
            for action in actions:
                self.client.say("step", action=self.client.actions.dump(action))
            observations = [self.client.read_reset()[0]]
            for index in range(4):
                try:
                    observations.append(self.client.read_step().observation)
                except Failed:
                    assert index == 1
            actions = [self.echoed(each) for each in observations]
        self.leave()

    def get(self, name: str) -> Any:
        """Read an attribute."""
        return decode_arrays(self.client.ask("get", name=name).get("value"))

    def attributes(self) -> None:
        """Read an attribute, change it, and call a method."""
        self.make("attributes")
        level = self.get("level") + 1
        self.client.ask("set", name="level", value=level)
        try:
            self.get("secret")
        except Failed as error:
            assert error.code == "attribute-refused"
        scores = self.get("scores")
        assert self.client.ask("get", name="choose")["callable"]
        called = self.client.ask("call", name="choose", args=[float(scores[-1])], kwargs={"level": level})
        self.first(42)
        self.client.step(called["value"]["action"])
        self.leave()

    def render_early(self) -> None:
        """Render before the first reset."""
        assert self.client.ask("render", before_reset=True).get("frame") is None

    def render(self) -> None:
        """Render each step."""
        self.make("render", render_mode="rgb_array")
        self.render_early()
        self.first(42)
        over = False
        while not over:
            frame = decode_arrays(self.client.ask("render")["frame"])
            over = self.is_over(self.client.step(self.of_pixel(frame[0, 0])))
        self.leave()

    def of_pixel(self, pixel: Any) -> int:
        """Chooses the action that a pixel asks for."""
        return int(pixel[-1])

    def refused(self) -> None:
        """Is refused."""
        try:
            self.make("refused")
        except Failed as error:
            assert error.code == "unknown-environment"
        assert self.client.read_to_end() == b""
