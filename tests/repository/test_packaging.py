"""The package: `twistd` finds gymsock from a wheel, from an installed directory and from an editable one."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.server_process import REPOSITORY

pytestmark = pytest.mark.slow

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
SOURCES = ("gymtwist", "twisted", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")


def run(*words: str | Path, directory: Path) -> str:
    """Runs a program that must succeed; returns what it prints."""
    ended = subprocess.run(
        list(map(str, words)),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packed, as a fresh clone has it: building writes into its directory."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            shutil.copytree(
                REPOSITORY / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "dropin.cache")
            )
        else:
            shutil.copy(REPOSITORY / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of it; nothing is downloaded."""
    made = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, made, sources, directory=made)
    (found,) = made.glob("*.whl")
    return found


class Environment:
    """A fresh virtual environment, in which the libraries of this one are found but not its gymtwist."""

    def __init__(self, directory: Path) -> None:
        """Makes it."""
        self.directory = directory
        venv.create(directory / "venv", with_pip=False, symlinks=True)
        self.python = directory / "venv" / "bin" / "python"
        libraries = Path(sysconfig.get_path("purelib"))
        # A line of a .pth file adds a directory; .pth files there, such as an editable gymtwist's, are not read.
        (self.packages / "libraries.pth").write_text(f"{libraries}\n")

    @property
    def packages(self) -> Path:
        """Where it keeps its packages."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(run(self.python, "-c", code, directory=self.directory).strip())

    def install(self, *words: str | Path) -> None:
        """Installs something without what it depends on, and without downloading anything."""
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
        run(self.python, "-m", "pip", "install", *options, *words, directory=self.directory)

    @property
    def elsewhere(self) -> Path:
        """An empty directory to run in."""
        made = self.directory / "elsewhere"
        made.mkdir(exist_ok=True)
        return made

    def twistd(self, *words: str) -> str:
        """Runs its twistd; the script itself belongs to another interpreter."""
        return run(self.python, "-c", TWISTD, *words, directory=self.elsewhere)

    def origin(self) -> Path:
        """Returns where its gymtwist is."""
        return Path(
            run(self.python, "-c", "import gymtwist; print(gymtwist.__file__)", directory=self.directory).strip()
        )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A fresh virtual environment."""
    return Environment(tmp_path)


@pytest.fixture(params=["wheel", "directory", "editable"])
def installed(request: pytest.FixtureRequest, environment: Environment, sources: Path) -> Environment:
    """One with gymtwist in it."""
    if request.param == "wheel":
        environment.install(request.getfixturevalue("wheel"))
    elif request.param == "directory":
        environment.install(sources)
    else:
        environment.install("--editable", sources)
    inside = environment.packages if request.param != "editable" else sources
    assert environment.origin().is_relative_to(inside)
    return environment


def test_twistd_knows_gymsock(installed: Environment) -> None:
    """It is listed, and explains itself."""
    listed = installed.twistd("--help")
    assert "gymsock" in listed
    assert "Serve Gymnasium and Gym environments over a socket." in " ".join(listed.split())
    assert "--max-sessions" in installed.twistd("gymsock", "--help")


def test_without_it_twistd_knows_nothing_of_gymsock(environment: Environment) -> None:
    """So the other tests prove something."""
    assert "gymsock" not in environment.twistd("--help")


def test_the_wheel_has_all_that_belongs_to_it_and_nothing_else(wheel: Path) -> None:
    """The plugin alone is put among Twisted's: an `__init__.py` there would take Twisted's place."""
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("twisted")] == ["twisted/plugins/gymsock_plugin.py"]
    assert "gymtwist/py.typed" in names
    packed = {name for name in names if name.startswith("gymtwist/") and name.endswith(".py")}
    assert packed == {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "gymtwist").rglob("*.py")}
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]


def test_the_package_says_what_it_needs(wheel: Path) -> None:
    """And what it has for those who ask for more."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    needed = {line.split(":")[1].split(";")[0].strip() for line in lines if line.startswith("Requires-Dist")}
    for name in ("Twisted[tls]", "ampoule", "numpy", "gymnasium", "gym", "msgspec"):
        assert any(each.lower().startswith(name.lower()) for each in needed), needed
    extras = {line.split(":")[1].strip() for line in lines if line.startswith("Provides-Extra")}
    assert extras >= {"atari", "video", "classic-control", "box2d", "mujoco", "test", "docs", "all"}


def test_the_installed_server_starts_a_child(installed: Environment) -> None:
    """Its own Python finds the child's entry, wherever it was installed to."""
    settings = '{"monitor_root":"/"}'
    run(installed.python, "-m", "gymtwist.worker", "check", settings, "-1", "-1", directory=installed.elsewhere)


def test_the_conformance_distribution_works_without_gymtwist(environment: Environment, tmp_path: Path) -> None:
    """It has its checks, and the reference client."""
    copy = tmp_path / "conformance"
    shutil.copytree(
        REPOSITORY / "conformance", copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    environment.install(copy)
    listed = run(environment.python, "-m", "gymtwist_conformance", "server", "--list", directory=environment.elsewhere)
    assert "refusal.invalid-seed: " in listed
    code = "import sys, gymtwist_conformance.command; print('gymtwist' in sys.modules)"
    assert run(environment.python, "-c", code, directory=environment.elsewhere).strip() == "False"
