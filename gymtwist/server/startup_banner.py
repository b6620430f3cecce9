"""The first lines of the log: version, addresses, environments, and how to connect, watch and stop."""

from __future__ import annotations

import ipaddress
import os
import platform
from collections.abc import Sequence
from typing import Any

import twisted
from twisted.internet.address import UNIXAddress

from gymtwist import __version__
from gymtwist.error_texts import printable
from gymtwist.server.server_log import log
from gymtwist.worker.readiness import Readiness


def versions() -> str:
    """Return the versions of gymtwist, Twisted and Python on one line."""
    return f"gymtwist {__version__}, Twisted {twisted.__version__}, Python {platform.python_version()}"


def log_startup(
    endpoints: Sequence[tuple[str, Any]],
    readiness: Readiness,
    limits: str,
    *,
    isolation: str = "limits",
    groups: str = "",
    has_identities: bool = False,
    web: Sequence[tuple[str, Any]] = (),
) -> None:
    """Log what the server is, where it listens, what it serves, its limits, and how to use and stop it.

    Args:
        endpoints: The description of each endpoint, with the address of its port.
        readiness: The available environments.
        limits: The limits of sessions.
        isolation: The isolation level of sessions; see ``--isolate``.
        groups: Whether sessions have control groups, as a clause.
        has_identities: Whether clients need an identity.
        web: The endpoints that serve the web page.
    """
    log.info("{versions}", versions=versions())
    for description, address in endpoints:
        where = printable(_client_address(description, address))
        log.info(
            "Listening on {where}, for {whom}", where=where, whom=_audience(address, has_identities=has_identities)
        )
    log.info("Environments: {environments}", environments=printable(_environments(readiness)))
    log.info("Limits: {limits}", limits=limits)
    also = f"; {printable(groups)}" if groups else ""
    log.info("Isolation of sessions: {isolation} (--isolate){also}", isolation=isolation, also=also)
    if endpoints and readiness.libraries:
        log.info(
            "To connect from Python{token}: "
            'import gymtwist.client; env = gymtwist.client.connect("{address}", "{example}"); '
            "env.reset(seed=1); env.step(env.action_space.sample())",
            address=printable(_client_address(*endpoints[0], from_here=True)),
            example=printable(readiness.libraries[0].example),
            token=", with your token in the variable GYMTWIST_TOKEN" if has_identities else "",
        )
    for description, address in web:
        if not isinstance(address, UNIXAddress):
            scheme = "https" if description.startswith("ssl:") else "http"
            log.info("Web page: {scheme}://{where}/", scheme=scheme, where=_host_and_port(address, from_here=True))
            break
    ctrl_c = "press Ctrl-C, or " if os.isatty(0) else ""
    log.info("To stop: {ctrl_c}kill {process}", ctrl_c=ctrl_c, process=os.getpid())


def _client_address(description: str, address: Any, *, from_here: bool = False) -> str:
    """Return an address in the form that the Python client takes.

    Args:
        description: The description of the endpoint.
        address: The address of its port.
        from_here: Whether the client is on this machine; it then connects to localhost, not to the wildcard address.
    """
    if isinstance(address, UNIXAddress):
        return f"unix:{os.fsdecode(address.name or b'')}"
    return f"{'tls:' * description.startswith('ssl:')}{_host_and_port(address, from_here=from_here)}"


def _host_and_port(address: Any, *, from_here: bool) -> str:
    """Return the host and port of an IP address in the form that clients use."""
    host = ipaddress.ip_address(address.host)
    local = from_here and (host.is_unspecified or host.is_loopback)
    name = "localhost" if local else f"[{host}]" if host.version == 6 else str(host)
    return f"{name}:{address.port}"


def _audience(address: Any, *, has_identities: bool) -> str:
    """Return who can connect to an address."""
    condition = "; each needs an identity" if has_identities else ""
    if isinstance(address, UNIXAddress):
        return f"users of this machine who may write to that file{condition}"
    host = ipaddress.ip_address(address.host)
    if host.is_loopback:
        return f"this machine only{condition}"
    network = "every network" if host.is_unspecified else f"the network of {host}"
    return f"{network}{condition or '; there is no password'}"


def _environments(readiness: Readiness) -> str:
    """Return the number of environments from each library, with an example."""
    parts = [f"{each.count} of {each.library} (such as {each.example})" for each in readiness.libraries]
    more = f"; not installed: {', '.join(readiness.missing)}" if readiness.missing else ""
    return (", ".join(parts) or "none that clients may ask for") + more
