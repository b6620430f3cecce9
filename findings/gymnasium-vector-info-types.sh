#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    The infos of a vector environment hold the values that its environments return, whatever their types.
# Observed:    All take the type of the first: 2.7 behind 2 becomes 2, 3 behind True becomes True, None NaN or an error.
# Consequence: gymtwist merges infos on its own: in an array of a type that holds all values, or of objects.
# Output:
#   [2, 2.7] -> [2, 2]
#   [2.7, 2] -> [2.7, 2.0]
#   [True, 3] -> [True, True]
#   [1.5, None] -> [1.5, nan]
#   [2, None] -> TypeError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0"

"$folder/venv/bin/python" - <<'PROGRAM' >"$folder/output"
import gymnasium


class Informing(gymnasium.Env):
    action_space = observation_space = gymnasium.spaces.Discrete(2)

    def __init__(self, value):
        self.value = value

    def reset(self, *, seed=None, options=None):
        return 0, {"value": self.value}


for values in ([2, 2.7], [2.7, 2], [True, 3], [1.5, None], [2, None]):
    envs = gymnasium.vector.SyncVectorEnv([lambda value=value: Informing(value) for value in values])
    try:
        print(values, "->", envs.reset()[1]["value"].tolist())
    except TypeError:
        print(values, "->", "TypeError")
PROGRAM

sed -n 's/^#   //p' "$0" | diff - "$folder/output" && echo "as described"
