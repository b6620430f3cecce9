"""PPO with RLlib for agents that act at once: register_env names a function that connects in each env runner.

Usage: python rllib_agents.py [HOST:PORT] [--iterations N] [--seed S] [--local]
"""

import argparse
import logging

import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.tune.registry import register_env

import gymtwist.client


def make(config):
    """Make an environment at the server, or in the process of an env runner."""
    if config["address"] is not None:
        return ParallelPettingZooEnv(gymtwist.client.connect_parallel(config["address"], "mpe2:simple_spread_v3"))
    from mpe2 import simple_spread_v3

    return ParallelPettingZooEnv(simple_spread_v3.parallel_env())


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
        .env_runners(num_env_runners=1)
        .multi_agent(policies={"shared"}, policy_mapping_fn=lambda *args, **kwargs: "shared")
        .training(train_batch_size=500, minibatch_size=128, num_epochs=4, lr=1e-3)
        .debugging(seed=args.seed)
    )
    algorithm = config.build_algo()
    for _ in range(args.iterations):
        result = algorithm.train()
        print(f"mean return {result['env_runners']['episode_return_mean']:.6f}", flush=True)
    if args.save:
        torch.save(algorithm.get_module("shared").state_dict(), args.save)
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    main()
