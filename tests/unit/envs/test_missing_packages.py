"""What errors about missing packages say beyond what Gymnasium says."""

from __future__ import annotations

import re
import sys

import pytest
from gymnasium.error import DependencyNotInstalled

from gymtwist.envs.missing_packages import EXTRAS, with_remedy
from tests.support.server_process import REPOSITORY


@pytest.mark.parametrize(
    ("kind", "message", "extra"),
    [
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
    """By the extra that brings it, if there is one; what Gymnasium advises would be another command for the same."""
    how = f'on the server: pip install "gymtwist[{extra}]"' if extra else "install what is missing on the server"
    said = with_remedy(kind, message)
    assert said.endswith(f"; {how}")
    assert said.count("pip install") == bool(extra)
    assert said.startswith(message.partition(",")[0])


@pytest.mark.parametrize("version", [(3, 13), (3, 14)])
def test_box2d_is_not_part_of_the_extra_for_each_python(
    version: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it has no wheel, what Gymnasium advises compiles it."""
    monkeypatch.setattr(sys, "version_info", version)
    said = with_remedy(DependencyNotInstalled, 'Box2D is not installed, run `pip install "gymnasium[box2d]"`')
    assert ('"gymtwist[box2d]"' in said, '"gymnasium[box2d]"' in said) == (version < (3, 14), version >= (3, 14))


def test_other_errors_need_no_package() -> None:
    """Whatever they say."""
    assert with_remedy(ValueError, "pygame is not installed") == "pygame is not installed"


def test_the_extras_exist() -> None:
    """An error must not name one that pip does not know."""
    section = (REPOSITORY / "pyproject.toml").read_text().partition("[project.optional-dependencies]\n")[2]
    assert set(EXTRAS.values()) <= set(re.findall(r"^([\w-]+) = ", section.partition("\n[")[0], re.MULTILINE))
