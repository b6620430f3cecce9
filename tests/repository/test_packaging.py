"""The distributions gymtwist, gymtwist-client and gymtwist-conformance, installed in virtual environments."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator, Mapping
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
#: Runs the commands whose words are lists in JSON, and prints the status of each.
RUN_COMMANDS = """
import json, sys
from gymtwist.__main__ import main
for words in json.loads(sys.argv[1]):
    print("status", main(words))
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


def hook(name: str, folder: Path, into: Path, status: int = 0) -> str:
    """Call the hook that pip calls to build something, without pip, which takes as long as the hook itself."""
    code = f"import sys; from setuptools import build_meta; build_meta.{name}(sys.argv[1])"
    return run(sys.executable, "-c", code, into, directory=folder, status=status)


def build(folder: Path, into: Path) -> Path:
    """Build a wheel, without the warning that a folder is no package."""
    assert 'build-backend = "setuptools.build_meta"\n' in (folder / "pyproject.toml").read_text()
    output = hook("build_wheel", folder, into)
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

    def __init__(self, directory: Path, wheel: Path | None = None, instead: Mapping[str, Path] | None = None) -> None:
        """Create the environment.

        Args:
            directory: Where to create it.
            wheel: A wheel to install, with the libraries that it requires and no others; None for all libraries.
            instead: Wheels to install instead of libraries of these names.
        """
        instead = instead or {}
        self.directory = directory
        venv.create(directory / "venv", with_pip=False, symlinks=True)
        self.python = directory / "venv" / "bin" / "python"
        libraries = Path(sysconfig.get_path("purelib"))
        if wheel is None:
            # A line of a .pth file adds a directory; .pth files there, such as an editable gymtwist's, are not read.
            (self.packages / "libraries.pth").write_text(f"{libraries}\n")
            return
        for name in required(requirements(wheel)) - instead.keys():
            for file in metadata.files(name) or []:
                if file.parts[0] != "..":
                    # Folders are this environment's own: a wheel may add to them.
                    (self.packages / file).parent.mkdir(parents=True, exist_ok=True)
                    (self.packages / file).symlink_to(libraries / file)
        self.install(wheel, *instead.values())

    @functools.cached_property
    def packages(self) -> Path:
        """The directory of its packages."""
        code = "import sysconfig; print(sysconfig.get_path('purelib'))"
        return Path(run(self.python, "-c", code, directory=self.directory).strip())

    def install(self, *words: str | Path) -> None:
        """Install distributions without their dependencies and without downloads; what is imported is compiled then."""
        options = ("--quiet", "--no-compile", "--no-deps", "--no-build-isolation", "--no-index", "--ignore-installed")
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


def is_of_the_client(path: Path) -> bool:
    """Return whether a gymtwist is the one of the client's distribution."""
    return path.parts[-3:] == ("_gymtwist_client", "gymtwist", "__init__.py")


def test_an_installation_beside_the_client(wheel: Path, client_wheel: Path, environment: Environment) -> None:
    """The server's modules are imported, and are whole without the client: `twistd` lists gymsock."""
    environment.install(client_wheel, wheel)
    assert environment.origin() == environment.packages / "gymtwist" / "__init__.py"
    environment.pip("uninstall", "--yes", "gymtwist-client")
    assert not (environment.packages / "_gymtwist_client").exists()
    assert environment.origin() == environment.packages / "gymtwist" / "__init__.py"
    listed = environment.twistd("--help")
    assert "gymsock" in listed
    assert "Serve Gymnasium and Gym environments over a socket." in " ".join(listed.split())


@pytest.mark.sweep  # builds more wheels than all the others together; `make test` itself runs in such an installation
def test_an_editable_installation_beside_the_client(
    sources: Path, client_wheel: Path, environment: Environment
) -> None:
    """Gymtwist is imported, `twistd` knows gymsock and workers can be started; the client is whole without it."""
    environment.install(client_wheel, "--editable", sources)
    assert environment.origin() == sources / "gymtwist" / "__init__.py"
    assert "gymsock" in environment.twistd("--help")
    assert "--max-sessions" in environment.twistd("gymsock", "--help")
    settings = '{"monitor_root":"/"}'
    run(environment.python, "-m", "gymtwist.worker", "check", settings, "-1", "-1", directory=environment.elsewhere)
    environment.pip("uninstall", "--yes", "gymtwist")
    assert is_of_the_client(environment.origin())


def test_the_client_shares_no_file(client_wheel: Path) -> None:
    """Otherwise pip would remove it with the one distribution, and the other would miss it."""
    tops = {name.partition("/")[0] for name in zipfile.ZipFile(client_wheel).namelist()}
    (information,) = (top for top in tops if top.endswith(".dist-info"))
    assert information.startswith("gymtwist_client-")
    assert tops - {information} == {"_gymtwist_client", "gymtwist_client.pth"}


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


def test_the_conformance_distribution_works_without_gymtwist(environment: Environment, tmp_path: Path) -> None:
    """It lists its checks, and its command does not import gymtwist."""
    copy = tmp_path / "conformance"
    shutil.copytree(
        REPOSITORY / "conformance", copy, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    )
    environment.install(copy)
    code = (
        "import atexit, runpy, sys; atexit.register(lambda: print('gymtwist' in sys.modules));"
        "runpy.run_module('gymtwist_conformance', run_name='__main__')"
    )
    listed = run(environment.python, "-c", code, "server", "--list", directory=environment.elsewhere)
    assert "refusal.invalid-seed: " in listed
    assert listed.endswith("\nFalse\n")


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
    """Import every module of the client, and run its commands, in one interpreter, which all would start with that."""
    commands = [
        ("ls", address, "CartPole-*", "--connect-timeout", str(PATIENCE)),
        ("ping", address, "--count", "3"),
        ("play", address, "CartPole-v1"),
        ("bench", address, "Taxi-v3", "--seconds", "0.01", "--num-envs", "2"),
    ]
    code = f"{IMPORT_ALL}{RUN_COMMANDS}"
    told = run(environment.python, "-c", code, json.dumps(commands), directory=environment.elsewhere)
    listed, asked, played, counted, rest = told.split("status 0\n")
    assert "CartPole-v1" in listed
    assert "3 round trips: " in asked
    assert "episode 1: return " in played
    assert " steps/s of 2 environments" in counted
    assert rest == ""


def test_the_client_alone(client_wheel: Path, address: str, tmp_path: Path) -> None:
    """All of its modules and commands need nothing but Gymnasium, msgspec and NumPy, and it has no server."""
    environment = Environment(tmp_path, client_wheel)
    assert not {"twisted", "ampoule", "gym"} & {path.name for path in environment.packages.iterdir()}
    assert run(environment.python, "-c", LISTED, directory=environment.elsewhere).split() == PARTS
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
    wheels = {Requirement(each).name: next(tmp_path.glob(f"{Requirement(each).name}-*.whl")) for each in oldest}
    environment = Environment(tmp_path, client_wheel, wheels)
    commands_work(environment, address)


def test_the_client_cannot_be_installed_editable(sources: Path, tmp_path: Path) -> None:
    """It says what to do instead."""
    told = hook("build_editable", sources / "client", tmp_path, status=1)
    assert "install the client without --editable, or gymtwist itself with it" in told
