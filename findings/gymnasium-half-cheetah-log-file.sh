#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0, mujoco 4.0.0
# Expected:    gymnasium.make() leaves no file in the working directory.
# Observed:    Each make() of HalfCheetah-v5 appends a warning about its own model to MUJOCO_LOG.TXT there, as mujoco does with
#              its warnings. Ant-v5 and Hopper-v5 leave none.
# Consequence: gymtwist gives each session a working directory of its own.
# Output:
#   Ant-v5: []
#   Hopper-v5: []
#   HalfCheetah-v5: ['MUJOCO_LOG.TXT'], 1 warning
#   HalfCheetah-v5: ['MUJOCO_LOG.TXT'], 2 warnings
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "mujoco==4.0.0" "gymnasium[mujoco]==1.4.0"

mkdir "$folder/work"
cd "$folder/work"
"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import pathlib

import gymnasium

for name in ("Ant-v5", "Hopper-v5", "HalfCheetah-v5", "HalfCheetah-v5"):
    gymnasium.make(name).close()
    files = sorted(pathlib.Path().iterdir())
    warnings = sum(path.read_text().count("WARNING") for path in files)
    number = f", {warnings} warning{'s' if warnings > 1 else ''}" if warnings else ""
    print(f"{name}: {[path.name for path in files]}{number}")
PROGRAM
cd "$OLDPWD"

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
