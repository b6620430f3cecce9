"""Registers the subcommand `gymsock` with twistd; there must be no `__init__.py` beside or above this file."""

from twisted.application.service import ServiceMaker

gymsock = ServiceMaker(
    name="gymsock",
    module="gymtwist.server.tap",
    description="Serve Gymnasium and Gym environments over a socket.",
    tapname="gymsock",
)
