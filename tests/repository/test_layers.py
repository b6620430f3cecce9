"""The rooms of the house: who imports whom, and what is imported by whom at run time."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

import gymtwist
from tests.support.patience import PATIENCE

ROOT = Path(gymtwist.__file__).parent
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))

LIBRARIES = {"msgspec", "numpy"}
ENVIRONMENTS = {"gymnasium", "gym", "pygame"}
TWISTED = {"twisted", "zope"}

#: What each room may import from outside, besides the standard library.
OUTSIDE = {
    "": set(),
    "spaces": LIBRARIES | {"gymnasium"},
    "protocol": LIBRARIES,
    "envs": LIBRARIES | ENVIRONMENTS | {"cloudpickle", "pettingzoo"},
    "recordings": LIBRARIES | {"gymnasium", "h5py", "imageio_ffmpeg", "minari"},
    "worker": LIBRARIES | TWISTED,
    "server": {"msgspec", "ampoule", "tomli", "OpenSSL"} | TWISTED,
    "web": {"msgspec", "prometheus_client"} | TWISTED,
    "client": LIBRARIES | {"gymnasium", "pettingzoo"},
    "control": set(),
    "placement": {"msgspec", "ray"} | TWISTED,
}
#: The modules that import Ray, each in a process of its own.
WITH_RAY = {Path(f"placement/{name}.py") for name in ("demand_keeper", "node_agent", "ray_driver")}
#: The entries of processes that have a reactor.
ENTRIES = {Path("placement/__main__.py"), Path("server/tap.py")}
#: What every room may import from the house itself.
ERRORS = {"gymtwist.error_texts", "gymtwist.errors"}
#: What each room may import from the others.
INSIDE = {
    "": {"gymtwist"},
    "spaces": ERRORS | {"gymtwist.spaces"},
    "protocol": ERRORS | {"gymtwist.spaces", "gymtwist.protocol"},
    "envs": ERRORS | {"gymtwist.spaces", "gymtwist.envs"},
    "recordings": ERRORS | {"gymtwist.spaces", "gymtwist.protocol", "gymtwist.recordings"},
    "worker": ERRORS
    | {"gymtwist.spaces", "gymtwist.protocol", "gymtwist.envs", "gymtwist.recordings", "gymtwist.worker"},
    "server": ERRORS
    | {
        *("gymtwist.recordings.dataset_catalogue", "gymtwist.recordings.dataset_names"),
        *("gymtwist.protocol", "gymtwist.server", "gymtwist.web.control_site", "gymtwist.web.site"),
        "gymtwist.placement.placing",
        *(
            f"gymtwist.worker.{name}"
            for name in (
                *("access_policy", "amp_commands", "landlock", "process_control", "readiness"),
                *("session_cgroup", "session_status", "session_users", "worker_settings"),
            )
        ),
    },
    "web": ERRORS
    | {
        *("gymtwist.recordings.dataset_catalogue", "gymtwist.worker.session_status"),
        *("gymtwist.spaces", "gymtwist.protocol", "gymtwist.server", "gymtwist.web"),
    },
    "client": ERRORS | {"gymtwist.spaces", "gymtwist.protocol", "gymtwist.client"},
    "control": ERRORS | {"gymtwist.control"},
    "placement": ERRORS
    | {"gymtwist.protocol", "gymtwist.server", "gymtwist.placement"}
    | {f"gymtwist.worker.{name}" for name in ("access_policy", "amp_commands", "readiness")}
    | {f"gymtwist.worker.{name}" for name in ("session_status", "worker_settings")},
}


#: Names that say too little, or are metaphors.
NAMES_TO_AVOID = {
    *("common", "helpers", "manager", "utils", "misc"),
    *("child", "vitals", "remains", "lifeline", "player", "playing", "running", "calling", "making", "allowed"),
    *("channels", "sending", "translation", "elements", "nodes", "variable", "mismatch", "faults", "plain", "untyped"),
    *("parts", "opening", "openings", "surplus", "greeting", "overdue", "fate", "verdict", "watch", "choices"),
    *("catalog", "legacy", "team", "batches", "places", "lent", "naps", "waiting", "polling", "bell", "doubt"),
    *("target", "again", "exam", "stage", "judge", "afar", "everything", "speaking", "nothing", "crowd"),
    *("alike", "bends", "world"),
}


def room(module: Path) -> str:
    """Return the room that a module is in; "" is the house's own."""
    return "" if len(module.parts) == 1 else module.parts[0]


@cache
def imports(module: Path) -> list[ast.Import | ast.ImportFrom]:
    """Return every import of a module, wherever the statement stands."""
    tree = ast.parse((ROOT / module).read_text())
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


@cache
def imported(module: Path) -> list[str]:
    """Return the names of the modules that a module imports."""
    found: list[str] = []
    for node in imports(module):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
            continue
        assert node.level == 0, f"{module} imports relatively; the names of rooms are to be read"
        base = node.module or ""
        submodules = {alias.name for alias in node.names if is_module(f"{base}.{alias.name}")}
        found += [f"{base}.{name}" for name in submodules]
        if len(submodules) < len(node.names):
            found.append(base)
    return found


