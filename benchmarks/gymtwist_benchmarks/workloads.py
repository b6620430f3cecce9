"""The workloads. Client programs of all contenders import this module, so it uses the standard library only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """One or more environments, and how they are played.

    Attributes:
        name: Its name on the command line and in JSON.
        environment: Gymnasium's id. A contender with another id for the same environment translates it.
        actions: The number of discrete actions; 0 if an action is an array.
        num_envs: The number of environments that step together; None for a single environment.
        balance: Whether the client keeps CartPole's pole up: the action is 1 if the third and fourth number of the
            observation have a positive sum. Other workloads draw their actions at random.
        box: The length of an action that is an array of numbers from -1 to 1.
        computes: The microseconds that an environment of the benchmarks computes for in each step.
        kwargs: Keyword arguments of the environment, as pairs, where the contenders' defaults differ.
        title: Its name in tables and plots.
    """

    name: str
    environment: str
    actions: int
    num_envs: int | None = None
    balance: bool = False
    box: int = 0
    computes: int = 0
    kwargs: tuple[tuple[str, float], ...] = ()
    title: str = ""


CARTPOLE = Workload("cartpole", "CartPole-v1", 2, balance=True, title="CartPole, whose pole is kept up")
#: Steps of different lengths, which show what everything but the environment costs.
COMPUTED = tuple(
    Workload(
        f"compute-{each}",
        f"Bench/Compute{each}-v0",
        2,
        computes=each,
        title=f"an environment that computes for {each:,} us",
    )
    for each in (20, 50, 100, 300, 1000)
)
#: The workloads of the comparison.
COMPARED = (
    CARTPOLE,
    Workload("pong", "ALE/Pong-v5", 6, title="Pong, frames of 210 x 160 x 3"),
    # Four grey frames of 84 x 84, as learners see Atari's games: frame skip 4, the maximum of two frames, up to 30
    # no-op actions after a reset. These are the defaults of EnvPool and of ale-py's vector environment. As registered
    # with Gymnasium, the game also repeats actions at random; here it does not.
    Workload(
        "pong-84x84-8",
        "ALE/Pong-v5",
        6,
        num_envs=8,
        kwargs=(("repeat_action_probability", 0.0),),
        title="8 x Pong, 4 x 84 x 84, together",
    ),
    *(
        Workload(f"cartpole-{count}", "CartPole-v1", 2, num_envs=count, title=f"{count:,} x CartPole, together")
        for count in (1, 8, 64, 1024)
    ),
    # From benchmark_environments.py.
    Workload("nested", "Bench/Nested-v0", 3, title="A Dict within a Tuple"),
    Workload("halfcheetah", "HalfCheetah-v5", 0, box=6, title="HalfCheetah (MuJoCo)"),
    *COMPUTED,
)
#: More workloads, for the figures and the load tests. An episode of MountainCar has 200 steps whatever the actions are.
FURTHER = (
    Workload("mountain-car", "MountainCar-v0", 3, title="MountainCar"),
    # As Atari's preprocessing takes it, which skips frames itself.
    Workload("pong-frames", "ALE/Pong-v5", 6, kwargs=(("frameskip", 1),), title="Pong, frame by frame"),
    Workload(
        "pong-frames-8", "ALE/Pong-v5", 6, num_envs=8, kwargs=(("frameskip", 1),), title="8 x Pong, frame by frame"
    ),
    Workload("no-op", "Bench/NoOp-v0", 2, title="an environment that does nothing"),
)
WORKLOADS = {each.name: each for each in (*COMPARED, *FURTHER)}
