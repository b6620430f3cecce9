#!/usr/bin/env bash
# Package:     dm-env-rpc 1.1.7
# Expected:    A thousand int32 values take about 4,000 bytes, whatever their sign.
# Observed:    A negative value takes ten bytes: the message uses protobuf's int32, not sint32 or sfixed32.
# Consequence: gymtwist sends each value in the size of its dtype, whatever its sign.
# Output:
#   1000 times 1: 1010 bytes
#   1000 times -1: 10010 bytes
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "dm-env-rpc==1.1.7"

"$folder/venv/bin/python" - <<'PROGRAM' >"$folder/output"
import numpy as np
from dm_env_rpc.v1 import tensor_utils

for value in (1, -1):
    packed = tensor_utils.pack_tensor(np.full(1000, value, np.int32))
    print(f"1000 times {value}: {packed.ByteSize()} bytes")
PROGRAM

sed -n 's/^#   //p' "$0" | diff - "$folder/output" && echo "as described"
