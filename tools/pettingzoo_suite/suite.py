"""Runs PettingZoo's tests on every installed environment: here, and at a server. Prints a line of JSON for each.

``python -m tools.pettingzoo_suite.suite [PATTERN ...]`` runs where the environments are installed.
"""

from __future__ import annotations

import contextlib
import fnmatch
import importlib
import io
import json
import pkgutil
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import pettingzoo
from pettingzoo.test import (
    api_test,
    max_cycles_test,
    parallel_api_test,
    parallel_seed_test,
    render_test,
    seed_test,
)
from pettingzoo.test.state_test import state_test

from gymtwist.client import connect_aec, connect_parallel
from tests.support.server_process import ServerProcess

#: Libraries with a module for each environment.
LIBRARIES = ("mpe2", "magent2.environments", "momaland.envs")
#: Games whose ROMs cannot be installed.
WITHOUT_ROMS = "atari"
#: How long the tests play.
CYCLES = 25
_MODULE = re.compile(r"_v\d+$")


class Place(NamedTuple):
    """An environment here or at a server, with what PettingZoo's modules have.

    Attributes:
        env: Makes it for agents that take turns.
        parallel_env: Makes it for agents that act at once.
    """

    env: Callable[..., Any]
    parallel_env: Callable[..., Any]


def modules(library: str) -> Iterator[str]:
    """Find the modules of a library that have an environment; nothing if it is not installed."""
    with contextlib.suppress(ImportError):
        package = importlib.import_module(library)
        for found in pkgutil.walk_packages(package.__path__, f"{library}."):
            folder, _, name = found.name.rpartition(".")
            if _MODULE.search(name):
                yield f"{folder}:{name}"


def local(environment: str) -> Place:
    """Return an environment of this process."""
    folder, colon, name = environment.partition(":")
    if not colon:
        return Place(partial(pettingzoo.make, "aec", environment), partial(pettingzoo.make, "parallel", environment))
    module = importlib.import_module(f"{folder}.{name}")
    return Place(getattr(module, "env", None) or module.raw_env, getattr(module, "parallel_env", api_test))


def acts_at_once(environment: str) -> bool:
    """Return whether PettingZoo or the module itself has the environment for agents that act at once."""
    if ":" in environment:
        return local(environment).parallel_env is not api_test
    return environment in pettingzoo.parallel_registry


def tests(environment: str) -> Iterator[tuple[str, Callable[[Place], None]]]:
    """Return PettingZoo's tests that are for an environment."""
    api = importlib.import_module("momaland.test").api_test if environment.startswith("momaland") else api_test
    yield "api", lambda place: api(place.env(), CYCLES)
    yield "seed", lambda place: seed_test(place.env, CYCLES)
    if acts_at_once(environment):
        yield "parallel api", lambda place: parallel_api_test(place.parallel_env(), CYCLES)
        yield "parallel seed", lambda place: parallel_seed_test(place.parallel_env, CYCLES)
        yield "max cycles", max_cycles_test
        yield "state", lambda place: state_test(place.env(), place.parallel_env(), 3)
    yield "render", lambda place: render_test(place.env)


def outcome(test: Callable[[Place], None], place: Place) -> str:
    """Return why a test has failed; an empty text if it has passed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            test(place)
    except (Exception, SystemExit) as error:
        return f"{type(error).__name__}: {error}"[:200]
    return ""


def main() -> None:
    """Run the tests."""
    warnings.simplefilter("ignore")
    gymnasium.logger.min_level = gymnasium.logger.ERROR
    found = [each for each in sorted(pettingzoo.aec_registry) if not each.startswith(WITHOUT_ROMS)]
    found += [each for library in LIBRARIES for each in sorted(modules(library))]
    patterns = sys.argv[1:] or ["*"]
    options = ("--allow", "*", *(word for each in LIBRARIES for word in ("--allow", f"{each}*:*")))
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(sys.stderr):
        server = ServerProcess(Path(name), *options, setup=None)
        with server:
            address = ("127.0.0.1", server.port)
            for environment in found:
                if not any(fnmatch.fnmatchcase(environment, each) for each in patterns):
                    continue
                there = Place(
                    partial(connect_aec, address, environment), partial(connect_parallel, address, environment)
                )
                results: dict[str, list[str]] = {}
                try:
                    here = local(environment)
                    for test, run in tests(environment):
                        results[test] = [outcome(run, here), outcome(run, there)]
                except Exception as error:
                    results["import"] = [f"{type(error).__name__}: {error}"[:200]] * 2
                print(json.dumps({"environment": environment, "results": results}), file=sys.__stdout__, flush=True)


if __name__ == "__main__":
    main()
