"""What docs/explanation/security.md says that each level of isolation prevents, an environment tries in vain."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gymtwist.client
from gymtwist.server import isolation_support
from gymtwist.worker.worker_settings import Isolation
from gymtwist_conformance.reference_client import INT32, FramedClient
from tests.conftest import Start
from tests.support.attacks import ATTACKS
from tests.support.patience import PATIENCE
from tests.support.process_inspection import Handle, left_after
from tests.support.server_process import REPOSITORY, ServerProcess, connected, run_twistd, twistd, variables

CLIENT_MEASURED = True

SETUP = Path(__file__).parents[1] / "support" / "attacks.py"
PAGE = REPOSITORY / "docs" / "explanation" / "security.md"
LEVELS = ("limits", "files", "user", "all")
ROW = re.compile(r"\| `([a-z-]+)` \| .* \|((?: (?:yes|no|unless root) \|){4})")
#: What each row says about each level.
TABLE = {
    row.group(1): dict(zip(LEVELS, (cell.strip() for cell in row.group(2).split("|")), strict=False))
    for row in map(ROW.fullmatch, PAGE.read_text().splitlines())
    if row is not None
}
#: The capabilities by which root can do it nevertheless, by their bits; some containers take them from root.
CAPABILITIES = {"fill-process-table": 7, "read-session-memory": 19}
RAISES_LIMITS = 24
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
MEBIBYTE = 2**20
MEMORY, FILE, DISK, FILES, PROCESSES = 1024 * MEBIBYTE, 4 * MEBIBYTE, 16 * MEBIBYTE, 200, 60

#: A process that has a user as a session has, and kills whatever else has that.
KILLER = """
import os, signal, sys, time
from gymtwist.worker.session_users import SessionUsers
user = int(sys.argv[1])
users = SessionUsers(range(user, user + 1))
users.open()
users.borrow()
os.setgroups([])
os.setresgid(user, user, user)
os.setresuid(user, user, user)
print("ready", flush=True)
while True:
    try:
        os.kill(-1, signal.SIGKILL)
    except ProcessLookupError:
        time.sleep(0.001)
