"""What runs in the parent: connections are accepted, admitted, handed over to children, watched and ended here.

:mod:`~gymtwist.server.tap` is the entry for ``twistd``; :mod:`~gymtwist.server.protocol` follows one connection from
accept to end. Nothing here imports an environment library.
"""
