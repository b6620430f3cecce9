#!/usr/bin/env bash
# Package:     ale-py 0.12.1, Gymnasium 1.4.0
# Expected:    make_vec() of an id gives several environments of the task that make() gives.
# Observed:    Without a mode it gives another task: four grey images of 84 x 84 for one of 210 x 160 in colour, and
#              rewards of type int32. "sync" gives the task of make().
# Consequence: Results of Atari environments compare only if both sides chose the same vectorization mode.
# Output:
#   make: observations (210, 160, 3)
#   make_vec: observations (4, 84, 84), rewards int32
#   make_vec, sync: observations (210, 160, 3), rewards float64
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "ale-py==0.12.1"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import ale_py
import gymnasium
import numpy as np

gymnasium.register_envs(ale_py)
print(f"make: observations {gymnasium.make('ALE/Pong-v5').observation_space.shape}")
for title, mode in (("make_vec", None), ("make_vec, sync", "sync")):
    environments = gymnasium.make_vec("ALE/Pong-v5", 2, mode)
    environments.reset(seed=1)
    rewards = environments.step(np.zeros(2, np.int64))[1]
    print(f"{title}: observations {environments.single_observation_space.shape}, rewards {rewards.dtype}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
