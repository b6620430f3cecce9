#!/usr/bin/env bash
# Package:     Gymnasium-Robotics 1.4.2, MuJoCo 4.0.0, Gymnasium 1.4.0
# Expected:    FetchReach-v4 can be made with the newest MuJoCo, which the package's requirements allow.
# Observed:    An assertion about the type of a joint fails in its constructor; with MuJoCo 3.8 it does not.
# Consequence: The pages say to install `mujoco<3.9` beside it.
# Output:
#   MuJoCo 3.8.1: reset
#   MuJoCo 4.0.0: AssertionError in set_joint_qpos
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

for version in 3.8.1 4.0.0; do
    python3 -m venv --clear "$folder/venv"
    pip="$folder/venv/bin/pip --quiet --disable-pip-version-check"
    $pip install "gymnasium-robotics==1.4.2" "gymnasium==1.4.0" "mujoco==$version"
    "$folder/venv/bin/python" -W ignore - <<'PROGRAM' >>"$folder/output" 2>>"$folder/errors"
import traceback

import gymnasium
import gymnasium_robotics
import mujoco

gymnasium.register_envs(gymnasium_robotics)
try:
    gymnasium.make("FetchReach-v4").reset(seed=1)
    what = "reset"
except AssertionError as error:
    what = f"AssertionError in {traceback.extract_tb(error.__traceback__)[-1].name}"
print(f"MuJoCo {mujoco.__version__}: {what}")
PROGRAM
done

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
