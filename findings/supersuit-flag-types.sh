#!/usr/bin/env bash
# Package:     SuperSuit 3.11.0, PettingZoo 1.27.0, Gymnasium 1.4.0
# Expected:    The number of processes does not change what concat_vec_envs_v1 returns, and flags are arrays of bool, as
#              those of Gymnasium's vector environments.
# Observed:    Without processes of its own (num_cpus=0) terminations and truncations are uint8, with two they are bool. So
#              `~terminations` inverts every bit in the one, and gives a mask in the other.
# Consequence: Who trains on SuperSuit's vectors of remote agents must cast flags to bool. gymtwist's own vectors always
#              return bool.
# Output:
#   num_cpus=0: terminations uint8, truncations uint8, ~terminations [255 255]
#   num_cpus=2: terminations bool, truncations bool, ~terminations [ True  True]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "supersuit==3.11.0" "pettingzoo[classic]==1.27.0" "gymnasium==1.4.0"

"$folder/venv/bin/python" -W ignore - <<'PROGRAM' >"$folder/output" 2>"$folder/errors"
import numpy as np
import supersuit
from pettingzoo.classic import rps_v2
from pettingzoo.utils import aec_to_parallel

for num_cpus in (0, 2):
    one = supersuit.pettingzoo_env_to_vec_env_v1(aec_to_parallel(rps_v2.env()))
    vector = supersuit.concat_vec_envs_v1(one, 2, num_cpus=num_cpus, base_class="gymnasium")
    vector.reset(seed=1)
    terminations, truncations = vector.step(np.zeros(vector.num_envs, np.int64))[2:4]
    dtypes = f"terminations {terminations.dtype}, truncations {truncations.dtype}"
    print(f"num_cpus={num_cpus}: {dtypes}, ~terminations {(~terminations)[:2]}")
    vector.close()
PROGRAM

sed -n 's/^#   \([^ ]\)/\1/p' "$0" | diff - "$folder/output" && echo "as described"
