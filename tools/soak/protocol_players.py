"""Players of every protocol with one interface, so that all can be compared with an environment of this process."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
from collections.abc import Callable
from typing import Any, Protocol, cast

import gymnasium
import numpy as np

import gymtwist.client
from gymtwist_conformance.reference_client import ClassicClient, FramedClient
from gymtwist_conformance.reference_client.websocket_stream import (
    TEXT,
    WebSocketLink,
    WebSocketStream,
    upgrade_request,
)

#: The seed of the server, which is that of the first episode where a protocol has no seeds.
SERVER_SEED = 11
#: Environments that step together in a vector.
VECTOR = 4
#: Seconds to wait for a reply before something is wrong; the server's own limits are shorter.
PATIENCE = 120.0

Result = tuple[Any, Any, Any]


class Player(Protocol):
    """A session; ``takes_seeds`` tells whether resets do."""

    takes_seeds: bool

    def reset(self, seed: int) -> Any:
        """Begin an episode; return the observation."""

    def step(self, action: Any) -> Result:
        """Take a step; return the observation, the reward, and whether the episode is over."""

    def close(self) -> None:
        """End the session as a good client does."""


def plain(action: Any) -> Any:
    """Return an action for JSON."""
    return action.tolist() if isinstance(action, (np.ndarray, np.generic)) else action


class FramedPlayer:
    """The framed protocol by the reference client."""

    takes_seeds = True

    def __init__(self, port: int, environment: str, encoding: str, *, websocket: bool = False) -> None:
        self.client = FramedClient.connect(port, encoding=encoding, patience=PATIENCE)
        if websocket:
            link = WebSocketLink(self.client.socket, encoding)
            self.client.socket = cast("Any", link)
        self.client.make(environment)

    def reset(self, seed: int) -> Any:
        """Reset."""
        return self.client.reset(seed=seed)[0]

    def step(self, action: Any) -> Result:
        """Step."""
        told = self.client.step(action)
        return told.observation, told.reward, told.is_over

    def close(self) -> None:
        """Say so, and close the connection."""
        with contextlib.closing(self.client):
            self.client.ask("close")


class PythonPlayer:
    """The Python client, with one environment or several."""

    takes_seeds = True

    def __init__(
        self, port: int, environment: str, *, num_envs: int | None = None, shares: bool = True, **options: Any
    ) -> None:
        connect: Any = gymtwist.client.connect if num_envs is None else gymtwist.client.connect_vec
        if num_envs is not None:
            options["num_envs"] = num_envs
        self.env = connect(f"127.0.0.1:{port}", environment, timeout=PATIENCE, shared_memory=shares, **options)
        self._is_vector = num_envs is not None

    def reset(self, seed: int) -> Any:
        """Reset."""
        return self.env.reset(seed=seed)[0]

    def step(self, action: Any) -> Result:
        """Step; a vector resets itself and is never over."""
        observation, reward, terminated, truncated, _ = self.env.step(action)
        return observation, reward, False if self._is_vector else terminated or truncated

    def close(self) -> None:
        """Close it."""
        self.env.close()


class ClassicPlayer:
    """The classic protocol, whose episodes follow from the seed of the server."""

    takes_seeds = False

    def __init__(self, port: int, environment: str) -> None:
        self.client = ClassicClient.connect(port, patience=PATIENCE).open(environment)

    def reset(self, seed: int) -> Any:
        """Reset."""
        return self.client.reset()

    def step(self, action: Any) -> Result:
        """Step."""
        told = self.client.step(plain(action))
        return told.observation, told.reward, told.done

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


class RestPlayer:
    """gym-http-api, with the server's seed for the first episode."""

    takes_seeds = False

    def __init__(self, port: int, environment: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        self.path = "/v1/envs/"
        self.path += self.ask("", env_id=environment, seed=SERVER_SEED)["instance_id"]

    def ask(self, path: str, **fields: Any) -> Any:
        """Post a request; return what the response has."""
        if self.connection.sock and select.select([self.connection.sock], [], [], 0)[0]:
            self.connection.close()  # the server has closed it while it was idle; another one follows
        headers = {"Content-Type": "application/json"}
        self.connection.request("POST", f"{self.path}{path}", json.dumps(fields), headers)
        response = self.connection.getresponse()
        body = response.read()
        if response.status != 200:
            raise RuntimeError(f"{response.status}: {body!r:.300}")
        return json.loads(body) if path != "/close/" else None

    def reset(self, seed: int) -> Any:
        """Reset."""
        return self.ask("/reset/")["observation"]

    def step(self, action: Any) -> Result:
        """Step."""
        told = self.ask("/step/", action=plain(action))
        return told["observation"], told["reward"], told["done"]

    def close(self) -> None:
        """Close the instance, and the connection."""
        with contextlib.closing(self.connection):
            self.ask("/close/")


class OpenEnvPlayer:
    """OpenEnv by WebSocket."""

    takes_seeds = True

    def __init__(self, port: int, environment: str) -> None:
        self.stream = WebSocketStream.connect(port, upgrade=False, patience=PATIENCE)
        self.stream.send(upgrade_request(f"/openenv/{environment}/ws"))
        status, _ = self.stream.read_head()
        if status != 101:
            raise RuntimeError(f"OpenEnv's WebSocket was answered with {status}")

    def ask(self, kind: str, **data: Any) -> Any:
        """Send a message, and return the observation that answers it."""
        self.stream.send_frame(TEXT, json.dumps({"type": kind, "data": data}).encode())
        reply = json.loads(self.stream.read_frame().payload)
        if reply["type"] != "observation":
            raise RuntimeError(f"{kind} was answered with {reply!r:.300}")
        return reply["data"]

    def reset(self, seed: int) -> Any:
        """Reset."""
        return self.ask("reset", seed=seed)["observation"]["observation"]

    def step(self, action: Any) -> Result:
        """Step."""
        told = self.ask("step", action=plain(action))
        return told["observation"]["observation"], told["reward"], told["done"]

    def close(self) -> None:
        """Say so, and close the connection."""
        with contextlib.closing(self.stream):
            self.stream.send_frame(TEXT, json.dumps({"type": "close"}).encode())


#: The kinds of players, by name.
PLAYERS: dict[str, Callable[[int, str], Player]] = {
    "Int32": lambda port, environment: FramedPlayer(port, environment, "int32"),
    "netstring": lambda port, environment: FramedPlayer(port, environment, "netstring"),
    "WebSocket": lambda port, environment: FramedPlayer(port, environment, "int32", websocket=True),
    "shared memory": PythonPlayer,
    "vector": lambda port, environment: PythonPlayer(port, environment, num_envs=VECTOR),
    "classic": ClassicPlayer,
    "REST": RestPlayer,
    "OpenEnv": OpenEnvPlayer,
}
_ENVIRONMENTS = ("CartPole-v1", "Pendulum-v1", "FrozenLake-v1", "Acrobot-v1")
#: Pictures, where a step of them is not megabytes of JSON.
_PICTURES = ("Int32", "shared memory", "WebSocket", "classic")


def environments_of(kind: str) -> tuple[str, ...]:
    """Name the environments that a kind of player plays."""
    return (*_ENVIRONMENTS, "ALE/Pong-v5") if kind in _PICTURES else _ENVIRONMENTS


def make_local(kind: str, environment: str) -> Any:
    """Make what a player is compared with."""
    if environment.startswith("ALE/"):
        import ale_py  # slow, and for some only

        gymnasium.register_envs(ale_py)
    if kind == "vector":
        return gymnasium.make_vec(environment, VECTOR)
    return gymnasium.make(environment, disable_env_checker=True)


class Comparison:
    """A session and a local environment that take the same steps.

    Args:
        kind: The kind of the player.
        environment: The id.
        player: The session.
        seed: Of the actions and of the episodes.
    """

    def __init__(self, kind: str, environment: str, player: Player, seed: int) -> None:
        self._name, self.player, self._seed = f"{kind}, {environment}", player, seed
        self._local = make_local(kind, environment)
        self._local.action_space.seed(seed)
        self._is_over, self._is_first, self._steps = True, True, 0

    def step(self) -> None:
        """Take a step, or begin an episode where one is due; raise :class:`Difference` if something was lost."""
        if self._is_over:
            self._reset()
            return
        action = self._local.action_space.sample()
        found = self.player.step(action)
        observation, reward, terminated, truncated, _ = self._local.step(action)
        self._steps += 1
        is_over = False if np.ndim(terminated) else terminated or truncated
        self._check("observation", found[0], observation)
        if not np.allclose(found[1], reward, rtol=1e-6):
            raise Difference(f"{self._name}, step {self._steps}: the reward {found[1]} instead of {reward}")
        if bool(found[2]) != bool(is_over):
            raise Difference(f"{self._name}, step {self._steps}: over is {found[2]} instead of {is_over}")
        self._is_over = bool(is_over)

    def _reset(self) -> None:
        self._seed += 1
        found = self.player.reset(self._seed)
        seed: int | None = self._seed
        if not self.player.takes_seeds:
            seed = SERVER_SEED if self._is_first else None
        self._check("first observation", found, self._local.reset(seed=seed)[0])
        self._is_over = self._is_first = False

    def _check(self, what: str, found: Any, expected: Any) -> None:
        expected = np.asarray(expected)
        served = np.asarray(found, expected.dtype)
        if served.shape != expected.shape or served.tobytes() != expected.tobytes():
            raise Difference(
                f"{self._name}, step {self._steps}: the {what} {served!r:.200} instead of {expected!r:.200}"
            )

    def close(self) -> None:
        """Close both."""
        self._local.close()
        self.player.close()


class Difference(Exception):
    """A session and the local environment differ."""
