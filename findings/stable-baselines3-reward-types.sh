#!/usr/bin/env bash
# Package:     stable-baselines3 2.9.2, Gymnasium 1.4.0
# Expected:    DummyVecEnv and SubprocVecEnv give the same rewards for the same environments.
# Observed:    DummyVecEnv keeps rewards as float32, SubprocVecEnv in the type that the environments return.
# Consequence: To compare rewards of a remote environment bit by bit, compare those of step(), not of a DummyVecEnv.
# Output:
#   DummyVecEnv: float32 16777216.0
#   SubprocVecEnv: float64 16777217.0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" \
    "stable-baselines3==2.9.2" "gymnasium==1.4.0"

cat >"$folder/rewards.py" <<'PROGRAM'
import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv


class Rewarding(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Discrete(1)

    def reset(self, *, seed=None, options=None):
        return 0, {}

    def step(self, action):
        return 0, 16777217.0, False, False, {}


if __name__ == "__main__":
    for kind in (DummyVecEnv, SubprocVecEnv):
        environments = kind([Rewarding])
        environments.reset()
        rewards = environments.step(np.array([0]))[1]
        print(f"{kind.__name__}: {rewards.dtype} {rewards[0]}")
        environments.close()
PROGRAM
"$folder/venv/bin/python" -W ignore "$folder/rewards.py" >"$folder/output" 2>"$folder/errors"

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
