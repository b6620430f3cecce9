"""What the project holds itself to, as ratios that are measured in one run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A ratio of two contenders at one workload, with one client.

    Attributes:
        title: What the table calls it.
        workload: What is played.
        contender: Whose rate is divided.
        against: By whose: where there are several, the fastest of them; none for all peers with a server.
        least: What the ratio is to be at least.
        ahead: Whether it is to be more than 1, instead.
    """

    title: str
    workload: str
    contender: str
    against: tuple[str, ...]
    least: float = 1.0
    ahead: bool = False


TARGETS = (
    Target("CartPole / gym-socket-api", "cartpole", "gymtwist", ("gym-socket-api",), 2.5),
    Target("CartPole / `AsyncVectorEnv` of one", "cartpole", "gymtwist", ("async-vector",), 2.0),
    Target("CartPole / dm_env_rpc", "cartpole", "gymtwist", ("dm-env-rpc",), 5.0),
    Target("CartPole / OpenEnv as its template", "cartpole", "gymtwist", ("openenv-template",), 8.0),
    Target("CartPole / OpenEnv, tuned", "cartpole", "gymtwist", ("openenv",), 8.0),
    Target("CartPole / gym-http-api", "cartpole", "gymtwist", ("gym-http-api",), 25.0),
    Target(
        "CartPole, classic protocol / gym-socket-api, the same client",
        "cartpole",
        "gymtwist-classic",
        ("gym-socket-api",),
        1.3,
    ),
    Target("Pong frames / in-process", "pong", "gymtwist", ("inprocess",), 0.9),
    Target("Pong frames / the fastest peer with a server", "pong", "gymtwist", (), ahead=True),
    Target("64 x CartPole / EnvPool in-process", "cartpole-64", "gymtwist", ("envpool", "envpool-1"), ahead=True),
    Target(
        "8 x Pong preprocessed / EnvPool in-process", "pong-84x84-8", "gymtwist", ("envpool", "envpool-1"), ahead=True
    ),
)
