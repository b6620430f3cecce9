"""What the tests share: servers."""

from __future__ import annotations

import gc
import resource
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from gymtwist.protocol import adaptive_waiting
from gymtwist_conformance.reference_client import ENCODINGS, ClassicClient, FramedClient, message
from tests.support import process_coverage
from tests.support.connection_fixtures import Make, harnesses
from tests.support.harness import Harness
from tests.support.patience import LONG_DRAIN
from tests.support.served_session import Serve, Served, named
from tests.support.server_process import ServerProcess, connected, write_certificate

# A shell lets what it starts in the background ignore SIGINT, and the servers under test would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says nothing on a busy machine.
settings.register_profile("gymtwist", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gymtwist")

#: Files that the process of the tests opens for a flood of connections.
_FLOOD_FILES = 2500

Start = Callable[..., ServerProcess]
Connect = Callable[..., FramedClient]


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Measure the coverage of what is imported in one process: it is the same in all.

    The garbage collector would look at the collected tests again and again. The process that has workers collects none.
    """
    workers = session.config.pluginmanager.has_plugin("dsession")
    if not workers:
        gc.disable()
    worker = getattr(session.config, "workerinput", {"workerid": "gw0"})["workerid"]
    if workers or worker != "gw0":
        process_coverage.pause()


def pytest_collection_finish() -> None:
    """Measure the coverage of some modules from now on, and spare the garbage collector the collected tests."""
    process_coverage.pause()
    gc.freeze()
    gc.enable()


def _is_unit(module: ModuleType) -> bool:
    return module.__name__.startswith("tests.unit.")


def _is_measured(module: ModuleType) -> bool:
    return _is_unit(module) or not vars(module).keys().isdisjoint({"MEASURED", "CLIENT_MEASURED"})


@pytest.fixture(scope="module", autouse=True)
def coverage(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure unit tests, and modules that are MEASURED or whose CLIENT_MEASURED is true, which spares the server.

    Processes that unit tests start are spared, too: integration tests have them measured.
    """
    measuring = process_coverage.measuring(children=not _is_unit(request.module))
    with measuring if _is_measured(request.module) else nullcontext():
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Function) -> Generator[None, object, object]:
    """Do not measure tests of properties: each has a hundred examples, and others reach nearly all their lines."""
    if item.get_closest_marker("hypothesis") is None or not _is_measured(item.module):
        return (yield)
    with process_coverage.sparing():
        return (yield)


@pytest.fixture(scope="module")
def module_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for all tests of a module, with the module's OPTIONS and VARIABLES, and measured if it is MEASURED.

    It has a port with TLS as well if the module is WITH_TLS; the certificate is ``certificate.pem`` in its directory.
    A connection that it did not forget would hold up its end beyond patience.
    """
    options: tuple[str, ...] = getattr(request.module, "OPTIONS", ())
    measured = getattr(request.module, "MEASURED", False)
    directory = tmp_path_factory.mktemp("server")
    if getattr(request.module, "WITH_TLS", False):
        key, certificate = write_certificate(directory)
        options = (*options, "--listen", f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}")
    changes = getattr(request.module, "VARIABLES", None)
    with ServerProcess(directory, "--drain", LONG_DRAIN, *options, changes=changes, measured=measured) as running:
        yield running


@pytest.fixture
def many_files() -> Iterator[None]:
    """Let this process open the connections of a flood."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < _FLOOD_FILES:
        pytest.skip(f"this process may open {hard} files only")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, _FLOOD_FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def bystander(module_server: ServerProcess) -> Iterator[ClassicClient]:
    """A client that plays through all tests of a module; after them, a newcomer can still play."""
    with module_server.open("CartPole-v1") as bystander:
        yield bystander
    with module_server.open("CartPole-v1") as newcomer:
        newcomer.play()


@pytest.fixture
def server(module_server: ServerProcess, bystander: ClassicClient) -> Iterator[ServerProcess]:
    """The module's server; whatever the test does to it, other clients must not notice."""
    bystander.play()
    since = module_server.mark()
    yield module_server
    print("\n".join(module_server.lines[since:][-80:]))  # pytest shows it for a test that failed
    bystander.play()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers with options of their own."""
    with ExitStack() as stack:

        def run(*options: str, directory: Path = tmp_path, **arguments: object) -> ServerProcess:
            running = ServerProcess(directory, *options, **arguments)  # type: ignore[arg-type]
            return stack.enter_context(running)

        yield run


@pytest.fixture(scope="module")
def start_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server with options of its own: once for all tests of a module that need the same, anew if it ended."""
    with ExitStack() as stack:
        started: dict[object, ServerProcess] = {}

        def run(*options: str, **arguments: object) -> ServerProcess:
            needed = options, *sorted(arguments.items())
            if needed not in started or started[needed].process.poll() is not None:
                running = ServerProcess(tmp_path_factory.mktemp("server"), *options, **arguments)  # type: ignore[arg-type]
                started[needed] = stack.enter_context(running)
            return started[needed]

        yield run


@pytest.fixture
def directory(server: ServerProcess, tmp_path: Path) -> Path:
    """A place below the root of the module's server for one test alone; it does not exist yet."""
    return server.directory / "monitors" / tmp_path.name


# A server in memory


@pytest.fixture
def make() -> Iterator[Make]:
    """Make harnesses, and ends them."""
    with harnesses() as run:
        yield run


@pytest.fixture
def harness(make: Make) -> Harness:
    """A harness with the default options and one idle worker."""
    return make()


# The framed protocol


@pytest.fixture(params=ENCODINGS)
def encoding(request: pytest.FixtureRequest) -> str:
    """One of the two encodings."""
    return str(request.param)


@pytest.fixture
def connect(server: ServerProcess, encoding: str) -> Iterator[Connect]:
    """Connect, and make an environment if one is named."""
    with ExitStack() as stack:

        def connect(environment: str = "", **fields: Any) -> FramedClient:
            client = stack.enter_context(FramedClient(connected(("127.0.0.1", server.port)), encoding))
            if environment:
                client.make(environment, **fields)
            return client

        yield connect


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Served]]:
    """The sessions that a test has started, each in a thread."""
    # To look it opens a file for a moment, and some tests count what is open.
    monkeypatch.setattr(adaptive_waiting, "is_crowded", lambda: False)
    started: list[Served] = []
    yield started
    for served in started:
        served.end()
        served.status.close()


@pytest.fixture
def serve(encoding: str, started: list[Served]) -> Serve:
    """Serve an environment, given by its id or as what makes it; return a client that has read what make tells."""

    def serve(environment: Any, *, options: dict[str, Any] | None = None, **fields: Any) -> FramedClient:
        handshake = message(encoding, "make", id=named(environment), **fields)
        started.append(Served(encoding, handshake, **(options or {})))
        client = started[-1].client
        client.read_made(fields.get("values", "nested"))
        return client

    return serve
