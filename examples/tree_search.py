"""Search a small game to its end with nothing but snapshots, and play the best plan.

The search is breadth-first: it takes a snapshot of every state that it has not seen, and tries each action from there.
It needs observations that tell states apart, and no chance in the game.

Usage: python tree_search.py [HOST:PORT [ENVIRONMENT [KEYWORD=VALUE ...]]]
"""

import json
import sys
from collections import deque

import gymtwist.client as gymtwist


def search(env, observation):
    """Return the plan with the highest return from the environment's state on, the shortest if there are several."""
    best, plan = float("-inf"), []
    seen = {observation}
    frontier = deque([(env.snapshot(), [], 0.0)])
    while frontier:
        here, actions, total = frontier.popleft()
        with here:
            for action in range(env.action_space.n):
                env.restore(here)
                observation, reward, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    if total + reward > best:
                        best, plan = total + reward, [*actions, action]
                elif observation not in seen:
                    seen.add(observation)
                    frontier.append((env.snapshot(), [*actions, action], total + reward))
    return plan


def main(address="localhost:5001", env_id="CliffWalking-v1", *arguments):
    """Search from the start of an episode, then play the plan from there."""
    kwargs = {name: json.loads(value) for name, _, value in (each.partition("=") for each in arguments)}
    with gymtwist.connect(address, env_id, **kwargs) as env:
        observation, _ = env.reset(seed=1)
        with env.snapshot() as start:
            plan = search(env, observation)
            env.restore(start)
        total = 0.0
        for action in plan:
            _, reward, terminated, _, _ = env.step(action)
            total += reward
        print(f"{len(plan)} steps, return {total:g}{', the end' if terminated else ''}: {plan}")


main(*sys.argv[1:])
