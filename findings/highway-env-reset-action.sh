#!/usr/bin/env bash
# Package:     highway-env 1.12.1, Gymnasium 1.4.0
# Expected:    reset(seed=1) returns the same observation and infos each time.
# Observed:    The observation, yes. info["action"], which no one has chosen yet, is drawn at random.
# Consequence: Infos of a remote and a local highway-env can differ after the same reset. gymtwist does not change them.
# Output:
#   40 resets with seed 1: 1 observation, several actions in the infos
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "highway-env==1.12.1"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import highway_env

gymnasium.register_envs(highway_env)
environment = gymnasium.make("highway-fast-v0")
observations, actions = set(), set()
for _ in range(40):
    observation, info = environment.reset(seed=1)
    observations.add(observation.tobytes())
    actions.add(int(info["action"]))
number = "one action" if len(actions) == 1 else "several actions"
print(f"40 resets with seed 1: {len(observations)} observation, {number} in the infos")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
