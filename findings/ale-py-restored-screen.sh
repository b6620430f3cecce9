#!/usr/bin/env bash
# Package:     ale-py 0.12.1, Gymnasium 1.4.0
# Expected:    After restore_state() the environment shows the restored state: render() gives the frame that it gave when
#              clone_state() was called.
# Observed:    The memory of the console is restored at once, the screen is not: render() gives the frame of the state
#              that was left, until the next step.
# Consequence: gymtwist's snapshots are forks, whose screen is that of the snapshot. Who uses clone_state() must step
#              before it looks.
# Output:
#   memory restored: True
#   frame restored: False
#   frame is that before restore_state(): True
#   frames of the same 60 actions equal: True
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ale-py==0.12.1" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import ale_py
import gymnasium
import numpy as np

gymnasium.register_envs(ale_py)
env = gymnasium.make("ALE/Pong-v5", render_mode="rgb_array")
env.reset(seed=1)
env.action_space.seed(1)
for _ in range(100):
    env.step(env.action_space.sample())
game = env.unwrapped
saved, memory, frame = game.clone_state(include_rng=True), game.ale.getRAM(), env.render()
actions = [env.action_space.sample() for _ in range(60)]
first = [env.step(action)[0] for action in actions]
left = env.render()
game.restore_state(saved)
print("memory restored:", np.array_equal(game.ale.getRAM(), memory))
print("frame restored:", np.array_equal(env.render(), frame))
print("frame is that before restore_state():", np.array_equal(env.render(), left))
second = [env.step(action)[0] for action in actions]
print("frames of the same 60 actions equal:", np.array_equal(first, second))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
