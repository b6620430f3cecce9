#!/usr/bin/env bash
# Package:     tianshou 2.0.1, with NumPy 2.4.6
# Expected:    A ReplayBuffer holds the observations and infos that were added, or says that it cannot.
# Observed:    The first one that is added sets the type of all, without a word: 2.7 behind 2 is kept as 2, 3 behind True as
#              True, and the observation 0.5 behind the integer 0 as 0.
# Consequence: gymtwist keeps the integers and floats of infos apart: 2.0 as 2 would change the whole buffer.
# Output:
#   infos [2, 2.7] -> [2, 2]
#   infos [2.7, 2] -> [2.7, 2.0]
#   infos [True, 3] -> [True, True]
#   observations [0, 0.5] -> [0, 0]
#   observations [0.5, 0] -> [0.5, 0.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "tianshou==2.0.1" "numpy==2.4.6"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
from tianshou.data import Batch, ReplayBuffer


def add(buffer, observation, info):
    step = Batch(obs=observation, act=0, rew=0.0, terminated=False, truncated=False, obs_next=observation, info=info)
    buffer.add(step)


for values in ([2, 2.7], [2.7, 2], [True, 3]):
    buffer = ReplayBuffer(2)
    for value in values:
        add(buffer, 0, {"value": value})
    print("infos", values, "->", buffer.info.value.tolist())
for values in ([0, 0.5], [0.5, 0]):
    buffer = ReplayBuffer(2)
    for value in values:
        add(buffer, value, {})
    print("observations", values, "->", buffer.obs.tolist())
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
