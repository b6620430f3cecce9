#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    spec.max_episode_steps is the limit that was asked for, and is in force, as it is with make().
# Observed:    make_vec() sets the limit, but the spec of the vector environment keeps the registered one.
# Consequence: A client cannot trust the spec of a vector environment for the limit of its episodes.
# Output:
#   make: ends after 5, spec says 5
#   make_vec, sync: ends after 5, spec says 500
#   make_vec, vector_entry_point: ends after 5, spec says 500
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output"
import gymnasium
import numpy as np


def steps(environment, actions):
    environment.reset(seed=0)
    for number, action in enumerate(actions, 1):
        if np.any(environment.step(action)[3]):
            return number


single = gymnasium.make("CartPole-v1", max_episode_steps=5)
print(f"make: ends after {steps(single, [0, 1] * 5)}, spec says {single.spec.max_episode_steps}")
for mode in ("sync", "vector_entry_point"):
    several = gymnasium.make_vec("CartPole-v1", 1, mode, max_episode_steps=5)
    ends = steps(several, [np.array([0]), np.array([1])] * 5)
    print(f"make_vec, {mode}: ends after {ends}, spec says {several.spec.max_episode_steps}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
