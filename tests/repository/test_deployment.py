"""The units of systemd and the Containerfile are what their own tools accept."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from gymtwist.server.command_line import Options
from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY

PAGE = REPOSITORY / "docs" / "how-to" / "run-as-a-service.md"


@pytest.fixture
def units(tmp_path: Path) -> list[str]:
    """The units of the page, as files; their program is one that exists."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")
    found = re.findall(r"^```ini\n(\[(?:Unit|Socket)\]\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    paths = [tmp_path / "gymsock.service", tmp_path / "gymsock.socket"]
    for path, text in zip(paths, found, strict=True):
        path.write_text(text.replace("/opt/gymtwist/bin/twistd", sys.executable))
    return [str(path) for path in paths]


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a command; return what it prints."""
    return subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_systemd_knows_every_directive_of_the_units(units: list[str]) -> None:
    """It prints nothing about them."""
    done = run("systemd-analyze", "verify", *units)
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "gymsock" in line]


def test_the_page_has_the_exposure_of_the_service(units: list[str]) -> None:
    """As systemd computes it; version 252 and later can do it for a file."""
    done = run("systemd-analyze", "security", "--offline=true", units[0])
    found = re.search(r"Overall exposure level for gymsock.service: ([\d.]+)", done.stdout)
    if found is None:
        pytest.skip("this systemd-analyze computes no exposure of a file")
    stated = re.search(r"gives this unit ([\d.]+)", PAGE.read_text())
    assert stated is not None
    assert float(found.group(1)) == pytest.approx(float(stated.group(1)), abs=0.3)


def test_the_linter_of_containerfiles_finds_nothing() -> None:
    """With all its rules."""
    program = shutil.which("hadolint", path=f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin")
    if program is None:
        pytest.skip("there is no hadolint")
    done = run(program, str(REPOSITORY / "Containerfile"))
    assert (done.returncode, done.stdout) == (0, "")


# Kubernetes

CLUSTER_PAGE = REPOSITORY / "docs" / "how-to" / "use-a-cluster.md"


def container_of(group: dict[str, Any]) -> dict[str, Any]:
    """Return the only container of a pod template's owner."""
    (container,) = group["template"]["spec"]["containers"]
    assert {"name", "image"} <= container.keys()
    found: dict[str, Any] = container
    return found


def test_the_manifests_of_a_ray_cluster_have_what_kuberay_requires() -> None:
    """And the front's words are options of gymsock: it finds the head by the name that KubeRay gives its service."""
    text = re.search(r"^```yaml\n(.*?)^```$", CLUSTER_PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert text is not None
    cluster, front = yaml.safe_load_all(text[1])
    assert (cluster["apiVersion"], cluster["kind"]) == ("ray.io/v1", "RayCluster")
    groups = [cluster["spec"]["headGroupSpec"], *cluster["spec"]["workerGroupSpecs"]]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        resources = container_of(group)["resources"]
        assert resources["limits"] == resources["requests"]
    for group in groups[1:]:
        assert group["groupName"]
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    container = container_of(front["spec"])
    assert front["spec"]["selector"]["matchLabels"] == front["spec"]["template"]["metadata"]["labels"]
    options = Options()
    options.parseOptions(container["args"])
    name = cluster["metadata"]["name"]
    assert options.server_options().place == f"ray://{name}-head-svc:10001"
    assert len({container_of(each)["image"] for each in (*groups, front["spec"])}) == 1
