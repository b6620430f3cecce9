"""DQN with Tianshou: two agents learn tic-tac-toe against each other; each turn at the server is one message.

Usage: python tianshou_agents.py [HOST:PORT] [--epochs N] [--seed S] [--local]
"""

import argparse

import numpy as np
import pettingzoo
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.multiagent.marl import MultiAgentOffPolicyAlgorithm
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Collector, VectorReplayBuffer
from tianshou.env import DummyVectorEnv, PettingZooEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net

import gymtwist.client

ID = "classic/tictactoe_v3"
NUM_ENVS, NUM_TESTS = 4, 10


def make(args):
    """Make a game at the server, or in this process."""
    if args.local:
        return PettingZooEnv(pettingzoo.make("aec", ID))
    return PettingZooEnv(gymtwist.client.connect_aec(args.address, ID))


def agent(env):
    """Make what learns for one of the agents."""
    shape = env.observation_space["observation"].shape
    policy = DiscreteQLearningPolicy(
        model=Net(state_shape=shape, action_shape=int(env.action_space.n), hidden_sizes=[64, 64]),
        action_space=env.action_space,
        observation_space=env.observation_space["observation"],
        eps_training=0.2,
        eps_inference=0.05,
    )
    return DQN(policy=policy, optim=AdamOptimizerFactory(lr=1e-3), n_step_return_horizon=3, target_update_freq=100)


def main():
    """Learn, and report how the tests went."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--epoch-steps", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--local", action="store_true", help="make the games in this process instead")
    parser.add_argument("--save", metavar="FILE", help="where to save the parameters")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    np.random.seed(args.seed)

    env = make(args)
    algorithm = MultiAgentOffPolicyAlgorithm(algorithms=[agent(env) for _ in env.agents], env=env)
    envs, tests = (DummyVectorEnv([lambda: make(args)] * count) for count in (NUM_ENVS, NUM_TESTS))
    result = algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=Collector(algorithm, envs, VectorReplayBuffer(20_000, NUM_ENVS), exploration_noise=True),
            test_collector=Collector(algorithm, tests, exploration_noise=True),
            max_epochs=args.epochs,
            epoch_num_steps=args.epoch_steps,
            collection_step_num_env_steps=20,
            test_step_num_episodes=NUM_TESTS,
            update_step_num_gradient_steps_per_sample=0.1,
            multi_agent_return_reduction=lambda rewards: rewards[:, 0],  # those of the agent that begins
            show_progress=False,
        )
    )
    for each in (env, envs, tests):
        each.close()
    print(f"best mean return {result.best_score:.6f}")
    if args.save:
        torch.save(algorithm.policy.state_dict(), args.save)


if __name__ == "__main__":
    main()
