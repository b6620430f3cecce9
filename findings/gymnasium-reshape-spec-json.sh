#!/usr/bin/env bash
# Package:     Gymnasium 1.4.0
# Expected:    A wrapped environment can be made again from EnvSpec.from_json(env.spec.to_json()), as it can from env.spec.
# Observed:    JSON turns the shape of ReshapeObservation and ResizeObservation into a list, which their constructors
#              refuse. FrameStackObservation, which takes numbers and text, can be made.
# Consequence: gymtwist turns lists among the arguments of these wrappers into tuples at the server.
# Output:
#   FrameStackObservation: by spec (2, 4), by JSON (2, 4)
#   ReshapeObservation: by spec (2, 2), by JSON TypeError: ReshapeObservation requires shape to be a tuple, got <class 'list'>
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.wrappers import FrameStackObservation, ReshapeObservation


def make_again(spec):
    try:
        return gymnasium.make(spec).observation_space.shape
    except TypeError as error:
        return f"TypeError: {error}"


for wrapper, argument in ((FrameStackObservation, 2), (ReshapeObservation, (2, 2))):
    spec = wrapper(gymnasium.make("CartPole-v1"), argument).spec
    by_json = make_again(EnvSpec.from_json(spec.to_json()))
    print(f"{wrapper.__name__}: by spec {make_again(spec)}, by JSON {by_json}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
