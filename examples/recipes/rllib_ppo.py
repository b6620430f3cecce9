"""PPO with RLlib: register_env names a function that connects, and each env runner calls it.

Usage: python rllib_ppo.py [HOST:PORT] [--iterations N] [--seed S] [--local]
"""

import argparse
import logging

import gymnasium
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.tune.registry import register_env

import gymtwist.client


def make(config):
    """Make an environment at the server, or in the process of an env runner."""
    if config["address"] is None:
        return gymnasium.make("CartPole-v1")
    return gymtwist.client.connect(config["address"], "CartPole-v1")


def main():
    """Learn for a while."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--iterations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in the env runners instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()

    ray.init(num_cpus=2, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    register_env("remote", make)
    config = (
        PPOConfig()
        .environment("remote", env_config={"address": None if args.local else args.address})
        .env_runners(num_env_runners=1, num_envs_per_env_runner=4)
        .training(train_batch_size=1024, minibatch_size=128, num_epochs=4, lr=1e-3)
        .debugging(seed=args.seed)
    )
    algorithm = config.build_algo()
    for _ in range(args.iterations):
        result = algorithm.train()
        print(f"mean return {result['env_runners']['episode_return_mean']:.6f}", flush=True)
    if args.save:
        torch.save(algorithm.get_module().state_dict(), args.save)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
