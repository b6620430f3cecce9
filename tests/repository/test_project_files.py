"""The files that contributors and the forge use: changelog fragments, sessions, hooks, workflow and findings."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY

MAKEFILE = (REPOSITORY / "Makefile").read_text()
TARGETS = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
SESSIONS = set(
    re.findall(r"^def (\w+)\(session: nox.Session\) -> None:", (REPOSITORY / "noxfile.py").read_text(), re.M)
)
KINDS = "added|changed|deprecated|removed|fixed|security"
FRAGMENTS = sorted(path for path in (REPOSITORY / "changelog.d").glob("*") if path.name != "README.md")
FINDINGS = sorted((REPOSITORY / "findings").glob("*.sh"))
YAML_FILES = [
    REPOSITORY / ".pre-commit-config.yaml",
    *sorted((REPOSITORY / ".github").rglob("*.yml")),
]


def workflow_commands() -> list[str]:
    """Return the commands of the workflow."""
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    jobs: dict[str, Any] = workflow["jobs"]
    return [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]


def make(*words: str) -> subprocess.CompletedProcess[str]:
    """Run make; its own variables, if it runs these tests, are not inherited."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", "--silent", *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_the_next_section_of_the_changelog_can_be_built() -> None:
    """Every fragment is in it, below a heading as Keep a Changelog has them."""
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "9.9.9", "--date", "2030-01-02"]
    built = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert "## [9.9.9] - 2030-01-02" in built
    for fragment in FRAGMENTS:
        assert " ".join(fragment.read_text().split()) in " ".join(built.split())


@pytest.mark.parametrize("fragment", FRAGMENTS, ids=lambda path: path.name)
def test_a_fragment_has_a_kind(fragment: Path) -> None:
    """Towncrier passes over a file whose name it does not know."""
    assert re.fullmatch(rf"(\+[a-z0-9-]+|\d+)\.({KINDS})(\.\d+)?\.md", fragment.name)


def test_the_changelog_has_the_place_for_the_next_section() -> None:
    """Without the mark, towncrier would write above the title."""
    assert (REPOSITORY / "CHANGELOG.md").read_text().count("\n<!-- towncrier release notes start -->\n\n") == 1


@pytest.mark.parametrize("path", YAML_FILES, ids=lambda path: path.name)
def test_yaml_can_be_read(path: Path) -> None:
    """A forge ignores a file that it cannot read."""
    assert isinstance(yaml.safe_load(path.read_text()), dict)


def test_the_workflow_runs_existing_commands() -> None:
    """The script, targets of the Makefile, and nox sessions."""
    commands = workflow_commands()
    assert ".ci/run" in commands
    for command in commands:
        words = shlex.split(command)
        if words[0] == "make":
            assert {word for word in words[1:] if not word.startswith("ARGS=")} <= TARGETS
        elif words[0].startswith("."):
            assert os.access(REPOSITORY / words[0], os.X_OK)
        else:
            assert words[:2] == ["pipx", "run"]
    workflow = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())
    matrix = workflow["jobs"]["dependencies"]["strategy"]["matrix"]["include"]
    assert {each["session"].partition("-")[0] for each in matrix} <= SESSIONS


def test_ci_runs_the_test_command_of_the_readme() -> None:
    """So what a newcomer runs is what must pass."""
    assert "\nmake test\n" in (REPOSITORY / ".ci" / "run").read_text()
    assert "\nmake test\n" in (REPOSITORY / "README.md").read_text()


