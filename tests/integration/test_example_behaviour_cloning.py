"""The example of behaviour cloning learns from what the server has recorded."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytest.importorskip("minari")
pytest.importorskip("h5py")

from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY, ServerProcess, variables


def test_the_policy_plays_as_well_as_the_expert(module_server: ServerProcess) -> None:
    """From ten episodes, it solves CartPole: the threshold is 475."""
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "examples" / "behaviour_cloning.py"), f"127.0.0.1:{module_server.port}"],
        env=variables(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the dataset: 10 episodes" in done.stdout
    (learned,) = re.findall(r"^mean return ([\d.]+) over 20 episodes$", done.stdout, re.MULTILINE)
    assert float(learned) >= 475
