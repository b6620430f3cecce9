"""What is played. It is read by the programs of every contender, so it needs nothing but Python's own library."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """Some environments, and how they are played.

    Attributes:
        name: What the table calls it.
        environment: The id, as Gymnasium has it. A contender that has an environment of its own by another name takes
            the one that is the same.
        actions: How many discrete actions there are; 0 where an action is an array.
        num_envs: How many environments step together; None for one that is no vector environment.
        balance: Whether the action is chosen so that CartPole's pole stays up: it is 1 if the third and the fourth
            number of the observation together are more than 0. Otherwise actions are drawn at random.
        box: How many numbers from -1 to 1 an action has, where it is an array.
        kwargs: Keyword arguments of the environment, as pairs, where contenders have other defaults.
        title: What tables and plots call it.
        seconds: How long a round takes.
    """

    name: str
    environment: str
    actions: int
    num_envs: int | None = None
    balance: bool = False
    box: int = 0
    kwargs: tuple[tuple[str, float], ...] = ()
    title: str = ""
    seconds: float = 2.0


CARTPOLE = Workload("cartpole", "CartPole-v1", 2, balance=True, title="CartPole, whose pole is kept up")
PONG = Workload("pong", "ALE/Pong-v5", 6, title="Pong, frames of 210 x 160 x 3")
#: 4 frames of 84 x 84 in grey, as learners see Atari's games: frame skip 4, the maximum of two frames, up to 30 actions
#: of nothing after a reset. These are the defaults of EnvPool and of ale-py's vector environment. The game repeats
#: actions at random as Gymnasium registers it, and not here.
PONG_PREPROCESSED_8 = Workload(
    "pong-84x84-8",
    "ALE/Pong-v5",
    6,
    num_envs=8,
    kwargs=(("repeat_action_probability", 0.0),),
    title="8 x Pong, 4 x 84 x 84, together",
)
CARTPOLES = {
    count: Workload(f"cartpole-{count}", "CartPole-v1", 2, num_envs=count, title=f"{count:,} x CartPole, together")
    for count in (1, 8, 64, 1024)
}
#: An observation of a Dict within a Tuple; registered by servers/environments.py.
NESTED = Workload("nested", "Bench/Nested-v0", 3, title="A Dict within a Tuple")
MUJOCO = Workload("halfcheetah", "HalfCheetah-v5", 0, box=6, title="HalfCheetah (MuJoCo)")

WORKLOADS = {each.name: each for each in (CARTPOLE, PONG, PONG_PREPROCESSED_8, *CARTPOLES.values(), NESTED, MUJOCO)}
