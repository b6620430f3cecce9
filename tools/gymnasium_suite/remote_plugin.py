"""A pytest plugin: Gymnasium makes its registered environments at a server.

``SUITE_PORT`` is the server's port; without it nothing is replaced. ``SUITE_OUTCOMES`` is the file for the outcomes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import gymnasium
import pytest
from gymnasium.envs import registration

from gymtwist.client import RemoteError, connect, connect_vec

_load_env_creator = registration.load_env_creator


class RemoteCreator:
    """Makes an environment at the server, called as the constructor of a local one.

    Args:
        creator: The local constructor.
        port: The server's port.
        environment: The id that has this constructor.
        is_vector: Whether it makes vector environments.
    """

    def __init__(self, creator: Any, port: int, environment: str, is_vector: bool) -> None:
        self._creator = creator
        self._port = port
        self._environment = environment
        self._is_vector = is_vector
        if hasattr(creator, "metadata"):
            self.metadata = creator.metadata

    def __call__(self, *, render_mode: str | None = None, **kwargs: Any) -> Any:
        """Make the environment; one with a window is made here."""
        if render_mode == "human":
            return self._creator(render_mode=render_mode, **kwargs)
        try:
            return self._connect(render_mode, kwargs.copy())
        except RemoteError:
            # What cannot be made here either raises what the tests expect.
            self._creator(render_mode=render_mode, **kwargs).close()
            raise

    def _connect(self, render_mode: str | None, kwargs: dict[str, Any]) -> Any:
        if not self._is_vector:
            # Gymnasium itself adds the time limit.
            return connect(
                self._port,
                self._environment,
                render_mode=render_mode,
                max_episode_steps=-1,
                lenient=True,
                timeout=60,
                kwargs=kwargs,
            )
        num_envs, limit = kwargs.pop("num_envs", 1), kwargs.pop("max_episode_steps", None)
        return connect_vec(
            self._port,
            self._environment,
            num_envs,
            vectorization_mode="vector_entry_point",
            render_mode=render_mode,
            max_episode_steps=limit,
            lenient=True,
            timeout=60,
            kwargs=kwargs,
        )


def _ids() -> dict[str, tuple[str, bool]]:
    """Map the entry points of Gymnasium's environments to the id with the fewest arguments of its own."""
    found: dict[str, tuple[str, bool]] = {}
    for spec in sorted(gymnasium.registry.values(), key=lambda each: len(each.kwargs)):
        for entry_point, is_vector in ((spec.entry_point, False), (spec.vector_entry_point, True)):
            if isinstance(entry_point, str) and entry_point.startswith("gymnasium.envs."):
                found.setdefault(entry_point, (spec.id, is_vector))
    return found


def pytest_configure(config: pytest.Config) -> None:
    """Replace the function by which Gymnasium finds constructors."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Outcomes(Path(os.environ["SUITE_OUTCOMES"])))
    if "SUITE_PORT" not in os.environ:
        return
    port, ids = int(os.environ["SUITE_PORT"]), _ids()

    def load_env_creator(name: str) -> Any:
        creator = _load_env_creator(name)
        return RemoteCreator(creator, port, *ids[name]) if name in ids else creator

    registration.load_env_creator = load_env_creator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that use an environment of which another test closes: a remote environment stays closed."""
    items.sort(key=lambda item: "::test_pickle_env[" not in item.nodeid)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the tests of each process run in a directory of its own: many write their videos into the same one."""
    worker = getattr(session.config, "workerinput", None)
    if worker is not None:
        directory = session.config.rootpath / worker["workerid"]
        directory.mkdir(exist_ok=True)
        os.chdir(directory)


class Outcomes:
    """Collects the outcome of each test, and writes all at the end.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, list[str]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the outcome of a test; a failure before or after it is one of the test."""
        if report.when == "call" or report.outcome != "passed":
            crash: Any = getattr(report.longrepr, "reprcrash", None)
            text = "" if crash is None else str(crash.message)
            self._outcomes[report.nodeid] = [report.outcome, text.partition("\n")[0][:300]]

    def pytest_sessionfinish(self) -> None:
        """Write the outcomes."""
        self._path.write_text(json.dumps(self._outcomes))
