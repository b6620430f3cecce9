"""`twistd` finds gymsock in an installed wheel and in an editable installation."""

from __future__ import annotations

import os
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
    """Run a program that must succeed and do not see this repository; return its output."""
    ended = subprocess.run(
        list(map(str, words)),
        cwd=directory,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged files, as in a fresh clone; a build writes into its directory."""
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
    """A wheel that is built from the copy without downloads."""
    made = tmp_path_factory.mktemp("wheel")
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir")
    run(sys.executable, "-m", "pip", "wheel", *options, made, sources, directory=made)
    (found,) = made.glob("*.whl")
    return found


class Environment:
    """A fresh virtual environment with the libraries of the current one, except gymtwist."""

    def __init__(self, directory: Path) -> None:
        """Create the environment."""
        self.directory = directory
        venv.create(directory / "venv", with_pip=False, symlinks=True)
        self.python = directory / "venv" / "bin" / "python"
        libraries = Path(sysconfig.get_path("purelib"))
        # A line of a .pth file adds a directory; .pth files there, such as an editable gymtwist's, are not read.
        (self.packages / "libraries.pth").write_text(f"{libraries}\n")

    @property
    def packages(self) -> Path:
        """The directory of its packages."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(run(self.python, "-c", code, directory=self.directory).strip())

    def install(self, *words: str | Path) -> None:
        """Install a distribution without its dependencies and without downloads."""
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
        run(self.python, "-m", "pip", "install", *options, *words, directory=self.directory)

    @property
    def elsewhere(self) -> Path:
        """An empty directory to run programs in."""
        made = self.directory / "elsewhere"
        made.mkdir(exist_ok=True)
        return made

    def twistd(self, *words: str) -> str:
        """Run twistd by its code; the installed script belongs to another interpreter."""
        return run(self.python, "-c", TWISTD, *words, directory=self.elsewhere)

    def origin(self) -> Path:
        """Return the path of its gymtwist."""
        return Path(
            run(self.python, "-c", "import gymtwist; print(gymtwist.__file__)", directory=self.directory).strip()
        )


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """A fresh virtual environment."""
    return Environment(tmp_path)


@pytest.fixture(scope="module", params=["wheel", "editable"])
def installed(request: pytest.FixtureRequest, sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A virtual environment with gymtwist, installed in each of the ways."""
    environment = Environment(tmp_path_factory.mktemp("installed"))
    if request.param == "wheel":
        environment.install(request.getfixturevalue("wheel"))
    else:
        environment.install("--editable", sources)
    inside = environment.packages if request.param != "editable" else sources
    assert environment.origin().is_relative_to(inside)
    return environment


def test_twistd_knows_gymsock(installed: Environment) -> None:
    """`twistd` lists gymsock and prints its help."""
    listed = installed.twistd("--help")
    assert "gymsock" in listed
    assert "Serve Gymnasium and Gym environments over a socket." in " ".join(listed.split())
    assert "--max-sessions" in installed.twistd("gymsock", "--help")


def test_twistd_without_gymtwist_does_not_know_gymsock(environment: Environment) -> None:
    """Otherwise the other tests would prove nothing."""
    assert "gymsock" not in environment.twistd("--help")


def test_the_wheel_has_the_package_and_the_plugin_only(wheel: Path) -> None:
    """An `__init__.py` beside the plugin would replace Twisted's own."""
    names = zipfile.ZipFile(wheel).namelist()
    assert [name for name in names if name.startswith("twisted")] == ["twisted/plugins/gymsock_plugin.py"]
    assert "gymtwist/py.typed" in names
    packed = {name for name in names if name.startswith("gymtwist/") and name.endswith(".py")}
    assert packed == {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "gymtwist").rglob("*.py")}
    assert not [name for name in names if name.startswith(("tests", "docs", "benchmarks"))]


def test_the_metadata_names_dependencies_and_extras(wheel: Path) -> None:
    """They are in the metadata of the wheel, which pip reads."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    needed = {line.split(":")[1].split(";")[0].strip() for line in lines if line.startswith("Requires-Dist")}
    for name in ("Twisted[tls]", "ampoule", "numpy", "gymnasium", "gym", "msgspec"):
        assert any(each.lower().startswith(name.lower()) for each in needed), needed
    extras = {line.split(":")[1].strip() for line in lines if line.startswith("Provides-Extra")}
    assert extras >= {"atari", "video", "classic-control", "box2d", "mujoco", "test", "docs", "all"}


def test_an_installed_server_finds_its_worker(installed: Environment) -> None:
    """The Python of the installation runs the entry of worker processes."""
    settings = '{"monitor_root":"/"}'
    run(installed.python, "-m", "gymtwist.worker", "check", settings, "-1", "-1", directory=installed.elsewhere)


def test_the_conformance_distribution_works_without_gymtwist(environment: Environment, tmp_path: Path) -> None:
    """It lists its checks, and its command does not import gymtwist."""
    copy = tmp_path / "conformance"
    shutil.copytree(
        REPOSITORY / "conformance", copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    environment.install(copy)
    listed = run(environment.python, "-m", "gymtwist_conformance", "server", "--list", directory=environment.elsewhere)
    assert "refusal.invalid-seed: " in listed
    code = "import sys, gymtwist_conformance.command; print('gymtwist' in sys.modules)"
    assert run(environment.python, "-c", code, directory=environment.elsewhere).strip() == "False"
