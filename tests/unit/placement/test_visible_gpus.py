"""Which GPUs a node may give to its sessions."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gymtwist.placement.node_resources import NodeResources
from gymtwist.placement.visible_gpus import visible_gpus
from tests.unit.placement.test_node_resources import usual


@pytest.mark.parametrize(("given", "ids"), [(None, []), ("", []), ("5, 7", ["5", "7"]), ("GPU-a1b2", ["GPU-a1b2"])])
def test_the_gpus_of_a_process_are_those_it_was_started_with(given: str | None, ids: list[str]) -> None:
    """Without the variable it may use all: they have numbers."""
    variables = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    if given is not None:
        variables["CUDA_VISIBLE_DEVICES"] = given
    program = [sys.executable, "-c", "print('ready', flush=True); input()"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = visible_gpus(process.pid)
        process.kill()
    assert found == ids
    node = NodeResources({"CPU": 4.0, "GPU": 1.0}, gpus=found)
    assert node.gpus_of(node.take(usual("--session-gpus", "1"))) == (ids or ["0"])[0]


def test_a_process_that_cannot_be_read_has_all() -> None:
    """Or none that is known."""
    assert visible_gpus(0) == []
