"""The TLS of a port: its certificate, which can be renewed at run time, and the client certificates that it accepts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from OpenSSL import SSL
from twisted.internet import endpoints
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory


def read_certificates(port: Any, description: str, client_ca: str | None) -> Callable[[], None] | None:
    """Read the current contents of a port's certificate files.

    Args:
        port: The port, as returned by Twisted; its factory may be wrapped.
        description: The description of its endpoint, which names the files.
        client_ca: The file of the authorities whose client certificates are accepted; None to ask for none.

    Returns:
        A function that makes the port use them for new connections; None if the port does not speak TLS.

    Raises:
        Exception: The files cannot be read, or do not match.
    """
    outer, inner = None, port.factory
    while isinstance(inner, WrappingFactory) and not isinstance(inner, TLSMemoryBIOFactory):
        outer, inner = inner, inner.wrappedFactory
    if not isinstance(inner, TLSMemoryBIOFactory):
        return None
    recorder: Any = _Recorder()
    endpoints.serverFromString(recorder, description).listen(inner.wrappedFactory)
    # Every connection gets this one context; OpenSSL raises here if it refuses the certificate.
    context = recorder.context_factory.getContext()
    if client_ca is not None:
        context.load_verify_locations(client_ca)
        # A client need not send a certificate: it may have a token.
        context.set_verify(SSL.VERIFY_PEER, lambda connection, certificate, error, depth, ok: bool(ok))
        context.set_session_id(b"gymsock")
    renewed = TLSMemoryBIOFactory(recorder.context_factory, False, inner.wrappedFactory)
    holder, name = (port, "factory") if outer is None else (outer, "wrappedFactory")
    return partial(setattr, holder, name, renewed)


class _Recorder:
    """Stands in for a reactor: opens no port, and keeps the context that an endpoint has made from its files."""

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **options: Any) -> None:
        """Keep the context; called by Twisted's endpoint."""
        self.context_factory = contextFactory
