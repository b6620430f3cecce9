"""What errors about missing packages say beyond what Gymnasium says."""

from __future__ import annotations

import re

import pytest
from gymnasium.error import DependencyNotInstalled

from gymtwist.envs.missing_packages import EXTRAS, remedy
from tests.support.server_process import REPOSITORY


@pytest.mark.parametrize(
    ("kind", "message", "extra"),
    [
        (DependencyNotInstalled, 'Box2D is not installed, run `pip install "gymnasium[box2d]"`', "box2d"),
        (DependencyNotInstalled, 'MuJoCo is not installed, run `pip install "gymnasium[mujoco]"`', "mujoco"),
        (DependencyNotInstalled, "No module named 'mujoco'. (HINT: you need to install mujoco)", "mujoco"),
        (DependencyNotInstalled, "pygame is not installed, run `pip install gym[toy_text]`", "display"),
        (DependencyNotInstalled, "opencv-python package not installed, run `pip install ...`", "wrappers"),
        (ModuleNotFoundError, "No module named 'jax.numpy'", "jax"),
        (DependencyNotInstalled, "No module named 'mujoco_py'. (HINT: see https://github.com/openai/mujoco-py)", None),
        (ImportError, "The mujoco v2 and v3 based environments have been moved", None),
        (ModuleNotFoundError, "No module named 'torch'", None),
    ],
)
def test_a_missing_package_is_installed_on_the_server(
    kind: type[BaseException], message: str, extra: str | None
) -> None:
    """By the extra that brings it, if there is one."""
    how = f'on the server: pip install "gymtwist[{extra}]"' if extra else "install what is missing on the server"
    assert remedy(kind, message) == f"; {how}"


def test_other_errors_need_no_package() -> None:
    """Whatever they say."""
    assert remedy(ValueError, "pygame is not installed") == ""


def test_the_extras_exist() -> None:
    """An error must not name one that pip does not know."""
    section = (REPOSITORY / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2]
    assert set(EXTRAS.values()) <= set(re.findall(r"^([\w-]+) = ", section.partition("\n[")[0], re.MULTILINE))
