"""What is imported before any session: the environment libraries, the operator's modules and setup file."""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import sys

from gymtwist.worker.worker_settings import WorkerSettings


def prepare_environment_variables() -> None:
    """Set, unless the operator did, how many threads numerical libraries use: one for each session.

    Sessions share the machine's cores; and OpenBLAS starts its threads when NumPy is imported, before the fork.
    """
    for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")


def preload(settings: WorkerSettings, *, warm_up: bool = False) -> None:
    """Import all that sessions need, and run the operator's setup file.

    Args:
        settings: The operator's options.
        warm_up: Whether to serve sessions to itself, for children that are forked from this process.

    Raises:
        Exception: Whatever the operator's modules or file raised.
    """
    # What is imported here stays: without the collector it is imported faster, and frozen it stays shared after a fork.
    gc.disable()
    _import_amp()
    for name in ("fork_server", "job", "warmup"):
        importlib.import_module(f"gymtwist.worker.{name}")
    _import_gym()
    if importlib.util.find_spec("ale_py") is not None:
        _import_ale()
    if warm_up:  # before the operator's modules, which may register another CartPole
        sys.modules["gymtwist.worker.warmup"].serve_some()
    try:
        for module in settings.preload:
            importlib.import_module(module)
        if settings.setup is not None:
            _run_setup(settings.setup)
    except SystemExit as error:  # it would look as if all were well
        raise RuntimeError("it called sys.exit(), so no session could be served") from error
    gc.freeze()
    gc.enable()


def _import_amp() -> None:
    """Import AMP without TLS, which is 7 MB of OpenSSL that no child has a use for."""
    if "OpenSSL" in sys.modules:
        return
    sys.modules["OpenSSL"] = None  # type: ignore[assignment] # as documented: importing it fails
    try:
        importlib.import_module("gymtwist.worker.amp_commands")
    finally:
        del sys.modules["OpenSSL"]


def _import_ale() -> None:
    """Import the Atari games without the banner that each new one prints; they set that level too late."""
    ale_py = importlib.import_module("ale_py")
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)


def _import_gym() -> None:
    """Import Gym without the paragraph on its successor that it prints each time."""
    with contextlib.suppress(ImportError):
        importlib.import_module("gym_notices.notices").notices.clear()
    importlib.import_module("gym")


def _run_setup(path: str) -> None:
    """Run a file as a module of its own, so that what it registers can be found and pickled later."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec = importlib.util.spec_from_file_location("gymsock_setup", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["gymsock_setup"] = module
    spec.loader.exec_module(module)
