#!/usr/bin/env bash
# Package:     gymnasium 1.4.0 (the RecordVideo wrapper), with moviepy 2.2.1
# Expected:    Any array that render() returns is filmed, or RecordVideo says that it cannot film it.
# Observed:    Neither looks at a frame's shape and dtype. Of ten grey frames with one channel three are in the film; frames
#              of floats from 0 to 1, as matplotlib takes them, make a black film. No error, no warning.
# Consequence: gymtwist's monitor converts frames to uint8 with three channels before it writes a video.
# Output:
#   (64, 64, 3) uint8: 10 frames, mean 126
#   (64, 64, 1) uint8: 3 frames, mean 126
#   (64, 64, 3) float32: 10 frames, mean 0
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "moviepy==2.2.1" "gymnasium==1.4.0"

cat >"$folder/record.py" <<'PROGRAM'
import pathlib
import sys
import warnings

import gymnasium
import imageio_ffmpeg
import numpy as np
from gymnasium.wrappers import RecordVideo


class Grey(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}
    observation_space = gymnasium.spaces.Discrete(1)
    action_space = gymnasium.spaces.Discrete(1)
    render_mode = "rgb_array"

    def __init__(self, frame):
        self.frame = frame

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return 0, {}

    def step(self, action):
        return 0, 0.0, False, False, {}

    def render(self):
        return self.frame


warnings.simplefilter("error", UserWarning)
frames = np.full((64, 64, 3), 127, np.uint8), np.full((64, 64, 1), 127, np.uint8), np.full((64, 64, 3), 0.5, np.float32)
for number, frame in enumerate(frames):
    folder = pathlib.Path(sys.argv[1], str(number))
    recorded = RecordVideo(Grey(frame), str(folder))
    recorded.reset()
    for _ in range(9):
        recorded.step(0)
    recorded.close()
    (video,) = folder.glob("*.mp4")
    read = imageio_ffmpeg.read_frames(str(video))
    next(read)
    means = [np.frombuffer(each, np.uint8).mean() for each in read]
    print(f"{frame.shape} {frame.dtype}: {len(means)} frames, mean {np.mean(means):.0f}")
PROGRAM
"$folder/venv/bin/python" "$folder/record.py" "$folder" 2>"$folder/errors" >"$folder/output" || { cat "$folder/errors"; exit 1; }

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
