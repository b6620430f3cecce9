#!/usr/bin/env bash
# Package:     gym 0.17.3 and gymnasium 1.4.0
# Expected:    Pendulum-v1 moves as Pendulum-v0 did: its documentation says "v1: Simplify the math equations, no
#              difference in behavior".
# Observed:    In a step that reaches the greatest speed, v0 moves the pendulum by the speed before it is limited, v1 by
#              the limited one. All other steps are the same.
# Consequence: gymtwist makes Pendulum-v1 for a client that asks for Pendulum-v0, and its page names this difference.
# Output:
#   at speed 7.0: v0 to angle 0.3650, v1 to angle 0.3650
#   at speed 8.0: v0 to angle 0.4150, v1 to angle 0.4000
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip --quiet --disable-pip-version-check"
$pip install "gymnasium==1.4.0" "cloudpickle==3.1.1" "wheel==0.37.1" "setuptools==65.7.0"
$pip install --no-deps --no-build-isolation "gym==0.17.3"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output"
import gym
import gymnasium
import numpy as np

old, new = gym.make("Pendulum-v0").unwrapped, gymnasium.make("Pendulum-v1").unwrapped
for speed in (7.0, 8.0):
    angles = []
    for environment in (old, new):
        environment.reset()
        environment.state = np.array([0.0, speed])
        environment.step(np.array([2.0]))
        angles.append(environment.state[0])
    print(f"at speed {speed}: v0 to angle {angles[0]:.4f}, v1 to angle {angles[1]:.4f}")
PROGRAM

sed -n 's/^#   //p' "$0" | grep '^at ' | diff - "$folder/output" && echo "as described"
