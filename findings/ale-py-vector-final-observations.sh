#!/usr/bin/env bash
# Package:     ale-py 0.12.1, Gymnasium 1.4.0
# Expected:    With autoreset SAME_STEP, infos say in "_final_obs" which environments ended, as those of other vector
#              environments do, and "final_info" has the infos of the ended episodes.
# Observed:    There is no mask and no "final_info"; "final_obs" has a row for every game. That of a game that goes on is
#              neither its observation now nor the one before.
# Consequence: gymtwist adds the mask, from the games that ended, and sends the rows of those alone.
# Output:
#   sync: ['_final_info', '_final_obs', 'final_info', 'final_obs']
#   ale-py: ['final_obs']
#   game 0: goes on, row is its observation: False, its last one: False
#   game 1: ended
#   game 2: goes on, row is its observation: False, its last one: False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "ale-py==0.12.1"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import ale_py
import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

gymnasium.register_envs(ale_py)


def play(environments, actions):
    observations, _ = environments.reset(seed=np.arange(3).tolist() if actions is None else np.arange(3))
    while True:
        last = observations.copy()
        chosen = np.zeros(3, np.int64) if actions is None else actions.integers(0, 4, 3)
        observations, _, terminated, truncated, infos = environments.step(chosen)
        if np.any(terminated | truncated):
            return last, observations, terminated | truncated, infos


def print_final(title, infos):
    print(f"{title}:", sorted(key for key in infos if "final" in key))


same_step = AutoresetMode.SAME_STEP
print_final(
    "sync", play(gymnasium.make_vec("CartPole-v1", 3, "sync", vector_kwargs={"autoreset_mode": same_step}), None)[3]
)
games = gymnasium.make_vec("ALE/Breakout-v5", 3, "vector_entry_point", autoreset_mode=same_step)
last, observations, ended, infos = play(games, np.random.default_rng(0))
print_final("ale-py", infos)
for number, row in enumerate(infos["final_obs"]):
    if ended[number]:
        print(f"game {number}: ended")
    else:
        now, before = np.array_equal(row, observations[number]), np.array_equal(row, last[number])
        print(f"game {number}: goes on, row is its observation: {now}, its last one: {before}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
