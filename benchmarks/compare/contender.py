"""What the runner has to know of each contender.

Programs and servers import what is here by the package's name (``from compare.driving import main``): they are run with
the directory above this one on PYTHONPATH. A program must not have the name of a library that it imports.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Where this comparison lies; programs of contenders and servers are named from here.
HERE = Path(__file__).resolve().parent
#: The repository: gymtwist itself is installed from it.
REPOSITORY = HERE.parents[1]


@dataclass(frozen=True)
class Contender:
    """One way to have environments.

    Attributes:
        name: What the command line, the JSON and the virtual environment's directory call it: kebab-case.
        title: What the tables and plots call it.
        requirements: What pip installs into its virtual environment. An item that begins with ``.`` is the repository
            with extras, such as ``.[atari]``. Contenders with the same requirements share one virtual environment.
        optional: What is installed as well if it can be; where it cannot, some workloads fail, and this is said.
        program: The program that plays, such as ``contenders/envpool.py``. It is run with ADDRESS, WORKLOAD, SECONDS
            and CLIENTS; see :func:`driving.main`.
        workloads: The names of the workloads it can play.
        server: The words that start its server, None where it needs none. Of these, ``{python}`` becomes the
            interpreter and ``{bin}`` the programs' directory of its virtual environment, ``{here}`` this directory,
            ``{port}`` a free port, ``{address}`` that port with ``127.0.0.1:`` before it, ``{workload}`` the name of
            what will be played, ``{environment}`` the id of its environment, ``{checkout}`` the checkout's directory.
            It is started anew for each workload, in an empty working directory.
        ready: A regular expression; the server can be connected to when a line of its output matches. None: as soon as
            its port takes a connection.
        variables: More environment variables, for the server and the program, as pairs; the same words are replaced
            in the values.
        checkout: The public repository of which a checkout is needed, such as ``owner/name``, or None. Where none is
            given, the contender is left out.
        clients: How many clients at once are tried with CartPole.
        address: What the program gets as ADDRESS, with the same words replaced; ``-`` where there is no server.
        kind: ``limit`` (Gymnasium in this process), ``floor`` (no environment at all), ``local`` (no server),
            ``network`` (a peer with a server), or ``gymtwist``.
        note: A sentence on what it does differently, for the page.
    """

    name: str
    title: str
    requirements: tuple[str, ...]
    program: str
    workloads: tuple[str, ...]
    server: tuple[str, ...] | None = None
    ready: str | None = "^ready"
    optional: tuple[str, ...] = ()
    variables: tuple[tuple[str, str], ...] = ()
    checkout: str | None = None
    clients: tuple[int, ...] = (1,)
    address: str = "{address}"
    kind: str = "network"
    note: str = ""
    #: The oldest and newest Python it installs on, where it does not on every one: (3, 10), (3, 12), for example.
    pythons: tuple[tuple[int, int], tuple[int, int]] | None = None


@dataclass
class Run:
    """One play of a workload by a contender: one round of one series.

    Attributes:
        contender: Whose it is.
        workload: What was played.
        clients: How many clients there were.
        round: Which round it was, from 0.
        steps: Steps of all environments together.
        seconds: How long they took.
        error: Why there is no number, if there is none: steps are 0 then.
    """

    contender: str
    workload: str
    clients: int
    round: int
    steps: int = 0
    seconds: float = 0.0
    error: str = ""

    @property
    def rate(self) -> float:
        """Steps per second."""
        return self.steps / self.seconds if self.seconds else 0.0


@dataclass(frozen=True)
class Series:
    """What is compared with each other: a workload and a number of clients, by every contender that can.

    Attributes:
        workload: The name of the workload.
        clients: How many clients play at once.
        contenders: Who plays, in turn.
    """

    workload: str
    clients: int
    contenders: Sequence[Contender] = field(default_factory=tuple)
