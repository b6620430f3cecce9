#!/usr/bin/env bash
# Package:     tianshou 2.0.1, Gymnasium 1.4.0
# Expected:    get_env_attr of a vector environment returns the attribute that set_env_attr has set, in processes as in one.
# Observed:    SubprocVectorEnv sets it on the unwrapped environment, but reads it from the outermost wrapper, and returns
#              None where that has none. DummyVectorEnv does both on the unwrapped environment.
# Consequence: A remote environment without wrappers gives the value in both. To compare it with a local one in tianshou,
#              compare in DummyVectorEnv.
# Output:
#   DummyVectorEnv: [9.8, 9.8], after setting 20.0: [20.0, 20.0]
#   SubprocVectorEnv: [None, None], after setting 20.0: [None, None]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "tianshou==2.0.1" "gymnasium==1.4.0"

cat >"$folder/program.py" <<'PROGRAM'
import gymnasium
from tianshou.env import DummyVectorEnv, SubprocVectorEnv

if __name__ == "__main__":
    for kind in (DummyVectorEnv, SubprocVectorEnv):
        envs = kind([lambda: gymnasium.make("CartPole-v1")] * 2)
        before = envs.get_env_attr("gravity")
        envs.set_env_attr("gravity", 20.0)
        print(f"{kind.__name__}: {before}, after setting 20.0: {envs.get_env_attr('gravity')}")
        envs.close()
PROGRAM
"$folder/venv/bin/python" -W ignore "$folder/program.py" >"$folder/output" 2>"$folder/errors"

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
