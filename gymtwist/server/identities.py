"""Identities: who may use the server, according to the operator's identities file, and what each may do.

The file is TOML, with one table for each identity; its name is the table's::

    [vision]
    token = "sha256:5b0c...:9f86..."   # made by `python -m gymtwist.server.identities NAME`
    allow = ["ALE/*"]
    max-sessions = 8
    expires = 2027-06-30

    [laptop]
    networks = ["127.0.0.0/8"]         # these clients need no token

A token is ``NAME.SECRET``. Its secret has 256 random bits, so one round of SHA-256 with a salt protects it: slower
functions such as scrypt protect passwords, which can be guessed.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import hmac
import ipaddress
import pwd
import re
import secrets
import sys
from collections.abc import Iterable, Sequence, Set
from typing import Annotated, Any

import msgspec

from gymtwist.errors import TokenRefused
from gymtwist.protocol.messages import MAX_RESUME
from gymtwist.server import option_readers
from gymtwist.server.config_file import CannotRead, check_key, read_tables

_ALGORITHM = "sha256"
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_HASH = re.compile(rf"{_ALGORITHM}:([0-9a-f]{{32}}):([0-9a-f]{{64}})")
_NEEDED = "this server needs a token; ask its operator for one, and send it in the field `token` of `make` and `envs`"
_REVOKED = "the operator of this server has changed who may use it while you were connected; connect again"
_REFUSED = "the token is not valid here; check that it is complete, or ask the operator of the server for a new one"

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, lt=1e9)]
#: Maximum size in bytes of the settings of one identity, and of those that an operator has changed since the start:
#: workers get both in one AMP value.
MOST_OVERRIDES = 30_000


class Identity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Who may connect, and what it may do; None means the value of the server option of the same name, if there is one.

    Attributes:
        name: The name, for logs and metrics; empty for everybody, on a server without identities.
        token: The hash of its token; None if it has none.
        certificates: The common names of client certificates that need no token; see ``--client-ca``.
        users: The names or ids of users that need no token at a UNIX socket.
        networks: The networks whose clients need no token; classic clients cannot send one.
        expires: The last day on which it may begin sessions; None for no end.
        allow: See ``--allow``.
        kwargs: See ``--kwargs``.
        attributes: See ``--attributes``.
        wrappers: See ``--wrappers``.
        max_envs: See ``--max-envs``.
        max_snapshots: See ``--max-snapshots``.
        max_frame: The maximum size of a request, in bytes; the handshake has a separate limit.
        max_sessions: The maximum number of concurrent sessions, including queued ones.
        sessions_per_minute: The maximum number of sessions that it may begin in a minute.
        session_seconds: The maximum duration of a session, in seconds.
        processor_seconds: The maximum processor time of a session's process, in seconds.
        memory_limit: A lower limit than ``--memory-limit``, in MiB.
        record_quota: The maximum size on disk of the datasets that it records, in MiB.
        resume_timeout: See ``--resume-timeout``.
        max_disconnected: The maximum number of its sessions that may wait for their clients.
        see_all: Whether it may list and watch other identities' sessions.
    """

    name: str = ""
    token: str | None = None
    certificates: tuple[str, ...] = ()
    users: tuple[str | int, ...] = ()
    networks: tuple[str, ...] = ()
    expires: datetime.date | None = None
    allow: tuple[str, ...] | None = None
    kwargs: str | None = None
    attributes: str | None = None
    wrappers: str | None = None
    max_envs: Annotated[int, msgspec.Meta(ge=1, le=10_000)] | None = None
    max_snapshots: Annotated[int, msgspec.Meta(ge=0, le=10_000)] | None = None
    max_frame: Annotated[int, msgspec.Meta(ge=2**16, le=2**24)] | None = None
    max_sessions: Count | None = None
    sessions_per_minute: Count | None = None
    session_seconds: Seconds | None = None
    processor_seconds: Seconds | None = None
    memory_limit: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    record_quota: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] | None = None
    resume_timeout: Annotated[float, msgspec.Meta(ge=0, le=MAX_RESUME)] | None = None
    max_disconnected: Annotated[int, msgspec.Meta(ge=0)] | None = None
    see_all: bool = False

    @property
    def overrides(self) -> dict[str, Any]:
        """The worker settings that differ from the server's."""
        names = ("allow", "kwargs", "attributes", "wrappers", "max_envs", "max_frame", "max_snapshots")
        found = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.name:
            found["identity"] = self.name
        if self.record_quota is not None:
            found["identity_record_quota"] = self.record_quota << 20
        return found if self.memory_limit is None else found | {"memory_limit": self.memory_limit << 20}

    @property
    def proofs(self) -> tuple[Any, ...]:
        """What identifies its clients."""
        return self.token, self.certificates, self.users, self.networks

    def sees(self, name: str) -> bool:
        """Return whether it may see what the identity of this name does."""
        return self.see_all or name == self.name

    def has_expired(self, today: datetime.date) -> bool:
        """Return whether it may no longer begin sessions."""
        return self.expires is not None and today > self.expires


