"""The entry point of ``twistd gymsock``."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from gymtwist.server.command_line import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """Make the service that ``twistd`` runs.

    Args:
        options: The command line.
    """
    from twisted.internet import reactor

    from gymtwist.server import control_groups, handed_over, identities, log_output
    from gymtwist.server.config_file import CannotRead

    # Importing ampoule installs a reactor; by now, twistd has chosen one.
    from gymtwist.server.fork_server_starter import ForkServerStarter
    from gymtwist.server.worker_starter import SpawnStarter

    if handed_over.HANDED_OVER is not None:
        handed_over.HANDED_OVER.detach()
    values = options.server_options()
    try:
        who = None if values.identities is None else identities.load(values.identities)
    except CannotRead as error:
        raise usage.UsageError(f"--identities {values.identities}: {error}") from error
    starter: Any
    pool: Any = None
    if values.place != "local":
        from gymtwist.placement.placing import place

        starter, pool = place(reactor, values)
    else:
        kind = ForkServerStarter if values.start_method == "forkserver" else SpawnStarter
        starter = kind(reactor, values.worker_settings())
        if handed_over.HANDED_OVER is not None:  # already in its final directory, as its final user
            with handed_over.told_to_predecessor():
                starter.have_groups(control_groups.prepare(reactor, values.cgroups))
                starter.begin()
    # The rest is imported while the fork server does its own imports.
    from gymtwist.server.gym_service import GymService
    from gymtwist.server.ports import CannotStart
    from gymtwist.server.relaunch import relaunch_of

    twistd: Any = options.parent
    try:
        hung_up: list[Callable[[], object]] = []
        retired: list[Callable[[], object]] = []
        observer = (
            log_output.observer(reactor, twistd, values.log_size, values.log_keep, hung_up, values.log_format, retired)
            if twistd
            else None
        )
    except OSError as error:
        raise CannotStart(f"gymsock cannot open its log: {error}") from error
    service: Any = GymService(reactor, values, starter, observer, who, options.words, pool=pool)
    hung_up.append(service.operations.reload_at_signal)
    service.upgrade.handed_over += retired
    if pool is None:  # nodes serve only one process
        service.upgrade.relaunch = relaunch_of(twistd, options.words)
    log_output.on_signal(reactor, signal.SIGUSR2, service.upgrade.begin_at_signal)
    made: IService = service
    return made
