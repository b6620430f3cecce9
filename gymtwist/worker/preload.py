"""Imports before the first session: environment libraries, the operator's modules, and the setup file."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable

from gymtwist.worker import started_threads
from gymtwist.worker.worker_settings import WorkerSettings


def prepare_environment_variables() -> None:
    """Limit numerical libraries to one thread per session, unless the operator has set the number.

    Sessions share the machine's cores, and OpenBLAS starts its threads before the fork, when NumPy is imported.
    """
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def preload(
    settings: WorkerSettings, *, warm_up: bool = False, progress: Callable[[], None] = lambda: None
) -> frozenset[str]:
    """Import everything that sessions need, and run the operator's setup file.

    Args:
        settings: The operator's options.
        warm_up: Whether to run warm-up sessions, for workers that are forked from this process.
        progress: Called before each import that may take long.

    Returns:
        The ids of the environments that the operator's modules or setup file have registered.

    Raises:
        Exception: An exception of the operator's modules or setup file.
    """
    # Imported modules are never freed: imports are faster without the collector, and frozen objects stay shared after
    # a fork.
    gc.disable()
    _import_amp()
    for name in ("worker.fork_server", "worker.fork_trial", "worker.job", "worker.warmup", "envs.installed"):
        importlib.import_module(f"gymtwist.{name}")
    _import_gym()
    if importlib.util.find_spec("ale_py") is not None:
        _import_ale()
    if warm_up:  # before the operator's modules, which may register another CartPole
        sys.modules["gymtwist.worker.warmup"].serve_some()
    installed = sys.modules["gymtwist.envs.installed"]
    known = installed.registered()
    try:
        for module in settings.preload:
            progress()
            with started_threads.watched(module):
                importlib.import_module(module)
        if settings.setup is not None:
            progress()
            with started_threads.watched("the setup file"):
                _run_setup(settings.setup)
    except SystemExit as error:  # the process would seem to have exited normally
        raise RuntimeError("it called sys.exit(), so no session could be served") from error
    # Sessions work in directories of their own, but must import from the same places as before.
    sys.path[:] = [os.path.abspath(each) for each in sys.path]
    gc.freeze()
    gc.enable()
    return frozenset(installed.registered() - known)


def _import_amp() -> None:
    """Import AMP without TLS: OpenSSL takes 7 MB of memory, and no worker uses it."""
    if "OpenSSL" in sys.modules:
        return
    sys.modules["OpenSSL"] = None  # type: ignore[assignment] # as documented: importing it fails
    try:
        importlib.import_module("gymtwist.worker.amp_commands")
    finally:
        del sys.modules["OpenSSL"]


def _import_ale() -> None:
    """Import ale-py, and silence the banner that it prints for each new game; the environments do so too late."""
    ale_py = importlib.import_module("ale_py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def _import_gym() -> None:
    """Import Gym without its notice about Gymnasium."""
    with contextlib.suppress(ImportError):
        importlib.import_module("gym_notices.notices").notices.clear()
    importlib.import_module("gym")


def _run_setup(path: str) -> None:
    """Run a file as a module, so that the classes it defines can be found and pickled later."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    name = sys.modules["gymtwist.envs.environment_plan"].SETUP_MODULE
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