def test_the_workflow_covers_the_pythons_of_the_package() -> None:
    """All that pyproject.toml declares: one of them by the script that runs everything."""
    declared = set(
        re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (REPOSITORY / "pyproject.toml").read_text())
    )
    jobs = yaml.safe_load((REPOSITORY / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    setup = next(step for step in jobs["everything"]["steps"] if "with" in step)
    assert {*jobs["tests"]["strategy"]["matrix"]["python"], setup["with"]["python-version"]} == declared


def test_hooks_need_no_network() -> None:
    """They are this repository's own, and use the tools of `make lint`."""
    (repository,) = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"]
    assert repository["repo"] == "local"
    for hook in repository["hooks"]:
        tool = Path(hook["entry"].split()[0])
        assert tool.parent == Path(".venv/bin")
        assert f"$(BIN)/{tool.name}" in MAKEFILE


def test_make_lint_installs_what_the_checked_sources_import(tmp_path: Path) -> None:
    """In a fresh checkout, mypy would not find these imports otherwise."""
    commands = make("--dry-run", "lint", f"VENV={tmp_path / 'fresh'}").stdout
    (extras,) = re.findall(r"pip .*install --editable '\.\[(.*?)\]'", commands)
    assert {"atari", "display", "lint", "test"} <= set(extras.split(","))


def test_make_help_says_where_arguments_go() -> None:
    """It names every target that passes them on."""
    recipes = re.findall(r"^([\w-]+):[^\n]*\n((?:\t[^\n]*\n)+)", MAKEFILE, re.MULTILINE)
    takers = {target for target, recipe in recipes if "$(ARGS)" in recipe}
    text = make("help").stdout.partition('ARGS="..."')[2].partition("EXTRAS=")[0]
    assert takers <= set(re.findall(r"[\w-]+", text))


def test_codespell_skips_what_a_checkout_ignores() -> None:
    """A virtual environment of the README, for example, is not searched for misspelt words."""
    section = (REPOSITORY / ".gitignore").read_text().partition("# What the README and the Makefile make\n")[2]
    made = re.findall(r"^/(.*)/$", section.partition("\n\n")[0], re.MULTILINE)
    (skipped,) = re.findall(r'^skip = "(.*)"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE)
    assert made
    assert {f"./{each}" for each in made} <= set(skipped.split(","))


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_a_finding_has_its_form(path: Path) -> None:
    """It says what was seen, and installs pinned packages in a temporary folder; running it takes the network."""
    text = path.read_text()
    assert os.access(path, os.X_OK)
    for part in ("Package:     ", "Expected:    ", "Observed:    ", "Consequence: ", "Output:\n#   "):
        assert f"\n# {part}" in text
    assert "folder=$(mktemp -d)\n" in text
    assert re.search(r"install .*[\w\]](==|@)\d", text)
    assert "gymtwist" not in text.partition("set -euo pipefail")[2]
    subprocess.run(["bash", "-n", str(path)], check=True, timeout=PATIENCE)


@pytest.mark.parametrize("status", [0, 3])
def test_make_test_keeps_the_status_of_the_tests(tmp_path: Path, status: int) -> None:
    """And reports the coverage in either case."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    coverage = binaries / "coverage"
    coverage.write_text(f'#!/bin/sh\necho "coverage $1"\n[ "$1" != run ] || exit {status}\n')
    coverage.chmod(0o755)
    made = [tmp_path / ".made-with-python3", tmp_path / ".test"]
    for stamp in made:
        stamp.touch()
    ended = make("test", f"VENV={tmp_path}", "PYTHON=python3")
    assert ended.stdout.split("\n")[:-1] == [f"coverage {each}" for each in ("erase", "run", "combine", "report")]
    assert (ended.returncode == 0) == (status == 0)
    assert status == 0 or f"Error {status}" in ended.stderr


@pytest.mark.parametrize(("status", "expected"), [(0, 0), (130, 0), (1, 2)])
def test_make_serve_takes_an_interrupt_for_no_error(tmp_path: Path, status: int, expected: int) -> None:
    """But every other failure."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    twistd = binaries / "twistd"
    twistd.write_text(f'#!/bin/sh\necho "$@"\nexit {status}\n')
    twistd.chmod(0o755)
    for stamp in (".made-with-python3", ".serve-with-mujoco-box2d"):
        (tmp_path / stamp).touch()
    command = [
        "make",
        "--silent",
        "serve",
        f"VENV={tmp_path}",
        "PYTHON=python3",
        "EXTRAS=mujoco,box2d",
        "ARGS=--port 1",
    ]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert ended.stdout == "--nodaemon --pidfile= gymsock --port 1\n"
    assert ended.returncode == expected, ended.stderr


@pytest.mark.parametrize(
    ("changed", "installed"),
    [
        (None, []),
        ("gymtwist/spaces/kinds/box.py", ["--force-reinstall --no-deps ./client"]),
        ("client/setup.py", ["--force-reinstall --no-deps ./client"]),
        ("Makefile", ["torch ray[rllib] ./client[multi-agent] mpe2>=1.1", "--force-reinstall --no-deps ./client"]),
    ],
)
def test_make_recipes_installs_what_has_changed(tmp_path: Path, changed: str | None, installed: list[str]) -> None:
    """A recipe runs on the client as it is now, and beside the libraries that the Makefile names now."""
    files = ["Makefile", "client/setup.py", "gymtwist/spaces/kinds/box.py"]
    for age, name in enumerate([*files, ".recipes/ray/.made", ".recipes/ray/.installed", changed]):
        if name is not None:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(MAKEFILE if name == "Makefile" else "")
            os.utime(path, (age, age))
    commands = make("--dry-run", "--directory", str(tmp_path), "TORCH=torch", ".recipes/ray/.installed").stdout
    assert re.findall(r" install (.*)", commands.replace("'", "")) == installed
