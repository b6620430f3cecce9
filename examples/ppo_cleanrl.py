"""Train PPO on a remote CartPole, in a single file in the style of CleanRL.

Usage: python ppo_cleanrl.py [HOST:PORT] [--timesteps N] [--seed S] [--num-envs K] [--processes P] [--local]

It needs PyTorch. The training loop does not depend on where the environments are: --local makes the same ones in this
process. The exit status is 0 if the trained agent balances the pole for 475 of 500 steps on average over 20 episodes,
otherwise 1.
"""

import argparse
import sys
import time

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import nn
from torch.distributions import Categorical

import gymtwist.client

SOLVED = 475.0


def arguments():
    """Read the command line; the defaults solve CartPole."""
    parser = argparse.ArgumentParser(description="Train PPO on a remote CartPole.")
    add = parser.add_argument
    add("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    add("--local", action="store_true", help="make the environments in this process instead")
    add("--processes", type=int, default=1, help="number of server processes to spread the environments over")
    add("--vectorization-mode", help="sync, async or vector_entry_point; default: the last if available")
    add("--num-envs", type=int, default=8)
    add("--timesteps", type=int, default=100_000)
    add("--seed", type=int, default=1)
    add("--save", metavar="FILE", help="where to save the parameters")
    add("--num-steps", type=int, default=32, help="steps of each environment per update")
    add("--batch-size", type=int, default=256)
    add("--epochs", type=int, default=20)
    add("--learning-rate", type=float, default=1e-3)
    add("--clip", type=float, default=0.2)
    add("--gamma", type=float, default=0.98)
    add("--gae-lambda", type=float, default=0.8)
    add("--value-weight", type=float, default=0.5)
    add("--entropy-weight", type=float, default=0.0)
    add("--max-grad-norm", type=float, default=0.5)
    return parser.parse_args()


def make(args, num_envs):
    """Make a vector environment in the server, or in this process."""
    mode = args.vectorization_mode
    if args.local:
        return gymnasium.make_vec("CartPole-v1", num_envs=num_envs, vectorization_mode=mode)
    return gymtwist.client.connect_vec(
        args.address, "CartPole-v1", num_envs=num_envs, vectorization_mode=mode, processes=min(args.processes, num_envs)
    )


def network(inputs, outputs, gain):
    """Make a network of two hidden layers, with orthogonal weights."""
    linear = [nn.Linear(inputs, 64), nn.Linear(64, 64), nn.Linear(64, outputs)]
    for each, scale in zip(linear, (2**0.5, 2**0.5, gain), strict=True):
        nn.init.orthogonal_(each.weight, scale)
        nn.init.zeros_(each.bias)
    return nn.Sequential(linear[0], nn.Tanh(), linear[1], nn.Tanh(), linear[2])


class Agent(nn.Module):
    """A policy for discrete actions, and a value function."""

    def __init__(self, envs):
        """Make the networks for the spaces of some environments."""
        super().__init__()
        inputs = int(np.prod(envs.single_observation_space.shape))
        self.actor = network(inputs, int(envs.single_action_space.n), 0.01)
        self.critic = network(inputs, 1, 1.0)

    def policy(self, observations):
        """Return the distribution of the action for each observation."""
        return Categorical(logits=self.actor(observations))

    def value(self, observations):
        """Estimate the return from each observation on."""
        return self.critic(observations).squeeze(-1)


class Rollout:
    """The data of some steps of all environments: tensors of shape (steps, environments, ...)."""

    def __init__(self, steps, envs):
        """Allocate the tensors."""
        shape = (steps, envs.num_envs)
        self.observations = torch.zeros((*shape, int(np.prod(envs.single_observation_space.shape))))
        self.actions = torch.zeros(shape, dtype=torch.int64)
        self.log_probs, self.rewards = torch.zeros(shape), torch.zeros(shape)
        self.values = torch.zeros((steps + 1, envs.num_envs))
        self.taken, self.terminated, self.over = (torch.zeros(shape, dtype=torch.bool) for _ in range(3))

    def advantages(self, gamma, gae_lambda):
        """Estimate the advantage of each action.

        Behind a terminated episode nothing is to be gained. A truncated one could have gone on, so the value of its
        last observation counts. What happens in the next episode counts for neither.
        """
        errors = self.rewards + gamma * self.values[1:] * ~self.terminated - self.values[:-1]
        advantages, later = torch.zeros_like(errors), torch.zeros_like(errors[0])
        for step in reversed(range(len(errors))):
            later = errors[step] + gamma * gae_lambda * later * ~self.over[step]
            advantages[step] = later
        return advantages


def collect(envs, agent, rollout, observations, over):
    """Fill a rollout; return the last observations and the flags of ended episodes.

    In the autoreset mode "next step" the step after the end of an episode begins the next one. Its action is ignored,
    so there is nothing to learn from it.
    """
    for step in range(len(rollout.actions)):
        with torch.no_grad():
            policy = agent.policy(observations)
            actions = policy.sample()
            rollout.log_probs[step] = policy.log_prob(actions)
            rollout.values[step] = agent.value(observations)
        rollout.observations[step], rollout.actions[step], rollout.taken[step] = observations, actions, ~over
        following, rewards, terminated, truncated, _ = envs.step(actions.numpy())
        observations, over = tensor(following), torch.as_tensor(terminated | truncated)
        rollout.rewards[step] = torch.as_tensor(rewards)
        rollout.terminated[step], rollout.over[step] = torch.as_tensor(terminated), over
    with torch.no_grad():
        rollout.values[-1] = agent.value(observations)
    return observations, over


def tensor(observations):
    """Return a batch of observations as a tensor with one row per environment."""
    return torch.as_tensor(observations, dtype=torch.float32).flatten(1)


def improve(agent, optimizer, rollout, clip, args):
    """Make some passes over a rollout that keep the new policy close to the one that acted."""
    advantages = rollout.advantages(args.gamma, args.gae_lambda)
    taken = rollout.taken
    observations, actions, log_probs = rollout.observations[taken], rollout.actions[taken], rollout.log_probs[taken]
    returns, advantages = (advantages + rollout.values[:-1])[taken], advantages[taken]
    for _ in range(args.epochs):
        for batch in torch.randperm(len(actions)).split(args.batch_size):
            policy = agent.policy(observations[batch])
            ratio = torch.exp(policy.log_prob(actions[batch]) - log_probs[batch])
            gain = advantages[batch]
            gain = (gain - gain.mean()) / (gain.std(unbiased=False) + 1e-8)
            policy_loss = -torch.min(gain * ratio, gain * ratio.clamp(1 - clip, 1 + clip)).mean()
            value_loss = (agent.value(observations[batch]) - returns[batch]).square().mean()
            loss = policy_loss + args.value_weight * value_loss - args.entropy_weight * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()


def learn(envs, agent, args):
    """Train the agent; the step size and the clipping range decrease to zero."""
    envs = RecordEpisodeStatistics(envs, buffer_length=20)
    optimizer = torch.optim.Adam(agent.parameters(), eps=1e-5)
    updates = max(1, args.timesteps // (args.num_steps * args.num_envs))
    observations = tensor(envs.reset(seed=args.seed)[0])
    over = torch.zeros(args.num_envs, dtype=torch.bool)
    began = time.perf_counter()
    for update in range(updates):
        left = 1 - update / updates
        optimizer.param_groups[0]["lr"] = args.learning_rate * left
        rollout = Rollout(args.num_steps, envs)
        observations, over = collect(envs, agent, rollout, observations, over)
        improve(agent, optimizer, rollout, args.clip * left, args)
        if update % 50 == 49 or update == updates - 1:
            steps = (update + 1) * args.num_steps * args.num_envs
            rate = steps / (time.perf_counter() - began)
            mean = np.mean(envs.return_queue) if envs.return_queue else float("nan")
            print(f"step {steps}: mean return {mean:.1f}, {rate:,.0f} steps/s")


def evaluate(envs, agent, seed):
    """Play an episode in each environment with the most probable actions; return the episodes' returns."""
    returns, going = np.zeros(envs.num_envs), np.ones(envs.num_envs, bool)
    observations, _ = envs.reset(seed=seed)
    while going.any():
        with torch.no_grad():
            actions = agent.actor(tensor(observations)).argmax(1)
        observations, rewards, terminated, truncated, _ = envs.step(actions.numpy())
        returns += rewards * going
        going &= ~(terminated | truncated)
    return returns


def main():
    """Learn, evaluate, and report whether CartPole is solved."""
    args = arguments()
    torch.set_num_threads(1)  # the networks are so small that threads cost more than they save
    torch.manual_seed(args.seed)
    envs = make(args, args.num_envs)
    agent = Agent(envs)
    learn(envs, agent, args)
    envs.close()
    if args.save:
        torch.save(agent.state_dict(), args.save)
    judges = make(args, 20)
    returns = evaluate(judges, agent, args.seed + 1000)
    judges.close()
    print(f"mean return {returns.mean():.1f} over {len(returns)} episodes")
    return 0 if returns.mean() >= SOLVED else 1


if __name__ == "__main__":
    sys.exit(main())
