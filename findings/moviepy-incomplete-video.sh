#!/usr/bin/env bash
# Package:     moviepy 2.2.1, through the RecordVideo wrapper of gymnasium 1.4.0
# Expected:    If a video cannot be written, for example because the disk is full, RecordVideo or MoviePy raises an error.
# Observed:    A video shorter than a pipe's buffer raises nothing: MoviePy does not look at ffmpeg's exit status. The file
#              has no index (the box "moov") and no player opens it.
# Consequence: gymtwist's monitor looks for the index after each video, and stops the recording if there is none.
# Output:
#   enough space: no error, index True
#   300 bytes: no error, index False
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "moviepy==2.2.1" "gymnasium==1.4.0"

cat >"$folder/record.py" <<'PROGRAM'
import pathlib
import resource
import sys
import warnings

import gymnasium
import numpy as np
from gymnasium.wrappers import RecordVideo


class Grey(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space = gymnasium.spaces.Discrete(1)
    action_space = gymnasium.spaces.Discrete(1)
    render_mode = "rgb_array"

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 0.0, False, False, {}

    def render(self):
        return np.full((64, 64, 3), 127, np.uint8)


warnings.simplefilter("ignore")
title, folder, size = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
recorded = RecordVideo(Grey(), str(folder))
recorded.reset()
recorded.step(0)
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
try:
    recorded.close()
    error = "no error"
except Exception as raised:
    error = type(raised).__name__
resource.setrlimit(resource.RLIMIT_FSIZE, limits)
(video,) = folder.glob("*.mp4")
print(f"{title}: {error}, index {b'moov' in video.read_bytes()}")
PROGRAM
"$folder/venv/bin/python" "$folder/record.py" "enough space" "$folder/one" 1000000 >"$folder/output"
"$folder/venv/bin/python" "$folder/record.py" "300 bytes" "$folder/two" 300 >>"$folder/output"

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
