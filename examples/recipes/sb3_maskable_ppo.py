"""PPO that takes only possible actions, from sb3-contrib: each step asks the server for the masks.

Usage: python sb3_maskable_ppo.py [HOST:PORT] [--timesteps N] [--seed S] [--local]
"""

import argparse

import gymnasium
import torch
from sb3_contrib import MaskablePPO
from sb3_contrib.common.maskable.evaluation import evaluate_policy
from stable_baselines3.common.env_util import make_vec_env

import gymtwist.client


def make(args):
    """Make an environment at the server, or in this process."""
    if args.local:
        return gymnasium.make("environments:recipes/Ladder-v0")  # the file environments.py beside this one
    return gymtwist.client.connect(args.address, "recipes/Ladder-v0")


def main():
    """Learn to climb the ladder with few steps, and report how well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--timesteps", type=int, default=4_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)

    envs = make_vec_env(lambda: make(args), n_envs=4, seed=args.seed)
    model = MaskablePPO("MultiInputPolicy", envs, n_steps=64, batch_size=64, gamma=0.9, seed=args.seed, device="cpu")
    model.learn(args.timesteps)
    envs.seed(args.seed + 1000)
    mean, deviation = evaluate_policy(model, envs, n_eval_episodes=20)
    envs.close()
    print(f"mean return {mean:.6f} +- {deviation:.6f} over 20 episodes")
    if args.save:
        torch.save(model.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
