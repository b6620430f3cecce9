"""Hindsight experience replay from Stable-Baselines3: the server computes the rewards of whole batches.

Usage: python sb3_her.py [HOST:PORT] [--env-id ID] [--timesteps N] [--seed S] [--local]
"""

import argparse

import gymnasium
import torch
from stable_baselines3 import SAC, HerReplayBuffer
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import gymtwist.client


def make(args):
    """Make an environment at the server, or in this process."""
    if args.local:
        return gymnasium.make(f"environments:{args.env_id}")  # the file environments.py beside this one
    return gymtwist.client.connect(args.address, args.env_id)


def main():
    """Learn to reach goals, and report how well."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--env-id", default="recipes/Reach-v0", metavar="ID")
    parser.add_argument("--timesteps", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)

    envs = make_vec_env(lambda: make(args), n_envs=2, seed=args.seed)
    model = SAC(
        "MultiInputPolicy",
        envs,
        buffer_size=100_000,  # room for the default of a million takes a second to make
        replay_buffer_class=HerReplayBuffer,
        # Each batch asks the first environment once: compute_reward(achieved_goals, desired_goals, infos).
        replay_buffer_kwargs={"n_sampled_goal": 4, "goal_selection_strategy": "future"},
        learning_starts=200,
        gamma=0.9,
        learning_rate=1e-3,
        policy_kwargs={"net_arch": [64, 64]},
        seed=args.seed,
        device="cpu",
    )
    model.learn(args.timesteps)
    envs.seed(args.seed + 1000)
    mean, deviation = evaluate_policy(model, envs, n_eval_episodes=20)
    envs.close()
    print(f"mean return {mean:.6f} +- {deviation:.6f} over 20 episodes")
    if args.save:
        torch.save(model.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
