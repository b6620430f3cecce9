"""PPO for an Atari game in a single file, in the style of CleanRL; the server shrinks and stacks the pictures.

Usage: python cleanrl_atari_ppo.py [HOST:PORT] [--env-id ID] [--processes P] [--num-envs K] [--timesteps N] [--local]

It needs PyTorch.
"""

import argparse
from functools import partial

import gymnasium
import numpy as np
import torch
from gymnasium.wrappers import AtariPreprocessing, ClipReward, FrameStackObservation, RecordEpisodeStatistics
from torch import nn
from torch.distributions import Categorical

import gymtwist.client

WRAPPERS = [
    AtariPreprocessing.wrapper_spec(terminal_on_life_loss=True),
    RecordEpisodeStatistics.wrapper_spec(),
    ClipReward.wrapper_spec(min_reward=-1, max_reward=1),
    FrameStackObservation.wrapper_spec(stack_size=4),
]
GAME = {"frameskip": 1, "repeat_action_probability": 0.0}


def make(args):
    """Make a vector environment at the server, or in this process; a step that ends an episode also begins the next."""
    if args.local:
        return gymnasium.vector.SyncVectorEnv(
            [partial(wrapped, args.env_id)] * args.num_envs, autoreset_mode="SameStep"
        )
    return gymtwist.client.connect_vec(
        args.address,
        args.env_id,
        args.num_envs,
        processes=args.processes,
        vectorization_mode="sync",
        autoreset_mode="same_step",
        wrappers=WRAPPERS,
        **GAME,
    )


def wrapped(env_id):
    """Make a game in this process, with the same wrappers."""
    import ale_py

    gymnasium.register_envs(ale_py)
    env = gymnasium.make(env_id, **GAME)
    for wrapper in (AtariPreprocessing, RecordEpisodeStatistics, ClipReward, FrameStackObservation):
        (kwargs,) = [spec.kwargs for spec in WRAPPERS if spec.name == wrapper.__name__]
        env = wrapper(env, **kwargs)
    return env


class Agent(nn.Module):
    """A policy and a value function on top of the network of the paper in Nature."""

    def __init__(self, num_actions):
        """Make the layers, with orthogonal weights."""
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(4, 32, 8, 4), nn.ReLU(), nn.Conv2d(32, 64, 4, 2), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(64 * 7 * 7, 512), nn.ReLU()),
        )
        self.actor, self.critic = nn.Linear(512, num_actions), nn.Linear(512, 1)
        for layer in (*self.body, self.actor, self.critic):
            if hasattr(layer, "weight"):
                gain = {self.actor: 0.01, self.critic: 1.0}.get(layer, 2**0.5)
                nn.init.orthogonal_(layer.weight, gain)
                nn.init.zeros_(layer.bias)

    def forward(self, pictures):
        """Return the distribution of the action, and the value."""
        features = self.body(pictures / 255.0)
        return Categorical(logits=self.actor(features)), self.critic(features).squeeze(-1)


def advantages_of(rewards, values, ended, args):
    """Estimate the advantage of each action; values has one row more than the others."""
    found, later = torch.zeros_like(rewards), 0.0
    for step in reversed(range(len(rewards))):
        error = rewards[step] + args.gamma * values[step + 1] * ~ended[step] - values[step]
        found[step] = later = error + args.gamma * args.gae_lambda * ~ended[step] * later
    return found


def improve(agent, optimizer, data, args):
    """Make some passes over the steps that keep the new policy close to the one that acted."""
    for _ in range(args.epochs):
        for batch in torch.randperm(len(data["actions"])).chunk(args.minibatches):
            policy, values = agent(data["pictures"][batch])
            ratio = torch.exp(policy.log_prob(data["actions"][batch]) - data["log_probs"][batch])
            gain = data["advantages"][batch]
            gain = (gain - gain.mean()) / (gain.std() + 1e-8)
            policy_loss = -torch.min(gain * ratio, gain * ratio.clamp(1 - args.clip, 1 + args.clip)).mean()
            value_loss = 0.5 * (values - data["returns"][batch]).square().mean()
            loss = policy_loss + 0.5 * value_loss - 0.01 * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()


def learn(envs, agent, args):
    """Train the agent; return the returns of all lives."""
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.learning_rate, eps=1e-5)
    shape, lives = (args.num_steps, envs.num_envs), []
    pictures = torch.zeros((*shape, *envs.single_observation_space.shape), dtype=torch.uint8)
    actions, ended = torch.zeros(shape, dtype=torch.int64), torch.zeros(shape, dtype=torch.bool)
    log_probs, rewards, values = torch.zeros(shape), torch.zeros(shape), torch.zeros((shape[0] + 1, shape[1]))
    observations, _ = envs.reset(seed=args.seed)
    for _ in range(args.timesteps // (args.num_steps * envs.num_envs)):
        for step in range(args.num_steps):
            pictures[step] = torch.as_tensor(observations)
            with torch.no_grad():
                policy, values[step] = agent(pictures[step])
            actions[step] = policy.sample()
            log_probs[step] = policy.log_prob(actions[step]).detach()
            observations, reward, terminated, truncated, infos = envs.step(actions[step].numpy())
            rewards[step], ended[step] = torch.as_tensor(reward), torch.as_tensor(terminated | truncated)
            if "final_info" in infos:
                final = infos["final_info"]
                lives += final["episode"]["r"][final["_episode"]].tolist()
        with torch.no_grad():
            values[-1] = agent(torch.as_tensor(observations))[1]
        advantages = advantages_of(rewards, values, ended, args)
        data = {"pictures": pictures, "actions": actions, "log_probs": log_probs, "advantages": advantages}
        data["returns"] = advantages + values[:-1]
        improve(agent, optimizer, {name: each.flatten(0, 1) for name, each in data.items()}, args)
        print(f"{len(lives)} lives, mean return of the last 20: {np.mean(lives[-20:] or np.nan):.2f}", flush=True)
    return lives


def main():
    """Learn for a while."""
    parser = argparse.ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add("address", nargs="?", default="localhost:5001", metavar="HOST:PORT")
    add("--env-id", default="ALE/Breakout-v5", metavar="ID", help="a game")
    add("--local", action="store_true", help="make the games in this process instead")
    add("--processes", type=int, default=1, help="number of server processes to spread the games over")
    add("--num-envs", type=int, default=8)
    add("--num-steps", type=int, default=128, help="steps of each game per update")
    add("--timesteps", type=int, default=1_000_000)
    add("--seed", type=int, default=1)
    add("--save", metavar="FILE", help="where to save the parameters")
    add("--epochs", type=int, default=4)
    add("--minibatches", type=int, default=4)
    add("--learning-rate", type=float, default=2.5e-4)
    add("--clip", type=float, default=0.1)
    add("--gamma", type=float, default=0.99)
    add("--gae-lambda", type=float, default=0.95)
    args = parser.parse_args()

    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    envs = make(args)
    agent = Agent(int(envs.single_action_space.n))
    learn(envs, agent, args)
    envs.close()
    if args.save:
        torch.save(agent.state_dict(), args.save)


if __name__ == "__main__":
    main()
