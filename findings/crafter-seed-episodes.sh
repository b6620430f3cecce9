#!/usr/bin/env bash
# Package:     crafter 1.8.3
# Expected:    Env(seed=1) plays the same episode each time if the actions are the same.
# Observed:    It begins equal and parts within a few steps, even in one process: the world keeps its creatures in sets,
#              whose order depends on addresses, and draws random numbers in that order. A fixed PYTHONHASHSEED does not help.
# Consequence: A remote crafter cannot be compared with a local one beyond its first observations. A snapshot can: a fork keeps
#              the addresses.
# Output:
#   first observations that differ: 1
#   episodes that differ: more than 1
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "crafter==1.8.3" "numpy==2.2.6"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import crafter

played = []  # Keeps each environment, so that the next has other addresses.


def play():
    env = crafter.Env(seed=1)
    played.append(env)
    observations, done = [env.reset().tobytes()], False
    while not done and len(observations) < 100:
        observation, _, done, _ = env.step(0)
        observations.append(observation.tobytes())
    return tuple(observations)


episodes = [play() for _ in range(16)]
print("first observations that differ:", len({episode[0] for episode in episodes}))
print("episodes that differ:", "more than 1" if len(set(episodes)) > 1 else 1)
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
