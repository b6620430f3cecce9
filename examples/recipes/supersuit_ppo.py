"""PPO with SuperSuit and Stable-Baselines3: one policy for all agents, each of which is an environment of a vector.

Usage: python supersuit_ppo.py [HOST:PORT] [--timesteps N] [--num-envs N] [--seed S] [--local]
"""

import argparse

import supersuit
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.utils import set_random_seed

import gymtwist.client


def make(args):
    """Make an environment at the server, or in this process."""
    if not args.local:
        return gymtwist.client.connect_parallel(args.address, "mpe2:simple_spread_v3")
    from mpe2 import simple_spread_v3

    return simple_spread_v3.parallel_env()


def vector(args):
    """Make several environments; SuperSuit copies the first one, and each copy is a session."""
    env = make(args)
    envs = supersuit.pettingzoo_env_to_vec_env_v1(supersuit.black_death_v3(env))
    envs = supersuit.concat_vec_envs_v1(envs, args.num_envs, base_class="stable_baselines3")
    env.close()
    envs.venv.reset(seed=args.seed)  # SuperSuit's adapter for Stable-Baselines3 does not pass seeds on
    return envs


def play(model, env, seed):
    """Play an episode; return the return of all agents together."""
    observations, _ = env.reset(seed=seed)
    total = 0.0
    while env.agents:
        actions = {agent: model.predict(each, deterministic=True)[0] for agent, each in observations.items()}
        observations, rewards, _, _, _ = env.step(actions)
        total += sum(rewards.values())
    env.close()
    return total


def main():
    """Learn, and report how an episode goes before and after."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--timesteps", type=int, default=100_000)
    parser.add_argument("--num-envs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    set_random_seed(args.seed)

    envs = vector(args)
    model = PPO("MlpPolicy", envs, n_steps=64, batch_size=256, n_epochs=4, device="cpu")
    print(f"return before {play(model, make(args), args.seed):.6f}", flush=True)
    model.learn(args.timesteps)
    print(f"return after {play(model, make(args), args.seed):.6f}")
    envs.close()
    if args.save:
        torch.save(model.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
