"""Who may send requests: strangers' web pages must not control a server that only this machine can reach.

A page can send requests to any address, and its owner can make a domain name of his own resolve to this machine (DNS
rebinding). Browsers reveal both: the page in ``Origin``, and the name in ``Host``.
"""

from __future__ import annotations

import ipaddress
import re
from http import HTTPStatus

import msgspec

from gymtwist.protocol.http_head import Problem, shown

_AUTHORITY = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_ANY = "*"


class SitePolicy(msgspec.Struct, frozen=True):
    """The names of a server, and the pages that may use it.

    Attributes:
        hosts: Names of the server, in lower case; ``*`` allows any. IP addresses, names without a dot and names below
            ``localhost`` are always allowed: no stranger can make them point here.
        origins: Origins of pages, such as ``https://example.org``; ``*`` allows any. Pages of the server itself are
            always allowed.
    """

    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def refusal(self, host: str | None, origin: str | None, *, needs_host: bool = True) -> tuple[int, Problem] | None:
        """Return the status and the problem if a request must be refused; None if it is allowed.

        Args:
            host: The header ``Host``, several values separated by commas; None if it was not sent.
            origin: The header ``Origin``; None if it was not sent, as by programs.
            needs_host: Whether the request must have a ``Host``, as in HTTP/1.1 (RFC 9112, 3.2).
        """
        if (needs_host and host is None) or (host is not None and _AUTHORITY.fullmatch(host) is None):
            return HTTPStatus.BAD_REQUEST, Problem(
                "a request of HTTP/1.1 has one Host header with a name or an address",
                code="bad-opening",
                field="Host",
                value="" if host is None else shown(host),
                remedy="send the name or the address of the server, as in its URL",
            )
        if host is not None and not self._allows_host(host):
            return HTTPStatus.MISDIRECTED_REQUEST, Problem(
                "this server is not known by the name in the Host header",
                code="host-refused",
                field="Host",
                value=shown(host),
                remedy="use its address, or have its operator add --allow-host with the name",
            )
        if origin is not None and not self._allows_origin(origin, host):
            return HTTPStatus.FORBIDDEN, Problem(
                "pages of other sites may not use this server",
                code="origin-refused",
                field="Origin",
                value=shown(origin),
                remedy="have its operator add --allow-origin with the origin of the page",
            )
        return None

    def allows_other(self, origin: str) -> bool:
        """Return whether the operator has allowed an origin."""
        return _ANY in self.origins or origin.lower() in self.origins

    def _allows_origin(self, origin: str, host: str | None) -> bool:
        is_own = host is not None and origin.lower().partition("://")[2] == host.lower()
        return is_own or self.allows_other(origin)

    def _allows_host(self, host: str) -> bool:
        found = _AUTHORITY.fullmatch(host)
        if found is None:
            return False
        name = found[1].lower().rstrip(".")
        return (
            name in self.hosts
            or _ANY in self.hosts
            or "." not in name.strip("[]")
            or name.endswith(".localhost")
            or _is_address(name.strip("[]"))
        )


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
