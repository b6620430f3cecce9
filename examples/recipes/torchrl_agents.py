"""Policy gradients with TorchRL: PettingZooWrapper makes remote agents TorchRL's, and a rollout plays an episode.

Usage: python torchrl_agents.py [HOST:PORT] [--episodes N] [--seed S] [--local]
"""

import argparse

import torch
from tensordict.nn import TensorDictModule
from torch.distributions import Categorical
from torchrl.envs import PettingZooWrapper, check_env_specs
from torchrl.modules import MultiAgentMLP, ProbabilisticActor

import gymtwist.client

LENGTH = 25


def make(args):
    """Make an environment at the server, or in this process."""
    if not args.local:
        return PettingZooWrapper(gymtwist.client.connect_parallel(args.address, "mpe2:simple_spread_v3"))
    from mpe2 import simple_spread_v3

    return PettingZooWrapper(simple_spread_v3.parallel_env())


def policy(env):
    """Make a policy that all agents share."""
    count, inputs = env.observation_spec["agent", "observation"].shape
    outputs = env.full_action_spec["agent", "action"].space.n
    network = MultiAgentMLP(inputs, outputs, count, centralized=False, share_params=True, depth=2, num_cells=64)
    return ProbabilisticActor(
        TensorDictModule(network, in_keys=[("agent", "observation")], out_keys=[("agent", "logits")]),
        in_keys=[("agent", "logits")],
        out_keys=[("agent", "action")],
        distribution_class=Categorical,
    )


def learn(env, actor, episodes):
    """Train the policy after each episode, and report its return."""
    optimizer = torch.optim.Adam(actor.parameters(), lr=3e-3)
    for _ in range(episodes):
        data = env.rollout(LENGTH, actor)
        rewards = data["next", "agent", "reward"].squeeze(-1)
        returns = rewards.flip(0).cumsum(0).flip(0)
        advantage = (returns - returns.mean()) / (returns.std() + 1e-6)
        loss = -(actor.get_dist(data).log_prob(data["agent", "action"]) * advantage).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"return {rewards.sum():.6f}", flush=True)


def main():
    """Learn for a while."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environment in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    env = make(args)
    check_env_specs(env, seed=args.seed)
    env.set_seed(args.seed)
    actor = policy(env)
    learn(env, actor, args.episodes)
    env.close()
    if args.save:
        torch.save(actor.state_dict(), args.save)


if __name__ == "__main__":
    main()
