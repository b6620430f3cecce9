#!/usr/bin/env bash
# Package:     ray 2.60.0
# Expected:    ray.cluster_utils.AutoscalingCluster, Ray's own means to try its autoscaler on one machine, can be made
#              from the wheel on PyPI.
# Observed:    Its constructor reads a template that is in Ray's repository and in no wheel.
# Consequence: The tests of clusters use ray.cluster_utils.Cluster, which does not grow. Ray's provider of fake nodes can
#              be used by the provider type "external", which needs no template.
# Output:
#   FileNotFoundError: ray/autoscaler/_private/fake_multi_node/example.yaml
#   command_runner.py docker_monitor.py node_provider.py test_utils.py
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "ray==2.60.0"

cd "$folder"
venv/bin/python - <<'PROGRAM' >output
from pathlib import Path

from ray.cluster_utils import AutoscalingCluster
import ray

site = Path(ray.__file__).parent.parent
try:
    AutoscalingCluster(head_resources={"CPU": 0}, worker_node_types={})
except FileNotFoundError as error:
    print(f"{type(error).__name__}: {Path(error.filename).relative_to(site)}")
there = (site / "ray/autoscaler/_private/fake_multi_node").iterdir()
print(*sorted(each.name for each in there if each.is_file() and each.name != "__init__.py"))
PROGRAM
cd "$OLDPWD"

sed -n 's/^#   //p' "$0" | grep -v '^ ' | diff - "$folder/output" && echo "as described"
