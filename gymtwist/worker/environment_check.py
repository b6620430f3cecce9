"""Checks an environment: plays it through a session's handlers, and reports what would be served."""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any

import msgspec

from gymtwist.envs import environment_plan, registry
from gymtwist.error_texts import MOST_SHOWN
from gymtwist.errors import GymtwistError
from gymtwist.protocol import all_messages, dynamic_values, make_messages, messages
from gymtwist.protocol.codec import MessageCodec
from gymtwist.protocol.framing import FrameReader, ProtocolName
from gymtwist.spaces.classic_codecs import classic_description, encoder
from gymtwist.spaces.gymnasium_spaces import build
from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.reply_writer import ReplyWriter
from gymtwist.worker.request_handler import RequestHandler
from gymtwist.worker.session_status import SessionStatus, create
from gymtwist.worker.worker_settings import WorkerSettings

#: The command's exit statuses: everything is served, only some of it, or nothing.
SERVED, PARTLY_SERVED, NOT_SERVED = 0, 1, 2


class Report(msgspec.Struct):
    """The outcome of a check.

    Attributes:
        environment: The environment's id.
        facts: Findings, as pairs of a name and a text.
        problems: What would not be served, or would differ with the same seed.
        error: Why the environment cannot be made or played; empty if it can.
    """

    environment: str
    facts: list[tuple[str, str]] = []
    problems: list[str] = []
    error: str = ""

    @property
    def status(self) -> int:
        """The exit status of the command."""
        return NOT_SERVED if self.error else PARTLY_SERVED if self.problems else SERVED

    def lines(self) -> list[str]:
        """Return the report as lines of text."""
        verdict = ("served", "served, but not all of it", "not served")[self.status]
        found = [f"  {name}: {text}" for name, text in self.facts]
        return [f"{self.environment}: {verdict}", *found, *(f"  problem: {each}" for each in self._all_problems())]

    def _all_problems(self) -> list[str]:
        return [*self.problems, self.error] if self.error else self.problems


class _Session:
    """The handlers of a session, without a client.

    Args:
        protocol: The framed protocol whose encoding is checked.
        settings: The options of a worker.
        request: The make message.

    Attributes:
        omitted: The places of infos and metadata that cannot be sent.
    """

    def __init__(self, protocol: ProtocolName, settings: WorkerSettings, request: make_messages.Make) -> None:
        descriptor = create()
        self._status = SessionStatus(descriptor)
        os.close(descriptor)
        self._codec = MessageCodec(protocol)
        self._writer = ReplyWriter(self._codec)
        self._handler = RequestHandler(self._codec, settings, self._status)
        self.omitted: dict[str, None] = {}
        self.made: Any = self._sent(self._handler.make(request))

    def ask(self, request: all_messages.Request) -> Any:
        """Handle a request; return the reply as a client decodes it."""
        return self._sent(self._handler.handlers[type(request)](request))

    def _sent(self, reply: all_messages.Reply) -> all_messages.Reply:
        frame = b"".join(self._writer.encode(reply))
        payload = FrameReader(self._codec.framing, frame).next_frame()
        assert payload is not None
        received = self._codec.decode_reply(bytes(payload))
        self.omitted.update(dict.fromkeys(getattr(received, "omitted", ())))
        return received

    def play(self, seed: int, steps: int) -> list[Any]:
        """Play an episode with sampled actions; return the reply to the reset, and those to the steps without infos."""
        action = self.ask(messages.Sample(seed)).action
        played = [msgspec.structs.replace(self.ask(messages.Reset(seed)), omitted=(), warnings=())]
        for _ in range(steps):
            step = self.ask(messages.Step(action))
            played.append(msgspec.structs.replace(step, info={}, omitted=(), warnings=()))
            if step.terminated or step.truncated:
                break
            action = self.ask(messages.Sample()).action
        return played

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._handler.close()
        self._status.close()


