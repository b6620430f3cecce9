#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0, ale-py 0.12.1, Box2D 2.3.10
# Expected:    copy.deepcopy() of an environment goes on where the environment is, or raises an error.
# Observed:    That is so for classic control and toy text. Environments that are pickled by their arguments (EzPickle:
#              Box2D, MuJoCo, Atari) give a fresh one without a word, while the wrappers around it keep the state of the
#              episode: OrderEnforcing lets it step, and TimeLimit has counted the steps of the original.
# Consequence: gymtwist copies the process of a session, not the environment.
# Output:
#   CartPole-v1: the copy's next observation equals the original's: True, steps counted by TimeLimit: 21
#   FrozenLake-v1: the copy's next observation equals the original's: True, steps counted by TimeLimit: 21
#   LunarLander-v3: the copy has a lander: False, steps counted by TimeLimit: 20
#   ALE/Pong-v5: the copy's frame number: 0, the original's: 80, steps counted by TimeLimit: none
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium[box2d]==1.4.0" "ale-py==0.12.1"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import copy

import ale_py
import gymnasium
import numpy as np
from gymnasium.wrappers import TimeLimit

gymnasium.register_envs(ale_py)


def count_steps(env):
    while env is not env.unwrapped:
        if isinstance(env, TimeLimit):
            return env._elapsed_steps
        env = env.env
    return "none"


def copy_playing(env_id):
    env = gymnasium.make(env_id)
    env.reset(seed=1)
    for number in range(20):
        env.step(number % 2)
    return env, copy.deepcopy(env)


for env_id in ("CartPole-v1", "FrozenLake-v1"):
    env, other = copy_playing(env_id)
    equal = np.array_equal(env.step(0)[0], other.step(0)[0])
    print(f"{env_id}: the copy's next observation equals the original's: {equal}, steps counted by TimeLimit:", count_steps(other))
env, other = copy_playing("LunarLander-v3")
print("LunarLander-v3: the copy has a lander:", other.unwrapped.lander is not None, end=", ")
print("steps counted by TimeLimit:", count_steps(other))
env, other = copy_playing("ALE/Pong-v5")
frames = other.unwrapped.ale.getFrameNumber(), env.unwrapped.ale.getFrameNumber()
print("ALE/Pong-v5: the copy's frame number: {}, the original's: {}".format(*frames), end=", ")
print("steps counted by TimeLimit:", count_steps(other))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
