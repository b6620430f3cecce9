"""Clients with one bad habit each, which the judge of clients must find out."""

from __future__ import annotations

from typing import Any

import numpy as np

from gymtwist_conformance.reference_client import Failed, FramedClient, message
from tests.support.scenario_client import PARTS, ScenarioClient


class Forgetful(ScenarioClient):
    """Sends no seed."""

    def first(self, seed: int | None) -> Any:
        """Forget it."""
        return super().first(None)


class Blind(ScenarioClient):
    """Does not look at the observation."""

    def echoed(self, observation: Any) -> Any:
        """Return the same action each time."""
        return 1


class OffByOne(ScenarioClient):
    """Takes the greatest action for the first that there is not."""

    def echoed(self, observation: Any) -> Any:
        """Return one that is not in the space."""
        return 5


class Endless(ScenarioClient):
    """Knows no truncation."""

    def is_over(self, stepped: Any) -> bool:
        """Look at one flag."""
        return bool(stepped.terminated)


class Hasty(ScenarioClient):
    """Goes on with the next step after every error."""

    def repeats(self, error: Failed) -> bool:
        """Do not look at what the error says."""
        return True


class Timid(ScenarioClient):
    """Resets after every error."""

    def repeats(self, error: Failed) -> bool:
        """Do not look at what the error says."""
        return False


class Rude(ScenarioClient):
    """Leaves without a word."""

    def leave(self) -> None:
        """Only goes."""


class Clinging(ScenarioClient):
    """Has more to ask when all is said."""

    def leave(self) -> None:
        """Ask for a sample."""
        self.client.say("close")
        self.client.say("sample")
        self.client.read_to_end()


class Misspelt(ScenarioClient):
    """Makes with a field that there is not."""

    def make(self, part: str, **fields: Any) -> None:
        """Ask for a render mode of its own spelling."""
        super().make(part, rendermode="rgb_array", **fields)


class Stranger(ScenarioClient):
    """Makes what is not in the scenario."""

    patience = 1.0

    def make(self, part: str, **fields: Any) -> None:
        """Ask for another environment."""
        self.client.make("CartPole-v1")


class Resetting(ScenarioClient):
    """Does not make an environment."""

    patience = 1.0

    def make(self, part: str, **fields: Any) -> None:
        """Begin with a reset."""
        self.client.ask("reset")


class Single(ScenarioClient):
    """Knows no vector environments."""

    def make(self, part: str, **fields: Any) -> None:
        """Leave the number of environments out."""
        super().make(part)


class Wordy(FramedClient):
    """Sends what is not in any frame."""

    def send(self, data: bytes) -> None:
        """Put a greeting before it."""
        super().send(b"HELLO" + data)


class Greeting(ScenarioClient):
    """Speaks another protocol."""

    patience = 1.0

    def connect(self, port: int, encoding: str) -> FramedClient:
        """Connect with a client that does."""
        client = super().connect(port, encoding)
        return Wordy(client.socket, encoding)


class Trailing(FramedClient):
    """Sends a byte too many behind each request."""

    def send(self, data: bytes) -> None:
        """End each request with a zero byte, as strings of C end."""
        super().send(data + b"\0")


class Ending(ScenarioClient):
    """Ends its frames as strings."""

    def connect(self, port: int, encoding: str) -> FramedClient:
        """Connect with a client that does."""
        client = super().connect(port, encoding)
        return Trailing(client.socket, encoding)


class Sharing(ScenarioClient):
    """Asks for shared memory without looking whether the server offers it."""

    def first(self, seed: int | None) -> Any:
        """Ask before it resets."""
        self.client.say("share")
        return super().first(seed)


class Waiting(ScenarioClient):
    """Waits for each reply before the next request."""

    patience = 1.0

    def pipeline(self) -> None:
        """Read too early."""
        self.make("pipeline")
        self.client.socket.settimeout(1.5)
        self.client.reset(seed=42)


class Shuffling(ScenarioClient):
    """Takes a reply for another's."""

    def echoed(self, observation: Any) -> Any:
        """Take the first of two for the second."""
        return {3: 0, 0: 3}.get(super().echoed(observation), super().echoed(observation))


class Reversed(ScenarioClient):
    """Reads a list of rewards from its end."""

    def many(self) -> None:
        """Read it so."""
        tell = self.client.rewards
        self.client.rewards = lambda told, steps=None: tell(told, steps)[::-1] if steps else tell(told)  # type: ignore[method-assign]
        super().many()


class Lost(ScenarioClient):
    """Does not count the seconds of an idle client."""

    patience = 1.0

    def make(self, part: str, **fields: Any) -> None:
        """Connect, and send half a message."""
        self.client.socket.settimeout(2)
        self.client.send(message(self.client.encoding, "make", id=PARTS[part])[:-2])
        self.client.read_to_end()


class Scalar(ScenarioClient):
    """Takes every reward for a number."""

    def of_reward(self, reward: Any) -> int:
        """Take the first number of it."""
        return int(np.nan_to_num(np.atleast_1d(reward)[0]))


class Numberless(ScenarioClient):
    """Does not ask for rewards that are arrays."""

    def make(self, part: str, **fields: Any) -> None:
        """Leave the field out."""
        super().make(part, **{name: each for name, each in fields.items() if name != "vector_rewards"})


class Sweeping(ScenarioClient):
    """Resets all environments whichever an error names."""

    def to_reset(self, error: Failed) -> dict[str, Any]:
        """Chooses all."""
        return {}


class Impatient(ScenarioClient):
    """Takes the first message for the reply to make."""

    def wait(self) -> None:
        """Do not."""


class Choosy(ScenarioClient):
    """Knows only some of the fields of a reply to reset."""

    def first(self, seed: int | None) -> Any:
        """Leave where there are others."""
        told = self.client.ask("reset", seed=seed)
        assert not told.keys() - {"observation", "info"}
        return self.client.observations.load(told["observation"])


class Stubborn(ScenarioClient):
    """Sets an attribute to what it was."""

    def get(self, name: str) -> Any:
        """Read another number."""
        return super().get(name) - 1 if name == "level" else super().get(name)


class Late(ScenarioClient):
    """Has an environment render as if it was reset."""

    def render_early(self) -> None:
        """Render without a word on it."""
        self.client.ask("render")


class Colourblind(ScenarioClient):
    """Takes the first number of a pixel for the last."""

    def of_pixel(self, pixel: Any) -> int:
        """Return one that is not in the space."""
        return int(pixel[0])
