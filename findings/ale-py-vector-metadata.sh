#!/usr/bin/env bash
# Package:     ale-py 0.12.1, Gymnasium 1.4.0
# Expected:    The metadata of a vector environment are its own.
# Observed:    AtariVectorEnv writes its autoreset mode into VectorEnv.metadata, which other classes inherit.
# Consequence: gymtwist gives the environment a copy and restores the dictionary of the class.
# Output:
#   before: {}
#   after: {'autoreset_mode': 'SameStep'}
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "ale-py==0.12.1"

"$folder/venv/bin/python" - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import ale_py
import gymnasium
from gymnasium.vector import AutoresetMode, VectorEnv

gymnasium.register_envs(ale_py)


def metadata():
    return {key: getattr(value, "value", value) for key, value in VectorEnv.metadata.items()}


print("before:", metadata())
gymnasium.make_vec("ALE/Pong-v5", 2, "vector_entry_point", autoreset_mode=AutoresetMode.SAME_STEP)
print("after:", metadata())
PROGRAM

sed -n 's/^#   //p' "$0" | diff - "$folder/output" && echo "as described"
