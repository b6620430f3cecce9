#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    Box.sample() draws from the whole range of an integer space.
# Observed:    It does for int32, and for int64 up to half of its range. A space of all int64 or uint64 gives its lowest
#              value, and no other, in each of 200 draws.
# Consequence: Sampled actions prove nothing about such a space: its tests must choose values themselves.
# Output:
#   int32, all values: 200 different values
#   int64, half of its values: 200 different values
#   int64, all values: 1 different values
#   uint64, all values: 1 different values
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output"
import numpy as np
from gymnasium.spaces import Box

for title, low, high in (
    ("int32, all values", -(2**31), 2**31 - 1),
    ("int64, half of its values", -(2**62), 2**62),
    ("int64, all values", -(2**63), 2**63 - 1),
    ("uint64, all values", 0, 2**64 - 1),
):
    dtype = title.partition(",")[0]
    space = Box(np.full(200, low, dtype), np.full(200, high, dtype), dtype=dtype, seed=1)
    print(f"{title}: {np.unique(space.sample()).size} different values")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
