"""The distributions gymtwist, gymtwist-client and gymtwist-conformance, installed in virtual environments."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.patience import PATIENCE
from tests.support.server_process import REPOSITORY

pytestmark = pytest.mark.slow

TWISTD = "import sys; from twisted.scripts.twistd import run; sys.argv[0] = 'twistd'; run()"
SOURCES = ("gymtwist", "twisted", "client", "setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")
#: What the client alone consists of.
PARTS = ["__main__", "client", "error_texts", "errors", "protocol", "spaces"]
LISTED = "import gymtwist, pkgutil; print(*(each.name for each in pkgutil.iter_modules(gymtwist.__path__)))"
IMPORT_ALL = """
import gymtwist, importlib, pkgutil
for each in pkgutil.walk_packages(gymtwist.__path__, "gymtwist."):
    if each.name != "gymtwist.client.remote_agents":  # it needs PettingZoo, which is an extra
        importlib.import_module(each.name)
"""


#: The environment variables of programs that must not see this repository.
VARIABLES = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def run(*words: str | Path, directory: Path, status: int = 0) -> str:
    """Run a program that does not see this repository and must end with a status; return its output."""
    ended = subprocess.run(
        list(map(str, words)),
        cwd=directory,
        env=VARIABLES,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == status, ended.stdout
    return ended.stdout


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packaged files, as in a fresh clone; a build writes into its directory."""
    copy = tmp_path_factory.mktemp("sources")
    for name in SOURCES:
        if (REPOSITORY / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "dropin.cache", "build", "*.egg-info")
            shutil.copytree(REPOSITORY / name, copy / name, ignore=ignored)
        else:
            shutil.copy(REPOSITORY / name, copy / name)
    return copy


def build(folder: Path, into: Path) -> Path:
    """Build a wheel without downloads, and without the warning that a folder is no package."""
    options = ("--verbose", "--no-deps", "--no-build-isolation", "--wheel-dir")
    output = run(sys.executable, "-m", "pip", "wheel", *options, into, folder, directory=into)
    assert "Package would be ignored" not in output, output
    (found,) = into.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of gymtwist."""
    return build(sources, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client_wheel(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of gymtwist-client."""
    return build(sources / "client", tmp_path_factory.mktemp("client"))


def requirements(wheel: Path) -> list[str]:
    """Return what a wheel requires."""
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(name).decode().splitlines()
    return [line.partition(": ")[2] for line in lines if line.startswith("Requires-Dist: ")]


def required(needed: list[str], extras: set[str] | None = None) -> set[str]:
    """Return the names of all distributions that requirements need, those of requirements included."""
    found: set[str] = set()
    for each in map(Requirement, needed):
        if each.marker is not None and not any(each.marker.evaluate({"extra": extra}) for extra in extras or {""}):
            continue
        found |= {each.name, *required(metadata.requires(each.name) or [], each.extras | {""})}
    return found


class Environment:
    """A fresh virtual environment with libraries of the current one, except gymtwist."""

    def __init__(self, directory: Path, wheel: Path | None = None) -> None:
        """Create the environment.

        Args:
            directory: Where to create it.
            wheel: A wheel to install, with the libraries that it requires and no others; None for all libraries.
        """
        self.directory = directory
        venv.create(directory / "venv", with_pip=False, symlinks=True)
        self.python = directory / "venv" / "bin" / "python"
        libraries = Path(sysconfig.get_path("purelib"))
        if wheel is None:
            # A line of a .pth file adds a directory; .pth files there, such as an editable gymtwist's, are not read.
            (self.packages / "libraries.pth").write_text(f"{libraries}\n")
            return
        for name in required(requirements(wheel)):
            for file in metadata.files(name) or []:
                if file.parts[0] != "..":
                    # Folders are this environment's own: a wheel may add to them.
                    (self.packages / file).parent.mkdir(parents=True, exist_ok=True)
                    (self.packages / file).symlink_to(libraries / file)
        self.install(wheel)

    @functools.cached_property
    def packages(self) -> Path:
        """The directory of its packages."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(run(self.python, "-c", code, directory=self.directory).strip())

    def install(self, *words: str | Path) -> None:
        """Install a distribution without its dependencies and without downloads."""
        options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
        self.pip("install", *options, *words)

    def pip(self, *words: str | Path) -> None:
        """Run the current environment's pip for this one."""
        run(sys.executable, "-m", "pip", "--python", self.python, *words, directory=self.directory)

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


