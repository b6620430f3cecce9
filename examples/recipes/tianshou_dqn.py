"""DQN with Tianshou: its vector environments and collectors play remote environments.

Usage: python tianshou_dqn.py [HOST:PORT] [--epochs N] [--seed S] [--local]
"""

import argparse

import gymnasium
import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

import gymtwist.client

NUM_ENVS, NUM_TESTS = 4, 10


def make(args):
    """Make an environment at the server, or in this process."""
    if args.local:
        return gymnasium.make("CartPole-v1")
    return gymtwist.client.connect(args.address, "CartPole-v1")


def main():
    """Learn, and report how the tests went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--epoch-steps", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the environments in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)

    envs = DummyVectorEnv([lambda: make(args)] * NUM_ENVS)
    tests = DummyVectorEnv([lambda: make(args)] * NUM_TESTS)
    for number, each in enumerate((envs, tests)):
        each.seed(args.seed + 1000 * number)
        each.action_space[0].seed(args.seed)
    observation_space, action_space = envs.observation_space[0], envs.action_space[0]
    policy = DiscreteQLearningPolicy(
        model=Net(state_shape=observation_space.shape, action_shape=int(action_space.n), hidden_sizes=[64, 64]),
        action_space=action_space,
        observation_space=observation_space,
        eps_training=0.1,
    )
    algorithm = DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), n_step_return_horizon=3, target_update_freq=100)
    result = algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=Collector(algorithm, envs, VectorReplayBuffer(20_000, NUM_ENVS), exploration_noise=True),
            test_collector=Collector(algorithm, tests),
            max_epochs=args.epochs,
            epoch_num_steps=args.epoch_steps,
            collection_step_num_env_steps=20,
            test_step_num_episodes=NUM_TESTS,
            update_step_num_gradient_steps_per_sample=0.1,
            show_progress=False,
        )
    )
    envs.close()
    tests.close()
    print(f"best mean return {result.best_score:.6f}")
    if args.save:
        torch.save(algorithm.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
