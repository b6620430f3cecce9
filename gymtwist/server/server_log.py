"""The server's log: its lines about sessions, and the escaping of text from clients and environments."""

from __future__ import annotations

from twisted.logger import Logger

from gymtwist.server.session_events import Crashed, Ended, Queued, Refused, Resumed, SessionEvent, Started

log = Logger(namespace="gymsock")

# What a terminal would obey: the control characters, except the tab.
_CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) != "\t"}
# What would show one line as two, or reordered: Unicode's separators and its direction controls.
_CONTROLS |= {
    code: f"\\u{code:04x}" for code in (0x061C, 0x200E, 0x200F, *range(0x2028, 0x202F), *range(0x2066, 0x206A))
}


def printable(text: str) -> str:
    """Escape the control characters of a text that a client or an environment chose."""
    return text.translate(_CONTROLS)


def log_event(event: SessionEvent) -> None:
    """Log an event of a session in one line; subscribe this to :class:`~.session_events.SessionEvents`."""
    match event:
        case Queued(client, environment):
            log.info(
                "[session -] queued {client} for {environment}", client=client, environment=_environment(environment)
            )
        case Refused(client, error):
            log.info("[session -] refused {client}: {reason}", client=client, reason=printable(str(error)))
        case Started(session, process):
            log.info(
                "[session {session.number}] started: {environment} for {session.client} "
                "({session.protocol.value}, {process})",
                session=session,
                environment=_environment(session.environment),
                process=_process(process),
            )
        case Crashed(session, how, operation, timeout_reason):
            log.error(
                "[session {session.number}] crashed: its process {how} in {operation}{because}",
                session=session,
                how=how,
                operation=operation.name.lower(),
                because=f" ({timeout_reason})" if timeout_reason else "",
            )
        case Resumed(session, process):
            log.info("[session {session.number}] resumed ({process})", session=session, process=_process(process))
        case Ended(session, reason, steps, episodes, seconds):
            log.info(
                "[session {session.number}] ended: {reason}; {environment} for {session.client}, {steps} steps, "
                "{episodes} episodes, {rate:.0f} steps/s, {seconds:.1f} s",
                session=session,
                reason=printable(reason),
                environment=_environment(session.environment),
                steps=steps,
                episodes=episodes,
                rate=steps / seconds if seconds else 0.0,
                seconds=seconds,
            )


def _environment(environment: str) -> str:
    return printable(environment) or "no environment"


def _process(process: int | None) -> str:
    return "process not known" if process is None else f"process {process}"
