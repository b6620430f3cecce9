"""PPO with TorchRL: GymWrapper makes remote environments TorchRL's, and a collector plays them.

Usage: python torchrl_ppo.py [HOST:PORT] [--timesteps N] [--seed S] [--local]
"""

import argparse

import gymnasium
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical
from torchrl.collectors import Collector
from torchrl.envs import GymWrapper, SerialEnv, check_env_specs
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE

import gymtwist.client

STEPS, NUM_ENVS = 512, 4


def make(args):
    """Make an environment at the server, or in this process."""
    if args.local:
        return GymWrapper(gymnasium.make("CartPole-v1"), categorical_action_encoding=True)
    return GymWrapper(gymtwist.client.connect(args.address, "CartPole-v1"), categorical_action_encoding=True)


def network(outputs):
    """Make a network of two hidden layers."""
    return nn.Sequential(nn.Linear(4, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def learn(envs, actor, critic, timesteps):
    """Train the networks, and report how long the episodes are."""
    advantage = GAE(gamma=0.98, lmbda=0.9, value_network=critic, average_gae=True)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.0)
    optimizer = torch.optim.Adam(loss.parameters(), lr=1e-3)
    for data in Collector(envs, actor, frames_per_batch=STEPS, total_frames=timesteps):
        for _ in range(10):
            advantage(data)
            flat = data.reshape(-1)
            for batch in torch.randperm(STEPS).split(128):
                losses = loss(flat[batch])
                optimizer.zero_grad()
                sum(value for name, value in losses.items() if name.startswith("loss_")).backward()
                optimizer.step()
        ended = data["next", "done"].sum().item()
        print(f"{ended} episodes ended in {STEPS} steps", flush=True)


def main():
    """Learn for a while."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--timesteps", type=int, default=20 * STEPS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)

    envs = SerialEnv(NUM_ENVS, lambda: make(args))
    check_env_specs(envs, seed=args.seed)
    envs.set_seed(args.seed)
    actor = ProbabilisticActor(
        TensorDictModule(network(2), in_keys=["observation"], out_keys=["logits"]),
        in_keys=["logits"],
        distribution_class=Categorical,
        return_log_prob=True,
    )
    critic = ValueOperator(network(1), in_keys=["observation"])
    learn(envs, actor, critic, args.timesteps)
    if args.save:
        torch.save({**actor.state_dict(prefix="actor."), **critic.state_dict(prefix="critic.")}, args.save)


if __name__ == "__main__":
    main()
