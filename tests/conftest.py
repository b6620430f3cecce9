"""What the tests share: servers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .connecting import Make, worlds
from .memory import World
from .server import ServerProcess

Start = Callable[..., ServerProcess]


@pytest.fixture(scope="module")
def module_server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for all tests of a module, with the module's OPTIONS.

    A connection that it did not forget would hold up its end beyond patience.
    """
    options: tuple[str, ...] = getattr(request.module, "OPTIONS", ())
    with ServerProcess(tmp_path_factory.mktemp("server"), "--drain", "60", *options) as running:
        yield running


@pytest.fixture
def server(module_server: ServerProcess) -> Iterator[ServerProcess]:
    """The module's server; whatever the test does to it, other clients must not notice."""
    with module_server.open("CartPole-v1") as bystander:
        bystander.play()
        since = module_server.mark()
        yield module_server
        print("\n".join(module_server.lines[since:][-80:]))  # pytest shows it for a test that failed
        bystander.play()
    with module_server.open("CartPole-v1") as newcomer:
        newcomer.play()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers with options of their own."""
    with ExitStack() as stack:

        def run(*options: str, directory: Path = tmp_path, **arguments: object) -> ServerProcess:
            running = ServerProcess(directory, *options, **arguments)  # type: ignore[arg-type]
            return stack.enter_context(running)

        yield run


@pytest.fixture
def directory(server: ServerProcess, tmp_path: Path) -> Path:
    """A place below the root of the module's server for one test alone; it does not exist yet."""
    return server.directory / "monitors" / tmp_path.name


# A server in memory


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes worlds, and ends them."""
    with worlds() as run:
        yield run


@pytest.fixture
def world(make: Make) -> World:
    """A world with the default options and one idle child."""
    return make()