#: The identity of every client of a server without identities.
EVERYBODY = Identity(see_all=True)
_KEYS = [field.encode_name for field in msgspec.structs.fields(Identity) if field.name != "name"]


class Peer(msgspec.Struct, frozen=True):
    """What the operating system knows about a client.

    Attributes:
        host: Its IP address; None at a UNIX socket.
        user: Its user id; None unless it is at a UNIX socket.
        certificate: The common name of its certificate, signed by a trusted authority; None if it has none.
    """

    host: str | None = None
    user: int | None = None
    certificate: str | None = None


class Identities:
    """The identities that may connect.

    Args:
        identities: The identities; if there are none, everybody may connect.
    """

    def __init__(self, identities: Iterable[Identity] = ()) -> None:
        self._identities = {identity.name: identity for identity in identities}
        self._networks = [
            (ipaddress.ip_network(network, strict=False), identity)
            for identity in self._identities.values()
            for network in identity.networks
        ]
        self._certificates = {name: each for each in self._identities.values() for name in each.certificates}
        self._users = {_uid(user): identity for identity in self._identities.values() for user in identity.users}

    def __bool__(self) -> bool:
        """Return whether clients need an identity."""
        return bool(self._identities)

    @property
    def are_measured(self) -> bool:
        """Whether any identity has a memory or processor time limit."""
        return any(each.memory_limit or each.processor_seconds for each in self._identities.values())

    @property
    def names(self) -> Set[str]:
        """The names of all identities."""
        return self._identities.keys()

    def __getitem__(self, name: str) -> Identity:
        """Return the identity with a name."""
        return self._identities[name]

    def find(self, token: str | None, peer: Peer) -> Identity:
        """Return the identity of a client: by its token, or else by its certificate, user or network.

        Args:
            token: The token that the client sent; None if it sent none.
            peer: What else is known about the client.

        Raises:
            TokenRefused: The client has no identity, or its identity has expired.
        """
        if not self._identities:
            return EVERYBODY
        identity = self._of_peer(peer) if token is None else self._of_token(token)
        if identity is None:
            error = TokenRefused(_NEEDED if token is None else _REFUSED)
            error.is_wrong = token is not None
            raise error
        return _unexpired(identity)

    def renewed(self, identity: Identity) -> Identity:
        """Return the current definition of an identity that may have been looked up long ago.

        Args:
            identity: The identity of a client, as it was.

        Raises:
            TokenRefused: Its clients are identified differently now, or it has expired or no longer exists.
        """
        if not self._identities:
            return EVERYBODY
        current = self._identities.get(identity.name)
        if current is None or current.proofs != identity.proofs:
            raise TokenRefused(_REVOKED)
        return _unexpired(current)

    def _of_token(self, token: str) -> Identity | None:
        name, _, secret = token.partition(".")
        identity = self._identities.get(name)
        # An unknown name takes as long as a known one.
        stored = identity.token if identity is not None and identity.token else _UNKNOWN
        _, salt, digest = stored.split(":")
        matches = hmac.compare_digest(_digest(salt, secret), digest)
        return identity if matches else None

    def _of_peer(self, peer: Peer) -> Identity | None:
        if peer.certificate in self._certificates:
            return self._certificates[peer.certificate]
        if peer.user is not None:
            return self._users.get(peer.user)
        if peer.host is None:
            return None
        address = ipaddress.ip_address(peer.host.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        found = [(network.prefixlen, identity) for network, identity in self._networks if address in network]
        return max(found, key=lambda pair: pair[0])[1] if found else None


def _unexpired(identity: Identity) -> Identity:
    """Return an identity, if it has not expired.

    Raises:
        TokenRefused: It has expired.
    """
    if identity.has_expired(datetime.datetime.now().date()):
        raise TokenRefused(
            f'"{identity.name}" expired after {identity.expires}; ask the operator of the server to extend it'
        )
    return identity


def _uid(user: str | int) -> int:
    return user if isinstance(user, int) else pwd.getpwnam(user).pw_uid


def _digest(salt: str, secret: str) -> str:
    return hashlib.sha256(bytes.fromhex(salt) + secret.encode("utf-8", "surrogatepass")).hexdigest()


#: The hash of a token that nobody has.
_UNKNOWN = f"{_ALGORITHM}:{'00' * 16}:{'00' * 32}"


# The file


def load(path: str) -> Identities:
    """Read an identities file.

    Args:
        path: The TOML file.

    Raises:
        CannotRead: The file cannot be read, or something in it is invalid.
    """
    tables = read_tables(path)
    if not tables:
        raise CannotRead("it names nobody, so nobody could connect; add a table such as [alice]")
    identities = [_read(name, table) for name, table in tables.items()]
    _check_unique(identities)
    return Identities(identities)


def _read(name: str, table: Any) -> Identity:
    if not isinstance(table, dict):
        raise CannotRead(f"`{name}` is not a table; begin each identity with its name in brackets, such as [{name}]")
    if not _NAME.fullmatch(name):
        raise CannotRead(f"[{name}]: a name has 1 to 64 letters, digits, - and _")
    try:
        for key in table:
            check_key(key, _KEYS)
        identity = msgspec.convert(table | {"name": name}, Identity)
        _check(identity)
    except ValueError as error:  # including msgspec's errors
        raise CannotRead(f"[{name}]: {error}") from error
    return identity


def _check(identity: Identity) -> None:
    """Check what the types alone do not.

    Raises:
        ValueError: A value is invalid.
    """
    rules = {
        "kwargs": option_readers.kwarg_names,
        "attributes": option_readers.attribute_names,
        "wrappers": option_readers.wrapper_names,
    }
    for name, read in rules.items():
        text = getattr(identity, name)
        if text is not None:
            try:
                read(text)
            except ValueError as error:
                raise ValueError(f"`{name}` {error}") from error
    if identity.token is not None and not _HASH.fullmatch(identity.token):
        raise ValueError("`token` is not a hash, as python -m gymtwist.server.identities makes it with each token")
    if identity.allow is not None and not identity.allow:
        raise ValueError('`allow` is empty; give it the ids that clients may use, or ["*"] for all')
    if len(msgspec.json.encode(identity.overrides)) > MOST_OVERRIDES:
        raise ValueError(f"what it may use takes more than {MOST_OVERRIDES} bytes; use patterns of ids in `allow`")
    if not (identity.token or identity.certificates or identity.users or identity.networks):
        raise ValueError("nobody can use it; give it `token`, `certificates`, `users` or `networks`")
    for network in identity.networks:
        try:
            ipaddress.ip_network(network, strict=False)
        except ValueError as error:
            raise ValueError(f"`networks`: {error}") from error
    for user in identity.users:
        try:
            _uid(user)
        except KeyError:
            raise ValueError(f'`users`: this machine has no user "{user}"') from None


def _check_unique(identities: Sequence[Identity]) -> None:
    """Check that no client could have two identities.

    Raises:
        CannotRead: It could.
    """
    for key, convert in (
        ("certificates", str),
        ("users", _uid),
        ("networks", lambda text: ipaddress.ip_network(text, strict=False)),
    ):
        owners: dict[Any, str] = {}
        for identity in identities:
            for each in getattr(identity, key):
                owner = owners.setdefault(convert(each), identity.name)
                if owner != identity.name:
                    raise CannotRead(f'[{identity.name}]: [{owner}] has "{each}" among its `{key}` already')


# The command that makes tokens


def new_token(name: str) -> tuple[str, str]:
    """Return a new token, and its hash for the identities file.

    Args:
        name: The name of the identity.
    """
    secret, salt = secrets.token_urlsafe(32), secrets.token_hex(16)
    return f"{name}.{secret}", f"{_ALGORITHM}:{salt}:{_digest(salt, secret)}"


def main() -> None:
    """Make a token: print its table for the identities file, and show the token once."""
    parser = argparse.ArgumentParser(
        prog="python -m gymtwist.server.identities",
        description="Make a token. The table for the file of --identities goes to the standard output; the token is "
        "shown once, on the standard error.",
    )
    parser.add_argument("name", help="the name of the identity: letters, digits, - and _")
    name = parser.parse_args().name
    if not _NAME.fullmatch(name):
        parser.error(f"{name}: a name has 1 to 64 letters, digits, - and _")
    token, stored = new_token(name)
    print(f'[{name}]\ntoken = "{stored}"')
    print(f"The token of {name}, which is not stored anywhere: {token}", file=sys.stderr)


if __name__ == "__main__":
    main()