def check(
    environment: str, settings: WorkerSettings, *, kwargs: dict[str, Any] | None = None, seed: int = 1, steps: int = 200
) -> Report:
    """Make an environment and play it as sessions would.

    Args:
        environment: The environment's id.
        settings: The options of a worker, whose imports are complete.
        kwargs: Keyword arguments of the environment.
        seed: The seed of the episodes.
        steps: The maximum number of steps of an episode.
    """
    report = Report(environment)
    request = make_messages.Make(environment, kwargs or {}, vector_rewards=True)
    try:
        with _Session(ProtocolName.INT32, settings, request) as session:
            _describe(report, session.made)
            played = session.play(seed, steps)
            _summarize(report, played)
            again, verified = session.play(seed, steps), session.ask(messages.Reset(seed, verify_seed=True)).seeded
            omitted = session.omitted
        with _Session(ProtocolName.INT32, settings, request) as session:
            elsewhere = session.play(seed, steps)
        with _Session(ProtocolName.NETSTRING, settings, request) as session:
            session.play(seed, steps)
            omitted.update(session.omitted)
    except GymtwistError as error:
        report.error = str(error)
        return report
    if omitted:
        report.problems.append(f"no message can carry these parts of infos or metadata: {', '.join(omitted)}")
    _judge_seed(report, played, {"the same environment": again, "another one": elsewhere}, taken=verified)
    if not kwargs:  # which the classic protocol does not have
        _check_classic(report, settings)
    return report


def _describe(report: Report, made: make_messages.Made) -> None:
    spec = registry.find(report.environment).spec
    report.facts.append(("made by", str(spec.entry_point)[:MOST_SHOWN]))
    for name, space in (("actions", made.action_space), ("observations", made.observation_space)):
        report.facts.append((name, _text(space)))
    rewards = "numbers" if made.reward_space is None else f"arrays of {_text(made.reward_space)}"
    report.facts.append(("rewards", rewards))
    report.facts.append(("render modes", ", ".join(map(str, made.metadata.get("render_modes") or [])) or "none"))


def _text(description: Any) -> str:
    text = " ".join(str(build(description)).split())
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _summarize(report: Report, played: list[Any]) -> None:
    last = played[-1]
    ended = "terminated" if getattr(last, "terminated", False) else "truncated" if last.truncated else "not ended"
    report.facts.append(("episode", f"{len(played) - 1} steps, {ended}"))


def _judge_seed(report: Report, played: list[Any], others: dict[str, list[Any]], *, taken: bool | None) -> None:
    def encoded(replies: list[Any]) -> list[bytes]:
        return [msgspec.msgpack.encode(each, enc_hook=dynamic_values.to_bytes) for each in replies]

    expected, differ = encoded(played), []
    for where, replies in others.items():
        found = encoded(replies)
        index = next(
            (index for index, pair in enumerate(zip(found, expected, strict=False)) if pair[0] != pair[1]), None
        )
        if index is not None:
            place = f"step {index}" if index else "the reset"
            differ.append(f"an episode with the same seed in {where} differs, from {place} on")
    report.problems += differ
    if not differ:
        report.facts.append(("seed", "the same episodes" if taken else "none is taken, but the episodes are the same"))
    elif taken is False:
        report.problems.append("the environment takes no seed, or ignores it")


def _check_classic(report: Report, settings: WorkerSettings) -> None:
    """Check that the classic protocol can carry the spaces, an observation and a reward."""
    descriptor = create()
    status = SessionStatus(descriptor)
    os.close(descriptor)
    runner: EnvironmentRunner | None = None
    try:
        runner = EnvironmentRunner(environment_plan.plan(registry.find(report.environment)), settings, status)
        for space in (runner.action_space, runner.observation_space):
            dynamic_values.encode_value(classic_description(space))
        write = encoder(runner.observation_space)
        dynamic_values.encode_value(write(runner.reset()[0]))
        dynamic_values.encode_value(write(runner.step(runner.sample_action())[0]))
        report.facts.append(("classic protocol", "served"))
    except Exception as error:
        report.problems.append(f"the classic protocol cannot serve it: {error}")
    finally:
        if runner is not None:
            runner.close()
        status.close()
