#!/usr/bin/env bash
# Package:     torchrl 0.14.1, Gymnasium 1.4.0
# Expected:    Actions of Discrete(3, start=2) are 2, 3 and 4, and an observation of 4 is as good as one of 2.
# Observed:    GymWrapper passes over "start". The environment gets the actions 0, 1 and 2; an observation of 3 or 4 raises
#              AssertionError. With categorical_action_encoding observations come through, but the actions are the same.
# Consequence: An action outside the space is an error of gymtwist's client: TorchRL needs a wrapper that adds "start".
# Output:
#   one-hot: actions [0, 1, 2], observations {2: 'ok', 3: 'AssertionError', 4: 'AssertionError'}
#   categorical: actions [0, 1, 2], observations {2: 'ok', 3: 'ok', 4: 'ok'}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" \
    "tensordict==0.14.3" "torchrl==0.14.1" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
from gymnasium.spaces import Discrete
from torchrl.envs import GymWrapper


class Shifted(gymnasium.Env):
    action_space = observation_space = Discrete(3, start=2)

    def __init__(self, observation):
        self.observation = observation
        self.actions = set()

    def reset(self, *, seed=None, options=None):
        return 2, {}

    def step(self, action):
        self.actions.add(int(action))
        return self.observation, 0.0, False, False, {}


for title, categorical in (("one-hot", False), ("categorical", True)):
    results = {}
    for observation in (2, 3, 4):
        environment = Shifted(observation)
        wrapped = GymWrapper(environment, categorical_action_encoding=categorical)
        try:
            wrapped.rollout(100)
            results[observation] = "ok"
            actions = sorted(environment.actions)
        except AssertionError:
            results[observation] = "AssertionError"
    print(f"{title}: actions {actions}, observations {results}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
