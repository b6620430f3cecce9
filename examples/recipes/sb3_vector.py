"""PPO from Stable-Baselines3 with `connect_vec`: all environments step at once, and may crash.

Usage: python sb3_vector.py [HOST:PORT] [--env-id ID] [--timesteps N] [--num-envs K] [--seed S] [--local]
"""

import argparse

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import VecEnv, VecMonitor

import gymtwist.client


class VectorEnvironments(VecEnv):
    """Give Stable-Baselines3 a vector environment of Gymnasium with the autoreset mode "same_step"."""

    def __init__(self, envs):
        """Take the vector environment."""
        self.envs = envs
        super().__init__(envs.num_envs, envs.single_observation_space, envs.single_action_space)

    def reset(self):
        """Begin episodes, with the seeds that `seed` has set."""
        seeds = self._seeds if self._seeds[0] is not None else None
        observations, self.reset_infos = self.envs.reset(seed=seeds)
        self._reset_seeds()
        return observations

    def step_async(self, actions):
        """Keep the actions."""
        self.actions = actions

    def step_wait(self):
        """Take the step."""
        observations, rewards, terminated, truncated, infos = self.envs.step(self.actions)
        listed = []
        for index in range(self.num_envs):
            info = {
                key: infos[key][index] for key in ("error", "final_obs") if key in infos and infos[f"_{key}"][index]
            }
            if "final_obs" in info:
                info["terminal_observation"] = info.pop("final_obs")
            info["TimeLimit.truncated"] = bool(truncated[index] and not terminated[index])
            listed.append(info)
        return observations, rewards.astype(np.float32), terminated | truncated, listed

    def close(self):
        """Close all environments."""
        self.envs.close()

    def get_attr(self, name, indices=None):
        """Read an attribute."""
        values = self.envs.get_attr(name)
        return [values[index] for index in self._get_indices(indices)]

    def set_attr(self, name, value, indices=None):
        """Set an attribute of all environments."""
        self.envs.set_attr(name, value)

    def env_method(self, name, *args, indices=None, **kwargs):
        """Call a method of all environments."""
        values = self.envs.call(name, *args, **kwargs)
        return [values[index] for index in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class, indices=None):
        """Say that no wrapper is in this process."""
        return [False for _ in self._get_indices(indices)]


def make(args, env_id):
    """Make environments at the server, each in a process of its own, or in this process."""
    if args.local:
        mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
        envs = gymnasium.make_vec(env_id, args.num_envs, "sync", vector_kwargs=mode)
    else:
        envs = gymtwist.client.connect_vec(
            args.address,
            env_id,
            args.num_envs,
            processes=args.num_envs,
            vectorization_mode="sync",
            autoreset_mode="same_step",
            on_failure="truncate",
        )
    return VecMonitor(VectorEnvironments(envs))


def main():
    """Learn, and report how well the agent plays CartPole."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--env-id", default="CartPole-v1", metavar="ID")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--num-envs", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)

    envs = make(args, args.env_id)
    envs.seed(args.seed)
    model = PPO(
        "MlpPolicy",
        envs,
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
    model.learn(args.timesteps)
    envs.close()
    judges = make(args, "CartPole-v1")
    judges.seed(args.seed + 1000)
    mean, deviation = evaluate_policy(model, judges, n_eval_episodes=20)
    judges.close()
    print(f"mean return {mean:.6f} +- {deviation:.6f} over 20 episodes")
    if args.save:
        torch.save(model.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
