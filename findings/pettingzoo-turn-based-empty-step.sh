#!/usr/bin/env bash
# Package:     PettingZoo 1.27.0
# Expected:    step({}) after the end of an episode returns five empty dictionaries, as aec_to_parallel and the parallel
#              environments of the package do.
# Observed:    An environment of turn_based_aec_to_parallel returns four; its other steps return five.
# Consequence: gymtwist answers such a step in its client, always with five.
# Output:
#   aec_to_parallel: 5 in an episode, 5 after it
#   turn_based_aec_to_parallel: 5 in an episode, 4 after it
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "pettingzoo[classic]==1.27.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
from pettingzoo.classic import rps_v2
from pettingzoo.utils import aec_to_parallel, turn_based_aec_to_parallel

for convert in (aec_to_parallel, turn_based_aec_to_parallel):
    env = convert(rps_v2.env(max_cycles=2))
    env.reset(seed=1)
    while env.agents:
        results = env.step(dict.fromkeys(env.agents, 0))
    print(f"{convert.__name__}: {len(results)} in an episode, {len(env.step({}))} after it")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