"""

Level = Callable[[str], ServerProcess]


def skip_unless_possible(level: str) -> None:
    """Skip a test of a level that this machine does not have."""
    users = range(1_900_000_000, 1_900_065_536) if Isolation(level).has_user else None
    if lacking := isolation_support.lacking(Isolation(level), users, display=False):
        pytest.skip(f"--isolate {level} needs {lacking}")


def is_prevented(attack: str, level: str) -> bool:
    """Return whether the page says that an attack is prevented, if the server runs as whoever runs the tests."""
    effective = int(re.findall(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text())[0], 16)
    is_root = effective >> CAPABILITIES.get(attack, RAISES_LIMITS) & 1
    return {"yes": True, "no": False, "unless root": not is_root}[TABLE[attack][level]]


def recordings_below(directory: Path) -> Path:
    """Make a directory in which every user may record, and none sees what others have."""
    root = directory / "recordings"
    root.mkdir()
    root.chmod(0o1733)
    return root


@pytest.fixture(scope="module")
def level(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Level]:
    """Start a server with a level of isolation, once."""
    with ExitStack() as stack:
        started: dict[str, ServerProcess] = {}

        def server(name: str) -> ServerProcess:
            skip_unless_possible(name)
            if name not in started:
                directory = tmp_path_factory.mktemp(name)
                options = ["--isolate", name, "--control", str(directory / "control")]
                options += ["--memory-limit", str(MEMORY // MEBIBYTE), "--file-size-limit", str(FILE // MEBIBYTE)]
                options += ["--disk-limit", str(DISK // MEBIBYTE), "--open-file-limit", str(FILES), "--warm", "1"]
                options += ["--monitor-root", str(recordings_below(directory))]
                if Isolation(name).has_user:  # otherwise it is about all processes of whoever runs the tests
                    options += ["--process-limit", str(PROCESSES)]
                started[name] = stack.enter_context(ServerProcess(directory, *options, setup=SETUP))
            return started[name]

        yield server


def opened(server: ServerProcess, stack: ExitStack) -> FramedClient:
    """Begin a session with the environment that attacks."""
    mark = server.mark()
    client = stack.enter_context(FramedClient(connected(("127.0.0.1", server.port)), INT32))
    server.note(client, mark)
    client.make("Attack-v0")
    return client


def tried(client: FramedClient, attack: str, **arguments: Any) -> dict[str, Any]:
    """Let the environment try something; return how that went."""
    info: dict[str, Any] = client.reset(options={"attack": attack, **arguments})[1]
    return info


def listening(address: str, stack: ExitStack) -> str:
    """Open a UNIX socket that only this user may connect to; return its address."""
    other = stack.enter_context(socket.socket(socket.AF_UNIX))
    other.bind(address)
    if not address.startswith("\0"):
        os.chmod(address, 0o600)
    other.listen()
    return address


def arguments_of(attack: str, server: ServerProcess, directory: Path, stack: ExitStack) -> dict[str, Any]:
    """Return the targets of an attack, among them another session."""
    limits = {"memory": MEMORY, "file": FILE, "disk": DISK, "descriptors": FILES, "process-table": PROCESSES}
    if attack.startswith("fill-"):
        return {"limit": limits[attack.removeprefix("fill-")]}
    if attack.endswith("-server") or attack == "list-processes":
        return {"process": server.process.pid}
    if attack in ("read-session-memory", "signal-session"):
        return {"process": server.session(opened(server, stack)).process}
    if attack in ("read-session-files", "read-session-shared-memory"):
        target = f"/dev/shm/gymtwist-test-{server.process.pid}" if "memory" in attack else "own"
        path = tried(opened(server, stack), "make-file", path=target)["result"]
        assert path is not None
        stack.callback(Path(path).unlink, missing_ok=True)
        return {"path": path}
    secret = directory / "secret"
    secret.write_text("secret")
    secret.chmod(0o600)
    public = Path(f"/tmp/gymtwist-test-{server.process.pid}")
    if attack == "change-temporary-files":
        public.write_text("original")
        public.chmod(0o666)
        stack.callback(public.unlink)
    found: dict[str, dict[str, Any]] = {
        "open-control-socket": {"path": str(server.directory / "control")},
        "read-server-files": {"path": str(secret)},
        "write-server-files": {"path": str(server.directory / "written")},
        "change-temporary-files": {"path": str(public)},
        "connect-by-tcp": {"port": server.port},
        "send-by-udp": {"port": server.port},
    }
    if attack == "connect-to-path":
        return {"address": listening(str(directory / "socket"), stack)}
    if attack == "connect-to-abstract-name":
        return {"address": listening(f"\0gymtwist-test-{server.process.pid}", stack)}
    return found.get(attack, {})


def test_every_row_is_an_attack() -> None:
    """A row without a test would promise what nobody has seen."""
    assert TABLE.keys() == ATTACKS.keys()
    assert {len(cells) for cells in TABLE.values()} == {len(LEVELS)}


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize("attack", sorted(set(TABLE) - {"outlive-session"}))
def test_an_attack_is_prevented_where_the_page_says_so(level: Level, tmp_path: Path, name: str, attack: str) -> None:
    """And nowhere else: the page must not promise too little either."""
    server = level(name)
    wanted = is_prevented(attack, name)
    if wanted and TABLE[attack][name] == "unless root" and attack == "fill-process-table":
        pytest.skip("the limit is about all processes of whoever runs the tests")
    if attack == "trace-server" and name == "limits" and _YAMA.exists() and int(_YAMA.read_text()):
        pytest.skip("the kernel of this machine prevents it at every level (kernel.yama.ptrace_scope)")
    if attack == "leave-control-group" and "no control groups" in server.wait_for("Isolation of sessions: .*").group():
        pytest.skip("no control group is delegated to the server")
    with ExitStack() as stack:
        arguments = arguments_of(attack, server, tmp_path, stack)
        attacker = opened(server, stack)
        prevented = tried(attacker, attack, **arguments)["prevented"]
        attacker.step(0)  # it goes on
    assert bool(prevented) == wanted, prevented


@pytest.mark.parametrize("name", LEVELS)
def test_nothing_outlives_a_session(level: Level, name: str) -> None:
    """Not even what has left its process group."""
    server = level(name)
    assert TABLE["outlive-session"][name] == "yes"
    with ExitStack() as stack:
        left = Handle(tried(opened(server, stack), "outlive-session")["result"])
    assert not left_after([left], PATIENCE)


@pytest.mark.parametrize("name", LEVELS)
def test_a_session_holds_only_the_descriptors_that_it_needs(level: Level, name: str) -> None:
    """Null, two for its output, the link to the server, the client's socket and the session status."""
    with ExitStack() as stack:
        info = tried(opened(level(name), stack), "list-descriptors")
    kinds = [re.sub(r"\[?\d+\]?$", "", path) for path in info["result"]]
    assert sorted(kinds) == ["/dev/null", "/memfd:gymtwist-status (deleted)", "pipe:", "pipe:", "socket:", "socket:"]


@pytest.mark.parametrize("name", LEVELS)
def test_what_ordinary_environments_need_works(level: Level, name: str) -> None:
    """Shared memory with the client, rendering, snapshots, and an asynchronous vector environment's processes."""
    server = level(name)
    address = f"127.0.0.1:{server.port}"
    with gymtwist.client.connect(address, "CartPole-v1", render_mode="rgb_array") as env:
        env.reset(seed=1)
        for _ in range(50):
            env.step(0)
            env.reset()
        assert env.render().shape == (400, 600, 3)
        here = env.snapshot()
        expected = env.step(0)[0]
        env.restore(here)
        assert np.array_equal(env.step(0)[0], expected)
    with gymtwist.client.connect_vec(address, "CartPole-v1", num_envs=2, vectorization_mode="async") as several:
        several.reset(seed=1)
        assert several.step(np.zeros(2, np.int64))[1].tolist() == [1.0, 1.0]


