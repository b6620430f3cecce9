"""What an operator may do while the server runs: end a session, drain the server, reload the options."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.error import ReactorNotRunning
from twisted.python import usage

from gymtwist.error_texts import printable
from gymtwist.server import identities
from gymtwist.server.command_line import Options
from gymtwist.server.config_file import CannotRead
from gymtwist.server.gym_factory import GymFactory
from gymtwist.server.server_log import counted, log
from gymtwist.server.server_options import ServerOptions
from gymtwist.server.session_events import Ended, SessionEvent

#: The options that can change while the server runs.
RELOADED = frozenset(
    {
        *("identities", "allow", "kwargs", "attributes", "wrappers", "max_envs", "max_snapshots"),
        *("max_sessions", "queue", "max_handshakes", "max_handshakes_per_address"),
        *("resume_timeout", "max_disconnected"),
        *("opening_timeout", "idle_timeout", "step_timeout", "request_timeout", "leave_timeout", "drain", "keepalive"),
    }
)


class CannotReload(ValueError):
    """The options cannot be reloaded, and stay as they were; the message says why."""


class Reloaded(msgspec.Struct, frozen=True):
    """What changed when the options were reloaded.

    Attributes:
        changed: The changed options with their new values, and which identities were added, removed and changed.
        ignored: The options that changed in the file but need a restart.
    """

    changed: list[str]
    ignored: list[str]


class Operations:
    """What an operator may do while the server runs; the log says who asked.

    Args:
        factory: What connections share.
        words: The command line, as in :attr:`~.command_line.Options.words`.
        read_certificates: Reads the certificates of the TLS ports again; returns functions that make the ports use
            them.
        fit_limits: Adjusts the limits of the process to the options.
    """

    def __init__(
        self,
        factory: GymFactory,
        words: Sequence[str] = (),
        read_certificates: Callable[[], Sequence[Callable[[], None]]] = tuple,
        fit_limits: Callable[[], None] = lambda: None,
    ) -> None:
        self._factory = factory
        self._words = words
        self._read_certificates = read_certificates
        self._fit_limits = fit_limits
        self._draining = False

    def end(self, number: int, who: str, reason: str = "") -> bool:
        """End a session as soon as its environment returns; its client reads end-of-file.

        Args:
            number: The number of the session.
            who: Who asks.
            reason: Why, for the log.

        Returns:
            Whether there is such a session.
        """
        session = self._factory.sessions.get(number)
        if session is None:
            return False
        why = f"{who}: {reason}" if reason else who
        log.info("[control] {who} ends session {number}: {reason}", who=who, number=number, reason=printable(reason))
        session.end(f"an operator ended it ({printable(why)})")
        return True

    def drain(self, who: str) -> int:
        """Begin no more sessions, and stop the server when the last one has ended.

        Args:
            who: Who asks.

        Returns:
            The number of sessions that continue.
        """
        factory = self._factory
        running = len(factory.sessions)
        if not self._draining:
            self._draining = True
            go_on = counted(running, "session")
            log.info("[control] {who} drains the server: {sessions} may go on", who=who, sessions=go_on)
            factory.admission.stop()
            factory.events.subscribe(self._stop_after)
            self._stop_if_idle()
        return running

    def _stop_after(self, event: SessionEvent) -> None:
        if isinstance(event, Ended):
            # The connection has yet to be closed.
            self._factory.reactor.callLater(0, self._stop_if_idle)

    def _stop_if_idle(self) -> None:
        if not self._factory.sessions and self._factory.reactor.running:
            log.info("The last session has ended: stopping")
            with contextlib.suppress(ReactorNotRunning):  # it is already stopping
                self._factory.reactor.stop()

    def reload(self, who: str) -> Reloaded:
        """Reload the options file, the identities and the certificates; running sessions are not affected.

        Args:
            who: Who asks.

        Raises:
            CannotReload: Something is invalid; everything stays as it was.
        """
        try:
            done = self._reload()
        except CannotReload as error:
            log.error(
                "[control] {who} cannot reload the options, which stay as they were: {error}", who=who, error=error
            )
            raise
        log.info(
            "[control] {who} reloads the options: {changed}{ignored}",
            who=who,
            changed="; ".join(done.changed) or "nothing has changed",
            ignored="".join(f"; {each} needs an upgrade or a restart" for each in done.ignored),
        )
        return done

    def reload_at_signal(self) -> None:
        """Reload everything on a signal; the result is only logged."""
        with contextlib.suppress(CannotReload):
            self.reload("SIGHUP")

    def _reload(self) -> Reloaded:
        parsed = Options()
        try:
            parsed.parseOptions(list(self._words))
            wanted = parsed.server_options()
            known = identities.Identities() if wanted.identities is None else identities.load(wanted.identities)
        except usage.UsageError as error:
            raise CannotReload(str(error)) from error
        except CannotRead as error:
            raise CannotReload(f"--identities {wanted.identities}: {error}") from error
        factory = self._factory
        if not known and factory.identities and not factory.options.trusted_network:
            raise CannotReload("a server that has --identities cannot do without them until it is restarted")
        if len(msgspec.json.encode(wanted.changeable_settings())) > identities.MOST_OVERRIDES:
            raise CannotReload(
                f"what clients may use takes more than {identities.MOST_OVERRIDES} bytes; use patterns of ids in "
                "--allow, or restart the server"
            )
        different = [
            name for name in ServerOptions.__struct_fields__ if getattr(wanted, name) != getattr(factory.options, name)
        ]
        changed = [name for name in different if name in RELOADED]
        try:
            certificates = self._read_certificates()
        except Exception as error:  # from OpenSSL, or from the file system
            raise CannotReload(f"a certificate cannot be read: {error}") from error
        texts = [f"{_dashed(name)} is {_shown(getattr(wanted, name))}" for name in changed if name != "identities"]
        texts += _identity_changes(factory.identities, known)
        texts += [f"{counted(len(certificates), 'certificate')} read"] if certificates else []
        options = msgspec.structs.replace(factory.options, **{name: getattr(wanted, name) for name in changed})
        for use in certificates:
            use()
        factory.apply(options, known)
        self._fit_limits()
        return Reloaded(texts, [_dashed(name) for name in different if name not in RELOADED])


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return printable(", ".join(value) or "all" if isinstance(value, tuple) else str(value))


def _identity_changes(before: identities.Identities, after: identities.Identities) -> list[str]:
    added, removed = after.names - before.names, before.names - after.names
    altered = {name for name in after.names & before.names if after[name] != before[name]}
    return [
        f"identities {verb}: {', '.join(sorted(names))}"
        for verb, names in (("added", added), ("removed", removed), ("changed", altered))
        if names
    ]
