#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0 with pygame 2.6.1
# Expected:    gymnasium.utils.play steers MountainCar by the left and right arrow keys, as the comment in its
#              get_keys_to_action says.
# Observed:    get_keys_to_action has 275 and 276, the numbers of the arrows in pygame 1. In pygame 2 these are other
#              numbers, so the keys do nothing.
# Consequence: gymtwist's page takes 273 to 276 for the arrows, as well as the numbers of pygame 2.
# Output:
#   relevant keys: [275, 276]
#   numbers of the arrows: [1073741903, 1073741904]
#   pressed after an arrow: []
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "pygame==2.6.1"

SDL_VIDEODRIVER=dummy PYGAME_HIDE_SUPPORT_PROMPT=1 "$folder/venv/bin/python" -W ignore - \
    <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import pygame
from gymnasium.utils.play import PlayableGame

environment = gymnasium.make("MountainCar-v0", render_mode="rgb_array")
environment.reset(seed=1)
game = PlayableGame(environment, None)
print("relevant keys:", sorted(game.relevant_keys))
print("numbers of the arrows:", sorted([pygame.K_LEFT, pygame.K_RIGHT]))
game.process_event(pygame.event.Event(pygame.KEYDOWN, key=pygame.K_LEFT))
print("pressed after an arrow:", sorted(game.pressed_keys))
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
