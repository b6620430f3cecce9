#!/usr/bin/env bash
# Package:     mo-gymnasium 1.3.2, Gymnasium 1.4.0
# Expected:    The ids of the package work with gymnasium.make_vec(), as they do with gymnasium.make().
# Observed:    make_vec() and reset() succeed; the first step raises ValueError, as a reward is an array, not a number.
# Consequence: gymtwist merges such rewards on its own, in an array with a row for each environment.
# Output:
#   make: a reward of shape (2,)
#   make_vec: ValueError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "mo-gymnasium==1.3.2"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import mo_gymnasium
import numpy as np

single = gymnasium.make("deep-sea-treasure-v0")
single.reset(seed=1)
print(f"make: a reward of shape {single.step(0)[1].shape}")
several = gymnasium.make_vec("deep-sea-treasure-v0", 2, "sync")
several.reset(seed=1)
try:
    several.step(np.array([0, 1]))
except ValueError:
    print("make_vec: ValueError")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
