#!/usr/bin/env bash
# Package:     highway-env 1.12.1, Gymnasium 1.4.0
# Expected:    step() of a registered environment returns a number as reward and a bool as terminated.
# Observed:    That of intersection-multi-agent-v2 returns a tuple of each. (False, False) counts as true, so the usual loop
#              ends after one step, and make_vec() raises ValueError at the first.
# Consequence: A server must say which value of such an environment it cannot send.
# Output:
#   intersection-v2: reward float64, terminated bool, the loop ends after several steps
#   intersection-multi-agent-v2: reward tuple, terminated tuple, the loop ends after one step
#   make_vec: ValueError
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "highway-env==1.12.1"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import highway_env

gymnasium.register_envs(highway_env)
for name in ("intersection-v2", "intersection-multi-agent-v2"):
    environment = gymnasium.make(name)
    environment.reset(seed=1)
    environment.action_space.seed(1)
    steps = 0
    terminated = truncated = False
    while not (terminated or truncated):
        _, reward, terminated, truncated, _ = environment.step(environment.action_space.sample())
        steps += 1
    number = "one step" if steps == 1 else "several steps"
    types = f"reward {type(reward).__name__}, terminated {type(terminated).__name__}"
    print(f"{name}: {types}, the loop ends after {number}")
several = gymnasium.make_vec("intersection-multi-agent-v2", 2, "sync")
several.reset(seed=1)
try:
    several.step(several.action_space.sample())
except ValueError:
    print("make_vec: ValueError")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
