"""Reads the certificate of a port that speaks TLS anew, while the server runs."""

from __future__ import annotations

from typing import Any

from twisted.internet import endpoints
from twisted.protocols.policies import WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory


def renew_certificate(port: Any, description: str) -> bool:
    """Let a port use what the files of its certificate have now; connections that are open do not notice.

    Args:
        port: The port, as Twisted returns it; its factory may be wrapped.
        description: The description of its endpoint, which names the files.

    Returns:
        Whether the port speaks TLS.

    Raises:
        Exception: The files cannot be read, or do not fit; the port stays as it was.
    """
    outer, inner = None, port.factory
    while isinstance(inner, WrappingFactory) and not isinstance(inner, TLSMemoryBIOFactory):
        outer, inner = inner, inner.wrappedFactory
    if not isinstance(inner, TLSMemoryBIOFactory):
        return False
    recorder: Any = _Recorder()
    endpoints.serverFromString(recorder, description).listen(inner.wrappedFactory)
    # The server must not offer a certificate that OpenSSL refuses.
    recorder.context_factory.getContext()
    renewed = TLSMemoryBIOFactory(recorder.context_factory, False, inner.wrappedFactory)
    if outer is None:
        port.factory = renewed
    else:
        outer.wrappedFactory = renewed
    return True


class _Recorder:
    """In place of a reactor: it opens no port, and keeps the context that an endpoint has made of its files."""

    def listenSSL(self, port: int, factory: Any, contextFactory: Any, **options: Any) -> None:  # noqa: N802, N803
        """Keep the context; called by Twisted's endpoint."""
        self.context_factory = contextFactory
