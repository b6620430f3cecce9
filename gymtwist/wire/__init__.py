"""The wire: bytes to messages and back, sans-I/O.

Nothing here knows Twisted, a socket or an environment. :mod:`~gymtwist.wire.opening` tells the protocols apart by
their first bytes; each protocol has a module of its own. The classic protocol is :mod:`~gymtwist.wire.classic`.
"""
