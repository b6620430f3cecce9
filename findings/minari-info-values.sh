#!/usr/bin/env bash
# Package:     minari 0.5.4, Gymnasium 1.4.0
# Expected:    A dataset gives back the infos that were recorded, one for each step, alike in both of its formats.
# Observed:    Text comes back as bytes from HDF5, as str from Arrow. Tuples become a dictionary of arrays in one, an array of
#              dictionaries in the other. Lists of numbers come back from Arrow with steps and elements exchanged, and
#              raise an error in HDF5. True and 3 become 1 and 3 in HDF5, and raise an error in Arrow.
# Consequence: Convert the infos of an environment to NumPy's numbers and arrays, of one type each, before you record them.
# Output:
#   ['left', 'up'], hdf5: [b'left', b'up']
#   ['left', 'up'], arrow: ['left', 'up']
#   [(1, 2), (3, 4)], hdf5: {'_index_0': [1, 3], '_index_1': [2, 4]}
#   [(1, 2), (3, 4)], arrow: [{'0': 1, '1': 2}, {'0': 3, '1': 4}]
#   [[1, 2], [3, 4]], hdf5: ValueError
#   [[1, 2], [3, 4]], arrow: [[1, 3], [2, 4]]
#   [True, 3], hdf5: [1, 3]
#   [True, 3], arrow: ArrowInvalid
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "gymnasium==1.4.0" "minari[create,hdf5,arrow]==0.5.4" \
    "h5py==3.16.0" "pyarrow==26.0.1" "pillow==13.0.0"

MINARI_DATASETS_PATH="$folder/datasets" "$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import gymnasium
import minari
import numpy as np


class Informing(gymnasium.Env):
    action_space = gymnasium.spaces.Discrete(2)
    observation_space = gymnasium.spaces.Box(0, 1, (1,))

    def __init__(self, values):
        self.values = values

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {"value": self.values[0]}

    def step(self, action):
        return np.zeros(1, np.float32), 0.0, True, False, {"value": self.values[1]}


def plain(value):
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value.tolist()


for number, values in enumerate((["left", "up"], [(1, 2), (3, 4)], [[1, 2], [3, 4]], [True, 3])):
    for form in ("hdf5", "arrow"):
        try:
            collector = minari.DataCollector(Informing(values), record_infos=True, data_format=form)
            collector.reset(seed=1)
            collector.step(0)
            result = plain(collector.create_dataset(f"test/{form}{number}-v0")[0].infos["value"])
        except Exception as error:
            result = type(error).__name__
        print(f"{values}, {form}: {result}")
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
