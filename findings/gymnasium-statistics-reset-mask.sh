#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    A reset with a `reset_mask` begins the statistics of these environments anew in the vector wrapper
#              RecordEpisodeStatistics, and leaves those of the others, as its code says.
# Observed:    It loses those of all. The vector environment inside takes the mask out of the options, which are the
#              same dictionary, before the wrapper looks for it.
# Consequence: `vector_wrappers` of a server do what the same wrappers do around a local vector environment, this
#              included. The test compares both.
# Output:
#   before: [3, 3], after a reset of the first: [0, 0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output"
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics

inside = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2, autoreset_mode=AutoresetMode.DISABLED)
envs = RecordEpisodeStatistics(inside)
envs.reset(seed=1)
for _ in range(3):
    envs.step(np.array([0, 1]))
before = envs.episode_lengths.tolist()
envs.reset(options={"reset_mask": np.array([True, False])})
print(f"before: {before}, after a reset of the first: {envs.episode_lengths.tolist()}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
