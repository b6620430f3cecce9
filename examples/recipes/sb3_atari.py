"""PPO from Stable-Baselines3 with its AtariWrapper, around the remote game or at the server.

Usage: python sb3_atari.py [HOST:PORT] [--wrap client|server] [--env-id ID] [--timesteps N] [--seed S] [--local]
"""

import argparse

import gymnasium
import torch
from gymnasium.utils import seeding
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_atari_env
from stable_baselines3.common.vec_env import DummyVecEnv, VecFrameStack

import gymtwist.client


class Game(gymnasium.Wrapper):
    """What AtariWrapper finds at `env.unwrapped`: meanings of actions, `ale.lives()`, and random numbers."""

    @property
    def unwrapped(self):
        """Stay here: the objects of the remote game cannot be reached, but its infos have the lives."""
        return self

    @property
    def ale(self):
        """Return what has the method `lives`."""
        return self

    def lives(self):
        """Return the number of lives left."""
        return self.info["lives"]

    def get_action_meanings(self):
        """Return the names of the actions; the default of `--attributes` lets clients call this."""
        return self.env.get_action_meanings()

    def reset(self, **kwargs):
        """Begin a game."""
        observation, self.info = self.env.reset(**kwargs)
        if "seeds" in self.info:  # the game's own generator, from which AtariWrapper draws the first no-ops
            self.np_random, _ = seeding.np_random(int(self.info["seeds"][0]))
        return observation, self.info

    def step(self, action):
        """Take a step."""
        *result, self.info = self.env.step(action)
        return *result, self.info


def wrapped_here(args):
    """Make two games that AtariWrapper wraps in this process."""
    if args.local:
        import ale_py

        gymnasium.register_envs(ale_py)
        return make_atari_env(args.env_id, n_envs=2, seed=args.seed)
    return make_atari_env(lambda: Game(gymtwist.client.connect(args.address, args.env_id)), n_envs=2, seed=args.seed)


def wrapped_there(args):
    """Make two games that AtariWrapper wraps at the server; only its small pictures are sent."""
    wrappers = [
        {"name": "RecordEpisodeStatistics", "kwargs": {}},  # of whole games; make_atari_env has a Monitor there
        {"name": "stable_baselines3.common.atari_wrappers:AtariWrapper", "kwargs": {}},
    ]
    envs = DummyVecEnv([lambda: gymtwist.client.connect(args.address, args.env_id, wrappers=wrappers)] * 2)
    envs.seed(args.seed)
    return envs


def main():
    """Learn for a while, and report the returns of whole games."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--wrap", choices=["client", "server"], default="server", help="where AtariWrapper is")
    parser.add_argument("--env-id", default="BreakoutNoFrameskip-v4", metavar="ID")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--num-steps", type=int, default=128, help="steps of each game per update")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the games in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)

    envs = wrapped_here(args) if args.local or args.wrap == "client" else wrapped_there(args)
    envs = VecFrameStack(envs, n_stack=4)
    model = PPO("CnnPolicy", envs, n_steps=args.num_steps, batch_size=64, n_epochs=2, seed=args.seed, device="cpu")
    model.learn(args.timesteps)
    envs.close()
    print("returns of the last games:", [float(episode["r"]) for episode in model.ep_info_buffer])
    if args.save:
        torch.save(model.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
