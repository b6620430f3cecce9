"""The page of environment packages has what `make packages` would write there, and the player tells true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server_process import REPOSITORY
from tools.packages.equivalence_check import run
from tools.packages.listed import PACKAGES, Package
from tools.packages.results_page import row

PAGE = (REPOSITORY / "docs" / "reference" / "environments.md").read_text()
SETUP = """
import itertools
import sys

import gymnasium
import numpy as np
from gymnasium import spaces

count = itertools.count()


class Counted(gymnasium.Env):
    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, same):
        self.same = same

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.step(0)[0], {"seed": seed}

    def step(self, action):
        value = float("pytest" in sys.modules if self.same is None else 0 if self.same else next(count))
        return np.array([value]), 1.0, False, False, {"set": {1}, "action": action}


for name, same in (("Same-v0", True), ("Unsteady-v0", False), ("Elsewhere-v0", None)):
    gymnasium.register(name, lambda same=same: Counted(same))
"""


def test_the_check_of_a_package_needs_none_of_the_libraries_of_tests() -> None:
    """A package's virtual environment has them only if the package brings them along."""
    missing = "import sys; sys.modules.update(dict.fromkeys(['coverage', 'hypothesis', 'pytest']))"
    line = [sys.executable, "-c", f"{missing}; import tools.packages.equivalence_check"]
    subprocess.run(line, cwd=REPOSITORY, check=True)


def test_every_package_is_on_the_page_with_its_version() -> None:
    """No more, no less; and at least 25 were played."""
    rows = re.findall(r"^\| `([\w-]+)` (\S+) \| [^|]* \| (?:(\d+) of \d+|none) \|", PAGE, re.MULTILINE)
    assert {(name, version) for name, version, _ in rows} == {(each.name, each.version) for each in PACKAGES}
    assert sum(int(count or 0) > 0 for _, _, count in rows) >= 25


@pytest.mark.parametrize("package", [each for each in PACKAGES if each.setup], ids=lambda each: str(each.name))
def test_the_lines_of_a_setup_are_on_the_page(package: Package) -> None:
    """Below the package's name, to which its row links."""
    assert f"## {package.name}\n\n```text\n{package.setup.strip()}\n```\n" in PAGE
    assert f"[these lines](#{package.name.lower()})" in PAGE


def test_the_player_tells_what_is_not_as_in_process(tmp_path: Path) -> None:
    """And what is different each time in-process, too, which is not the server's fault. Every id of it is played."""
    package = Package("counted", "1", ("Same-*", "Unsteady-*", "Elsewhere-*", "Nowhere-*"), setup=SETUP, every=True)
    same, unsteady, elsewhere = run(package, tmp_path, 1)
    assert {each["error"] for told in (same, unsteady, elsewhere) for each in told["sides"].values()} == {None}
    assert [told["steady"] for told in (same, unsteady, elsewhere)] == [True, False, True]
    assert not any(each["differences"] for told in (same, unsteady) for each in told["sides"].values())
    for side in ("classic", "netstring", "int32"):
        (text,) = elsewhere["sides"][side]["differences"]
        assert re.fullmatch(r"reset 0: observation is .*0\..*, not array\(\[1\.\]\)", text)
    assert "| 2 of 3 | 2 of 3 | `Elsewhere-v0`: reset 0: observation is" in row(
        package, {"ids": [same, unsteady, elsewhere]}
    )
