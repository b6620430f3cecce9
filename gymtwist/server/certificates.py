"""The TLS of a port: its certificate, which can change while the server runs, and those that clients may send."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import endpoints
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory


def read_certificates(port: Any, description: str, client_ca: str | None) -> Callable[[], None] | None:
    """Read what the files of a port's certificates have now.

    Args:
        port: The port, as Twisted returns it; its factory may be wrapped.
        description: The description of its endpoint, which names the files.
        client_ca: The file of the authorities whose client certificates are accepted; None to ask for none.

    Returns:
        What lets the port use it; connections that are open do not notice. None if the port does not speak TLS.

    Raises:
        Exception: The files cannot be read, or do not fit.
    """
    outer, inner = None, port.factory
    while isinstance(inner, WrappingFactory) and not isinstance(inner, TLSMemoryBIOFactory):
        outer, inner = inner, inner.wrappedFactory
    if not isinstance(inner, TLSMemoryBIOFactory):
        return None
    recorder: Any = _Recorder()
    endpoints.serverFromString(recorder, description).listen(inner.wrappedFactory)
    # The same one for all connections, and an error if OpenSSL refuses the certificate.
    context = recorder.context_factory.getContext()
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        # A client need not send one: it may have a token.
        context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, error, depth, ok: bool(ok))
        context.set_session_id(b"gymsock")
    renewed = TLSMemoryBIOFactory(recorder.context_factory, False, inner.wrappedFactory)
    holder, name = (port, "factory") if outer is None else (outer, "wrappedFactory")
    return partial(setattr, holder, name, renewed)


class _Recorder:
    """In place of a reactor: it opens no port, and keeps the context that an endpoint has made of its files."""

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **options: Any) -> None:
        """Keep the context; called by Twisted's endpoint."""
        self.context_factory = contextFactory
