#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    A seed decides how the first environment begins, however many others there are beside it.
# Observed:    That is so with "sync". CartPole's own vector environment draws the state of all environments at once, so
#              that the first begins otherwise for each number of environments.
# Consequence: The page on vector environments warns that their seeds may depend on the number of environments.
# Output:
#   vector_entry_point: 1 begins as 2: False, 2 begins as 3: False
#   sync: 1 begins as 2: True, 2 begins as 3: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output"
import gymnasium
import numpy as np

for mode in ("vector_entry_point", "sync"):
    one, two, three = (gymnasium.make_vec("CartPole-v1", number, mode).reset(seed=7)[0][0] for number in (1, 2, 3))
    print(f"{mode}: 1 begins as 2: {np.array_equal(one, two)}, 2 begins as 3: {np.array_equal(two, three)}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