def records(server: ServerProcess, root: Path) -> bool:
    """Return whether a session records below a root what it is asked to, and nothing else."""
    with gymtwist.client.connect(f"127.0.0.1:{server.port}", "CartPole-v1") as env:
        env.monitor("mine")
        env.reset(seed=1)
        env.step(0)
    return [path.name for path in root.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["files", "all"])
def test_a_session_can_record_where_the_operator_says(level: Level, name: str) -> None:
    """And in no directory that nobody has named; what another session has recorded stays its own with `all`."""
    server = level(name)
    assert records(server, server.directory / "recordings")


@pytest.mark.parametrize("name", ["all", pytest.param("files", marks=pytest.mark.sweep)])
def test_a_session_in_a_fresh_interpreter_can_record(start: Start, tmp_path: Path, name: str) -> None:
    """As one in a forked process."""
    skip_unless_possible(name)
    root = recordings_below(tmp_path)
    options = ("--isolate", name, "--start-method", "spawn", "--warm", "0")
    assert records(start(*options, "--monitor-root", str(root), setup=SETUP), root)


def test_a_dataset_is_refused_if_sessions_have_users_of_their_own(level: Level) -> None:
    """The server's user must not read what others have written as if it were its own."""
    with pytest.raises(gymtwist.client.RemoteError, match=r"--isolate all\), and a dataset is not for several users"):
        gymtwist.client.connect(f"127.0.0.1:{level('all').port}", "CartPole-v1", record="cartpole-v0")


def test_a_level_that_this_machine_lacks_is_refused_at_start(tmp_path: Path) -> None:
    """With what is missing."""
    options = ["-n", "--pidfile=", "gymsock", "--port", "0", "--isolate", "user"]
    ended = run_twistd(*options, "--display", directory=tmp_path)
    assert ended.returncode == 1
    assert re.search(r"gymsock cannot start: --isolate user needs (no --display|root|Linux|the uids)", ended.stdout)


def test_a_server_that_cannot_share_the_users_of_sessions_does_not_start(tmp_path: Path) -> None:
    """It would give those of other servers' sessions away."""
    skip_unless_possible("user")
    read_only = 'mount -t tmpfs -o ro tmpfs /run && exec "$@"'
    server = [*twistd(), "-n", "--pidfile=", "gymsock", "--port", "0", "--isolate", "user"]
    ended = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", read_only, "sh", *server],
        cwd=tmp_path,
        env=variables(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 1
    needed = "gymsock cannot start: --isolate user needs the file /run/gymsock.users, by which servers know the users"
    assert f"{needed} that sessions of others have: Read-only file system" in ended.stdout + ended.stderr


def test_a_trial_has_no_user_of_another_servers_session(tmp_path: Path) -> None:
    """Which could end it, and so keep the server from starting; here it kills whatever else has its user."""
    skip_unless_possible("user")
    with subprocess.Popen([sys.executable, "-c", KILLER, "1900000000"], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout is not None
            other.stdout.readline()
            options = ("--isolate", "user", "--session-users", "1900000000-1900000001", "--warm", "0")
            with ServerProcess(tmp_path, *options) as server:
                gymtwist.client.connect(server.port, "CartPole-v1").close()
        finally:
            other.kill()


def test_a_server_whose_sessions_could_not_import_does_not_start(tmp_path: Path) -> None:
    """A process is isolated for trial before anybody is served; here the repository is out of reach."""
    skip_unless_possible("files")
    setup = tmp_path / "setup.py"
    setup.write_text(f"import sys\nsys.path[:] = [path for path in sys.path if path != {str(REPOSITORY)!r}]\n")
    for method in ("forkserver", "spawn"):
        options = ["-n", "--pidfile=", "gymsock", "--port", "0", "--isolate", "files", "--setup", str(setup)]
        ended = run_twistd(*options, "--start-method", method, directory=tmp_path)
        assert ended.returncode == 1
        assert "gymsock cannot start: its process cannot be isolated (--isolate files): it could not" in ended.stdout


def test_a_session_that_cannot_be_isolated_is_refused(start: Start, tmp_path: Path) -> None:
    """Threads that a module has started would go on with everything that the process gives up."""
    skip_unless_possible("files")
    setup = tmp_path / "setup.py"
    setup.write_text("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    server = start("--isolate", "files", "--start-method", "spawn", "--warm", "0", setup=setup)
    with pytest.raises(gymtwist.client.ServerFailed, match=r"--isolate files.* has started threads"):
        gymtwist.client.connect(f"127.0.0.1:{server.port}", "CartPole-v1")
    server.wait_for("ended: its process cannot be isolated")
