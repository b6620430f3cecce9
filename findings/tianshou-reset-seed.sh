#!/usr/bin/env bash
# Package:     tianshou 2.0.1, Gymnasium 1.4.0
# Expected:    reset(seed=1) of a vector environment seeds its environments with 1, 2 and 3, as it does in Gymnasium, and
#              as seed(1) does in tianshou.
# Observed:    Each environment gets the seed 1: all play the same episode. After seed(1) they differ, but the reset()
#              that follows begins the second episode of each seed.
# Consequence: To compare remote environments with local ones in tianshou, compare what follows the same calls.
# Output:
#   gymnasium, reset(seed=1): first episodes of seeds 1, 2, 3
#   tianshou, reset(seed=1): first episodes of seeds 1, 1, 1
#   tianshou, seed(1) and reset(): second episodes of seeds 1, 2, 3
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "torch==2.13.0" "tianshou==2.0.1" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
from gymnasium.vector import SyncVectorEnv
from tianshou.env import DummyVectorEnv

first, second = {}, {}
for seed in range(1, 10):
    single = gymnasium.make("CartPole-v1")
    first[tuple(single.reset(seed=seed)[0])] = seed
    second[tuple(single.reset()[0])] = seed


def print_seeds(title, episodes, observations):
    print(title, ", ".join(str(episodes[tuple(observation)]) for observation in observations))


makers = [lambda: gymnasium.make("CartPole-v1")] * 3
print_seeds("gymnasium, reset(seed=1): first episodes of seeds", first, SyncVectorEnv(makers).reset(seed=1)[0])
print_seeds("tianshou, reset(seed=1): first episodes of seeds", first, DummyVectorEnv(makers).reset(seed=1)[0])
seeded = DummyVectorEnv(makers)
seeded.seed(1)
print_seeds("tianshou, seed(1) and reset(): second episodes of seeds", second, seeded.reset()[0])
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