@cache
def is_module(name: str) -> bool:
    """Tell whether a name is that of a module of ours."""
    path = ROOT.parent.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def within(name: str, packages: set[str]) -> bool:
    """Tell whether a module is one of some packages, or in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def test_a_module_imports_what_its_room_may() -> None:
    """As the table of the architecture says."""
    standard = set(sys.stdlib_module_names)
    # The house itself holds its version, and nothing else.
    refused = {
        str(module): [
            name
            for name in imported(module)
            if name != "gymtwist" and not within(name, OUTSIDE[room(module)] | INSIDE[room(module)] | standard)
        ]
        for module in MODULES
    }
    assert {module: names for module, names in refused.items() if names} == {}


def test_few_modules_import_ray() -> None:
    """Neither the front nor the server of a node does: Ray starts threads, and handles signals."""
    assert {module for module in MODULES if any(within(name, {"ray"}) for name in imported(module))} == WITH_RAY


def test_nothing_but_the_entry_imports_the_global_reactor() -> None:
    """Time and descriptors come in as arguments."""
    importing = {
        module
        for module in MODULES
        for node in imports(module)
        if any(alias.name == "twisted.internet.reactor" for alias in node.names)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "twisted.internet"
            and any(alias.name == "reactor" for alias in node.names)
        )
    }
    assert importing == ENTRIES


def test_every_package_has_a_docstring() -> None:
    """In the first sentence of its docstring; and holds nothing else to look for."""
    first_lines = {
        package: (ast.get_docstring(ast.parse((ROOT / package).read_text())) or "").split("\n")[0].rstrip()
        for package in MODULES
        if package.name == "__init__.py"
    }
    assert [package for package, line in first_lines.items() if not line.endswith((".", ":"))] == []


def test_no_import_is_part_of_a_cycle() -> None:
    """Whether it is for types only, within a function, or at the top."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        name = ".".join(("gymtwist", *module.with_suffix("").parts)).removesuffix(".__init__")
        graph[name] = {each for each in imported(module) if each.startswith("gymtwist.") and each != name}
    # What imports nothing that is left cannot be part of a cycle.
    while free := {name for name, needed in graph.items() if not needed & graph.keys()}:
        for name in free:
            del graph[name]
    assert graph == {}


def test_no_module_name_is_used_twice() -> None:
    """A name says which module it is, in a traceback as in a search; and says more than a word for anything."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py"], cwd=ROOT.parent, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )
    if listed.returncode:
        pytest.skip("this is not a git repository")
    names = [Path(line).stem for line in listed.stdout.splitlines() if (ROOT.parent / line).exists()]
    allowed = {"__init__", "__main__", "conftest", "setup", "conf"}
    assert [name for name, count in Counter(names).items() if count > 1 and name not in allowed] == []
    assert set(names) & NAMES_TO_AVOID == set()


def modules_after(*pieces: str) -> list[set[str]]:
    """Run pieces of code in a fresh interpreter, one after the other; return what is imported after each."""
    told = "\nprint(*sys.modules)\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys\n{told.join(pieces)}{told}"],
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return [set(line.split(" ")) for line in ended.stdout.splitlines()]


def test_the_server_imports_what_it_needs() -> None:
    """The options no reactor, as `twistd` chooses one after it has read the command line.

    A server of one machine nothing of placement, nor of Ray: what places sessions on other machines is imported with
    --place. No library of environments either: they may be slow, broken or hostile.
    """
    options, server = modules_after(
        "import gymtwist.server.tap as tap\ntap.Options().parseOptions([])",
        "options = tap.Options()\noptions.parseOptions(['--port', '0'])\nimport twisted.internet.reactor\n"
        "tap.makeService(options)",
    )
    assert not options & {"twisted.internet.reactor", "ampoule"}
    assert "gymtwist.server.gym_service" in server
    assert not {name for name in server if within(name, {"ray", "gymtwist.placement"})}
    assert not server & {"gymnasium", "gym", "ale_py", "gymtwist.envs", "gymtwist.worker.session_loop"}


def test_the_protocol_imports_no_twisted() -> None:
    """It is for clients, too."""
    (found,) = modules_after("import gymtwist.protocol.classic, gymtwist.protocol.handshake")
    assert not found & {"twisted", "zope.interface", "gymnasium", "gym", "ampoule"}


def test_a_worker_imports_no_reactor() -> None:
    """It costs memory, it must not exist before a fork, and environments may bring their own."""
    found = modules_after(
        "import gymtwist.worker.session_loop",
        "import gymtwist.worker.job, gymtwist.worker.fork_server",
        "from gymtwist.worker import preload, worker_settings\n"
        "preload.preload(worker_settings.WorkerSettings(monitor_root='/'))",
    )
    assert len(found) == 3
    for each in found:
        assert "gymtwist.worker" in each
        assert not each & {"twisted.internet.reactor", "ampoule"}
