"""Actor-critic with PufferLib: its emulation layer, vector environments and policy play remote environments.

Usage: python pufferlib_a2c.py [HOST:PORT] [--updates N] [--seed S] [--local]
"""

import argparse
import functools

import gymnasium
import numpy as np
import pufferlib.emulation
import pufferlib.models
import pufferlib.vector
import torch
from pufferlib.pufferlib import EpisodeStats
from torch.distributions import Categorical

import gymtwist.client

HORIZON, NUM_ENVS, GAMMA = 32, 8, 0.98


def make(address, **kwargs):
    """Make an environment at the server, or in this process."""
    env = gymtwist.client.connect(address, "CartPole-v1") if address else gymnasium.make("CartPole-v1")
    return pufferlib.emulation.GymnasiumPufferEnv(env=EpisodeStats(env), **kwargs)


def learn(envs, policy, args):
    """Train the policy, and report the returns of the episodes that end."""
    optimizer = torch.optim.Adam(policy.parameters(), lr=3e-3)
    envs.async_reset(args.seed)
    for _ in range(args.updates):
        log_probs, values, rewards, going, returns = [], [], [], [], []
        for _ in range(HORIZON + 1):
            observations, reward, terminated, truncated, *_, infos, _, _ = envs.recv()
            logits, value = policy(torch.as_tensor(observations))
            actions = Categorical(logits=logits).sample()
            envs.send(actions.numpy())
            log_probs.append(Categorical(logits=logits).log_prob(actions))
            values.append(value.squeeze(-1))
            # Copies: PufferLib writes the next step into the same arrays.
            rewards.append(torch.as_tensor(reward.copy()))
            going.append(torch.as_tensor(1.0 - (terminated | truncated)))
            returns += [info["episode_return"] for info in infos if "episode_return" in info]
        loss, target = 0.0, values[-1].detach()
        for step in reversed(range(HORIZON)):
            target = rewards[step + 1] + GAMMA * going[step + 1] * target
            advantage = target - values[step]
            loss = loss - (log_probs[step] * advantage.detach()).mean() + 0.5 * advantage.square().mean()
        optimizer.zero_grad()
        (loss / HORIZON).backward()
        optimizer.step()
        print(f"{len(returns)} episodes, mean return {np.mean(returns or np.nan):.6f}", flush=True)


def main():
    """Learn for a while."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    creator = functools.partial(make, None if args.local else args.address)
    envs = pufferlib.vector.make(creator, backend=pufferlib.vector.Serial, num_envs=NUM_ENVS, seed=args.seed)
    policy = pufferlib.models.Default(envs.driver_env, hidden_size=64)
    learn(envs, policy, args)
    envs.close()
    if args.save:
        torch.save(policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
