#!/usr/bin/env bash
# Package:     dm-env-rpc 1.1.7, with NumPy 2.2.6 or later
# Expected:    Arrays of every common dtype can be sent. Gymnasium's Box accepts float16, int16 and uint16.
# Observed:    pack_tensor() raises TypeError for these three dtypes; int8, uint8 and float32 work.
# Consequence: gymtwist has layouts of its own, which carry the dtypes of all spaces of Gymnasium.
# Output:
#   float16 TypeError
#   int16 TypeError
#   uint16 TypeError
#   int8 packed
#   uint8 packed
#   float32 packed
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "dm-env-rpc==1.1.7" "numpy>=2.2.6"

"$folder/venv/bin/python" - <<'PROGRAM' >"$folder/output"
import numpy as np
from dm_env_rpc.v1 import tensor_utils

for name in ("float16", "int16", "uint16", "int8", "uint8", "float32"):
    try:
        tensor_utils.pack_tensor(np.zeros(2, name))
    except TypeError:
        print(name, "TypeError")
    else:
        print(name, "packed")
PROGRAM

sed -n 's/^#   //p' "$0" | diff - "$folder/output" && echo "as described"
