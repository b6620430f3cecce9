"""The wire: bytes to messages and back, sans-I/O, for a server and a client alike.

Nothing here knows Twisted, a socket or an environment. :mod:`~gymtwist.wire.opening` tells the protocols apart by
their first bytes. The classic protocol is :mod:`~gymtwist.wire.classic`. Of the framed protocol,
:mod:`~gymtwist.wire.framing` cuts the frames, :mod:`~gymtwist.wire.codec` reads and writes the messages in
:mod:`~gymtwist.wire.messages`, and :mod:`~gymtwist.wire.values` the values in them, laid out by a space's description
(:mod:`~gymtwist.wire.spaces`).
"""
