#!/usr/bin/env bash
# Package:     stable-baselines3 2.9.2, Gymnasium 1.4.0
# Expected:    The infos that an environment returns stay its own, and the infos of a running episode have nothing of the
#              one before.
# Observed:    DummyVecEnv writes "TimeLimit.truncated" and "terminal_observation" into the dictionary it got. If an
#              environment returns the same one at each step, the latter stays there for all later episodes.
# Consequence: gymtwist's client returns a new dictionary at each step.
# Output:
#   step 1: episode ended False, infos ['TimeLimit.truncated']
#   step 2: episode ended True, infos ['TimeLimit.truncated', 'terminal_observation']
#   step 3: episode ended False, infos ['TimeLimit.truncated', 'terminal_observation']
#   the environment's own: ['TimeLimit.truncated', 'terminal_observation']
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" \
    "stable-baselines3==2.9.2" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import numpy as np
from stable_baselines3.common.vec_env import DummyVecEnv


class Short(gymnasium.Env):
    action_space = observation_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        self.infos = {}

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return 0, {}

    def step(self, action):
        self.steps += 1
        return 0, 0.0, self.steps == 2, False, self.infos


environment = Short()
environments = DummyVecEnv([lambda: environment])
environments.reset()
for number in (1, 2, 3):
    _, _, ended, infos = environments.step(np.array([0]))
    print(f"step {number}: episode ended {ended[0]}, infos {sorted(infos[0])}")
print("the environment's own:", sorted(environment.infos))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
