#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    The spaces of integers agree on which types of the same value they contain.
# Observed:    Each kind has a rule of its own: Discrete refuses np.uint64 and np.bool_ but takes bool and arrays without
#              axes, MultiBinary takes arrays of floats, MultiDiscrete does not, and a Box of uint8 takes an array of bools
#              and a list but no array of int64, which is what NumPy makes of that list.
# Consequence: gymtwist takes bools and integers of every type for these spaces, and refuses floats for all of them.
# Output:
#   Discrete: int True, bool True, np.bool_ False, np.int8 True, np.uint64 False, 0-d array True
#   MultiBinary: list True, bool True, int64 True, float64 True
#   MultiDiscrete: list True, bool True, int64 True, float64 False
#   Box of uint8: list True, bool True, int64 False, float64 False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "numpy==2.2.6"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

ones = {"int": 1, "bool": True, "np.bool_": np.bool_(1), "np.int8": np.int8(1), "np.uint64": np.uint64(1), "0-d array": np.array(1)}
space = Discrete(2)
print("Discrete:", ", ".join(f"{name} {space.contains(one)}" for name, one in ones.items()))
arrays = {"list": [0, 1]} | {dtype: np.array([0, 1], dtype) for dtype in ("bool", "int64", "float64")}
spaces = {"MultiBinary": MultiBinary(2), "MultiDiscrete": MultiDiscrete([2, 2]), "Box of uint8": Box(0, 255, (2,), np.uint8)}
for name, space in spaces.items():
    print(f"{name}:", ", ".join(f"{dtype} {space.contains(array)}" for dtype, array in arrays.items()))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
