#!/usr/bin/env bash
# Package:     mo-gymnasium 1.3.2, with gymnasium 1.4.0
# Expected:    The same seed and actions give the same episode: reset(seed=...) seeds what an environment draws from.
# Observed:    In minecart-v0 what a mine yields comes from NumPy's global generator. Both episodes begin alike,
#              and differ as soon as the cart mines. minecart-deterministic-v0 does not draw.
# Consequence: `verify_seed` compares steps, at most 50 of them; `python -m gymtwist check` compares whole episodes.
# Output:
#   minecart-v0 begins alike: True, ends alike: False
#   minecart-deterministic-v0 begins alike: True, ends alike: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "mo-gymnasium==1.3.2" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output"
import gymnasium
import mo_gymnasium
import numpy as np


def play(environment):
    environment.action_space.seed(1)
    played = [environment.reset(seed=1)[0]]
    for _ in range(200):
        observation, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
        played.append(np.concatenate([observation, reward]))
        if terminated or truncated:
            break
    return played


for name in ("minecart-v0", "minecart-deterministic-v0"):
    environment = gymnasium.make(name)
    one, other = play(environment), play(environment)
    same = len(one) == len(other) and all(map(np.array_equal, one, other))
    print(f"{name} begins alike: {np.array_equal(one[0], other[0])}, ends alike: {same}")
PROGRAM

sed -n 's/^#   //p' "$0" | sed '/^ /d' | diff - "$folder/output" && echo "as described"
