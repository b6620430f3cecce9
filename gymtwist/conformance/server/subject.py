"""The server that is judged, as one check sees it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, TypeVar

from gymtwist.conformance.report import skip
from gymtwist.conformance.server.connection import Connection, of_kind
from gymtwist.conformance.server.session import Session
from gymtwist.protocol.messages import Error, Made
from gymtwist.protocol.names import ProtocolName

_Connection = TypeVar("_Connection", bound=Connection)


@dataclass(frozen=True)
class Options:
    """What the author of a server says about it.

    Attributes:
        address: Host and port.
        environment: An environment with a Discrete action space and episodes that end.
        continuous: An environment whose actions are a bounded Box of floats; empty if there is none.
        also: Environments whose values are looked at as well.
        raising: An environment whose step raises; empty if there is none.
        dying: An environment whose step ends its process; empty if there is none.
        render_mode: One that the first environment has; empty if there is none.
        num_envs: How many environments a vector environment is asked for; 0 if the server has none.
        token: What the server asks for.
        framings: In which of them it is judged.
        patience: Seconds after which a reply that has not come is taken not to come.
    """

    address: tuple[str, int]
    environment: str = "CartPole-v1"
    continuous: str = "Pendulum-v1"
    also: tuple[str, ...] = ()
    raising: str = ""
    dying: str = ""
    render_mode: str = "rgb_array"
    num_envs: int = 3
    token: str | None = None
    framings: tuple[ProtocolName, ...] = (ProtocolName.NETSTRING, ProtocolName.INT32)
    patience: float = 10.0


@dataclass
class Subject:
    """The server, for one check in one framing; leaving its context closes what the check left open.

    Attributes:
        options: What is known of the server.
        protocol: The framing.
    """

    options: Options
    protocol: ProtocolName
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Subject:
        """Return the subject itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close every connection."""
        self._open.close()

    @property
    def is_json(self) -> bool:
        """Whether the framing is that of netstrings."""
        return self.protocol is ProtocolName.NETSTRING

    def connect(self, protocol: ProtocolName | None = None) -> Connection:
        """Connect, and say nothing yet."""
        return self.keep(Connection(self.options.address, protocol or self.protocol, self.options.patience))

    def keep(self, connection: _Connection) -> _Connection:
        """Close a connection when the check has ended; returns the connection."""
        self._open.enter_context(connection)
        return connection

    def fields(self, environment: str = "", **fields: Any) -> dict[str, Any]:
        """Return the fields of a make message."""
        token = {} if self.options.token is None else {"token": self.options.token}
        return {"id": environment or self.options.environment, **token, **fields}

    def session(self, environment: str = "", *, protocol: ProtocolName | None = None, **fields: Any) -> Session:
        """Connect, and make an environment.

        Args:
            environment: Its id; the first of the options if empty.
            protocol: What to speak, if not the framing of the check.
            **fields: Of the make message.
        """
        connection = self.connect(protocol)
        connection.say("make", **self.fields(environment, **fields))
        return Session(connection, connection.expect(Made, "make"), fields.get("values", "nested"))

    def vector(self, **fields: Any) -> Session:
        """Connect, and make a vector environment; skips the check where the server has none of that kind."""
        if not self.options.num_envs:
            skip("there are no vector environments to judge: --num-envs 0")
        made = self.optional("vector environments of this kind", num_envs=self.options.num_envs, **fields)
        return Session(made[0], made[1])

    def optional(self, what: str, **fields: Any) -> tuple[Connection, Made]:
        """Connect, and make an environment that a server need not have; skips the check if it refuses."""
        connection = self.connect()
        connection.say("make", **self.fields(**fields))
        reply = connection.hear()
        if isinstance(reply, Error) and reply.fault in ("request", "environment"):
            skip(f"the server has no {what}: {reply.message}")
        return connection, of_kind(reply, Made, "make")

    def continuous(self, **fields: Any) -> Session:
        """Connect, and make the environment with continuous actions; skips the check if there is none."""
        if not self.options.continuous:
            skip("there is no environment with continuous actions: --continuous ''")
        return self.session(self.options.continuous, **fields)
