"""Plays third-party environment packages through a server and in-process, and writes a table of what came of it.

``python -m tools.packages`` installs each package of :mod:`tools.packages.listed` into a virtual environment of its own
and runs :mod:`tools.packages.equivalence_check` there. This needs the network, and time: it is not part of the tests.
"""
