"""Random agents in many environments, all in one event loop.

Usage: python asyncio_agents.py [HOST:PORT [ENVIRONMENT [NUMBER]]]
"""

import asyncio
import sys

from gymtwist.client import aio


async def play(address, env_id, number):
    """Play one episode; return its number of steps and its return."""
    async with aio.connect(address, env_id) as env:
        await env.reset(seed=number)
        env.action_space.seed(number)
        steps, total, over = 0, 0.0, False
        while not over:
            _, reward, terminated, truncated, _ = await env.step(env.action_space.sample())
            steps, total, over = steps + 1, total + float(reward), terminated or truncated
    return steps, total


async def main(address="localhost:5001", env_id="CartPole-v1", number="20"):
    """Play one episode in each environment, all at the same time."""
    played = await asyncio.gather(*(play(address, env_id, seed) for seed in range(int(number))))
    for seed, (steps, total) in enumerate(played):
        print(f"agent {seed}: {steps} steps, return {total:.1f}")


asyncio.run(main(*sys.argv[1:]))