def test_the_wheel_has_the_web_page(wheel: Path) -> None:
    """Every file of it."""
    names = zipfile.ZipFile(wheel).namelist()
    files = sorted((REPOSITORY / "gymtwist" / "web" / "static").iterdir())
    assert files
    assert [each.name for each in files if f"gymtwist/web/static/{each.name}" not in names] == []


def test_the_metadata_names_dependencies_and_extras(wheel: Path) -> None:
    """They are in the metadata of the wheel, which pip reads."""
    archive = zipfile.ZipFile(wheel)
    (found,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    lines = archive.read(found).decode().splitlines()
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


@pytest.fixture(scope="module")
def address(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in an environment with gymtwist and what it requires, and nothing else."""
    environment = Environment(tmp_path_factory.mktemp("server"), wheel)
    path = environment.directory / "socket"
    words = ("-n", "--pidfile=", "gymsock", "--port", f"unix:{path}", "--warm", "1")
    command = [str(environment.python), "-c", TWISTD, *words]
    with subprocess.Popen(command, cwd=environment.elsewhere, env=VARIABLES) as server:
        yield f"unix:{path}"
        server.terminate()


def commands_work(environment: Environment, address: str) -> None:
    """Run the commands of the client."""
    wait = ("--connect-timeout", str(PATIENCE))
    command = (environment.python, "-m", "gymtwist")
    assert "CartPole-v1" in run(*command, "ls", address, "CartPole-*", *wait, directory=environment.elsewhere)
    assert "3 round trips: " in run(*command, "ping", address, "--count", "3", directory=environment.elsewhere)
    assert "episode 1: return " in run(*command, "play", address, "CartPole-v1", directory=environment.elsewhere)
    words = ("bench", address, "Taxi-v3", "--seconds", "0.01", "--num-envs", "2")
    assert " steps/s of 2 environments" in run(*command, *words, directory=environment.elsewhere)


def test_the_client_alone(client_wheel: Path, address: str, tmp_path: Path) -> None:
    """All of its modules and commands need nothing but Gymnasium, msgspec and NumPy, and it has no server."""
    environment = Environment(tmp_path, client_wheel)
    assert not {"twisted", "ampoule", "gym"} & {path.name for path in environment.packages.iterdir()}
    assert run(environment.python, "-c", LISTED, directory=environment.elsewhere).split() == PARTS
    run(environment.python, "-c", IMPORT_ALL, directory=environment.elsewhere)
    commands_work(environment, address)
    command = (environment.python, "-m", "gymtwist", "check", "CartPole-v1")
    told = run(*command, directory=environment.elsewhere, status=2)
    assert "error: the server is not installed here: install gymtwist, " in told


def test_the_client_with_the_oldest_libraries(client_wheel: Path, address: str, tmp_path: Path) -> None:
    """But NumPy, the oldest of which does not run on each Python."""
    oldest = [
        each.replace(">=", "==") for each in requirements(client_wheel) if ";" not in each and "numpy" not in each
    ]
    options = ("--quiet", "--no-deps", "--only-binary", ":all:", "--dest")
    command = (sys.executable, "-m", "pip", "download", *options, str(tmp_path), *oldest)
    if subprocess.run(command, stdin=subprocess.DEVNULL, timeout=PATIENCE, check=False).returncode:
        pytest.skip(f"not to be had: {', '.join(oldest)}")
    environment = Environment(tmp_path, client_wheel)
    environment.pip("uninstall", "--yes", *(Requirement(each).name for each in oldest))
    environment.install(*tmp_path.glob("*.whl"))
    run(environment.python, "-c", IMPORT_ALL, directory=environment.elsewhere)
    commands_work(environment, address)


@pytest.mark.parametrize("editable", [False, True])
def test_both_can_be_installed(
    wheel: Path, client_wheel: Path, sources: Path, environment: Environment, editable: bool
) -> None:
    """The server's is imported, and each is whole without the other."""
    environment.install(client_wheel)
    alone = environment.origin()
    environment.install(*(("--editable", sources) if editable else (wheel,)))
    assert environment.origin() != alone
    environment.pip("uninstall", "--yes", "gymtwist")
    assert environment.origin() == alone
    environment.install(*(("--editable", sources) if editable else (wheel,)))
    environment.pip("uninstall", "--yes", "gymtwist-client")
    assert environment.origin() != alone
    assert not alone.exists()
    assert "gymsock" in environment.twistd("--help")


def test_the_client_cannot_be_installed_editable(sources: Path, environment: Environment) -> None:
    """It says what to do instead."""
    with pytest.raises(AssertionError, match="install the client without --editable, or gymtwist itself with it"):
        environment.install("--editable", sources / "client")
