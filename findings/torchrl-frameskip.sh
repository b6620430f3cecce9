#!/usr/bin/env bash
# Package:     torchrl 0.14.1, Gymnasium 1.4.0
# Expected:    GymEnv() without options makes an environment as gymnasium.make() does.
# Observed:    It also passes frameskip=1, so an environment with another default plays another task. It tries again
#              without it only if a TypeError has the words of Python, "unexpected keyword argument 'frameskip'".
# Consequence: gymtwist's error about an unknown argument has these words, also if it comes from the server.
# Output:
#   gymnasium: made with frameskip 4
#   torchrl: made with frameskip 1
#   torchrl, "unexpected keyword argument 'frameskip'": made
#   torchrl, "unknown option 'frameskip'": TypeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" \
    "tensordict==0.14.3" "torchrl==0.14.1" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from torchrl.envs import GymEnv


class Skipping(gymnasium.Env):
    action_space = Discrete(2)
    observation_space = Box(0, 1, (1,))

    def __init__(self, frameskip=4):
        self.frameskip = frameskip

    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, False, False, {}


class Refusing(Skipping):
    def __init__(self, message, **options):
        if "frameskip" in options:
            raise TypeError(message)


gymnasium.register("Skipping-v0", Skipping)
gymnasium.register("Refusing-v0", Refusing)
print("gymnasium: made with frameskip", gymnasium.make("Skipping-v0").unwrapped.frameskip)
print("torchrl: made with frameskip", GymEnv("Skipping-v0").unwrapped.frameskip)
for message in ("unexpected keyword argument 'frameskip'", "unknown option 'frameskip'"):
    try:
        GymEnv("Refusing-v0", message=message)
        result = "made"
    except TypeError as error:
        result = type(error).__name__
    print(f'torchrl, "{message}": {result}')
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
