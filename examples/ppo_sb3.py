"""Train PPO from Stable-Baselines3 on a remote CartPole.

Usage: python ppo_sb3.py [HOST:PORT] [--timesteps N] [--seed S] [--num-envs K]

It needs stable-baselines3. The exit status is 0 if the trained agent balances the pole for 475 of 500 steps on average
over 20 episodes, otherwise 1.
"""

import argparse
import sys
import time

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import gymtwist.client

SOLVED = 475.0


def factory(args):
    """Return a function that makes one environment: in the server, or in this process to compare."""
    if args.local:
        return lambda: gymnasium.make("CartPole-v1")
    return lambda: gymtwist.client.connect(args.address, "CartPole-v1")


def learn(env, args):
    """Train an agent; the step size and the clipping range decrease to zero."""
    model = PPO(
        "MlpPolicy",
        env,
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        learning_rate=lambda left: 1e-3 * left,
        clip_range=lambda left: 0.2 * left,
        seed=args.seed,
        device="cpu",
    )
    began = time.perf_counter()
    model.learn(args.timesteps)
    seconds = time.perf_counter() - began
    print(f"learned from {model.num_timesteps} steps in {seconds:.0f} s, {model.num_timesteps / seconds:,.0f} steps/s")
    return model


def main():
    """Learn, evaluate, and report whether CartPole is solved."""
    parser = argparse.ArgumentParser(description="Train PPO from Stable-Baselines3 on a remote CartPole.")
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)  # the network is so small that threads cost more than they save

    envs = make_vec_env(factory(args), n_envs=args.num_envs, seed=args.seed)
    model = learn(envs, args)
    envs.close()
    if args.save:
        model.save(args.save)

    judges = make_vec_env(factory(args), n_envs=4, seed=args.seed + 1000)
    mean, deviation = evaluate_policy(model, judges, n_eval_episodes=20)
    judges.close()
    print(f"mean return {mean:.1f} +- {deviation:.1f} over 20 episodes")
    return 0 if mean >= SOLVED else 1


if __name__ == "__main__":
    sys.exit(main())
