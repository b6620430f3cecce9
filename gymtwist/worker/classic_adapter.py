"""The classic protocol for the session loop: a handler for each command."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from gymtwist.envs import environment_plan, registry
from gymtwist.envs.environment_results import message_of
from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    InvalidAction,
    NoEnvironment,
    ProtocolError,
    RequestError,
)
from gymtwist.protocol import classic, dynamic_values
from gymtwist.protocol.framing import Parts
from gymtwist.spaces.classic_codecs import Decoder, Encoder, check_shape, classic_description, decoder, encoder
from gymtwist.spaces.space_codecs import CutReport
from gymtwist.worker import fork_trial
from gymtwist.worker.access_policy import AllowList
from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.guarded_call import fault_of_value, guarded_call, print_cut, print_traceback, ran_out_of_memory
from gymtwist.worker.omission_warning import OmissionWarning
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.socket_waiting import receiver
from gymtwist.worker.transports import SocketTransport
from gymtwist.worker.worker_settings import WorkerSettings

_UINT8 = np.dtype(np.uint8)
_SCOREBOARD_CLOSED = (
    "upload: OpenAI's scoreboard closed in 2017; the recorded statistics and videos are in the monitor's directory"
)
_UNIVERSE_RETIRED = (
    "universe: OpenAI Universe was retired in 2018; ask for an environment of Gymnasium instead, "
    "such as one of the Atari games (ALE/Pong-v5)"
)


class ClassicAdapter:
    """One session of the classic protocol; for the attributes see :class:`~gymtwist.worker.session_loop.Adapter`.

    Args:
        connection: The client's socket, in blocking mode.
        settings: The operator's options.
        status: The session's status.
    """

    decode = None
    _decode_action: Decoder
    _encode_observation: Encoder
    _encode_action: Encoder

    def __init__(self, connection: socket.socket, settings: WorkerSettings, status: SessionStatus) -> None:
        self._connection = connection
        self._settings = settings
        self._status = status
        self._runner: EnvironmentRunner | None = None
        warn = OmissionWarning()
        self._warn: Callable[[list[str]], None] = lambda places: warn([f"info{place}" for place in places])
        self.transport: SocketTransport
        self.handlers: dict[type, Callable[[Any], Any]] = {
            classic.Reset: self._reset,
            classic.Step: self._step,
            classic.GetSpace: self._get_space,
            classic.SampleAction: self._sample_action,
            classic.Monitor: self._monitor,
            classic.Render: self._render,
            classic.Upload: self._upload,
            classic.UniverseConfigure: self._universe,
            classic.UniverseWrap: self._universe,
        }

    def open(self, handshake: bytes, trailing_data: bytes) -> None:
        """Make the environment and answer the handshake with an error string, which is empty on success."""
        reader = classic.CommandReader(trailing_data, self._status.recovery)
        receive = receiver(self._connection, self._settings.poll, self._status)
        self.transport = SocketTransport(self._connection, reader, reader.next_command, receive)
        opening = classic.read_handshake(handshake)
        if opening is None:
            raise ProtocolError("the handshake is incomplete")
        try:
            if opening.environment:
                self._make(opening.environment)
        except GymtwistError as error:
            lacks_memory = ran_out_of_memory(error, self._status)
            self._answer(self._settings.memory_problem("make") if lacks_memory else str(error))
            raise
        self._status.end()
        self._answer()

    def _make(self, environment: str) -> None:
        with guarded_call(self._status, Operation.MAKE):
            registered = registry.find(environment)
            AllowList(self._settings.allow).check_meant(environment, registered.spec.id)
            fork_trial.check(registered, self._settings)
            plan = environment_plan.plan(registered)
        runner = self._runner = EnvironmentRunner(plan, self._settings, self._status)
        try:
            self._encode_observation = encoder(runner.observation_space, CutReport(print_cut))
            self._encode_action = encoder(runner.action_space)
            self._decode_action = decoder(runner.action_space)
        except BaseException as error:
            raise _space_fault("make", error) from error

    def _answer(self, message: str = "") -> None:
        with self._status.answering():
            self.send(classic.error_string(message))

    def resume(self, recovery_reply: bytes, trailing_data: bytes) -> NoReturn:
        """Refuse to resume a session: this protocol cannot report that the environment is lost."""
        raise ProtocolError("a session of the classic protocol cannot be resumed")

    def send(self, reply: bytes | Parts) -> None:
        """Send a reply."""
        if type(reply) is bytes:
            self._connection.sendall(reply)
        elif type(reply) is list:
            self.transport.send_parts(reply)

    def refuse(self, error: RequestError | EnvironmentFault) -> NoReturn:
        """End the session: replies cannot carry an error."""
        ran_out_of_memory(error, self._status)  # the server logs it
        raise error

    def final_reply(self, error: GymtwistError) -> None:
        """Send nothing: replies cannot carry an error."""

    def close(self) -> None:
        """Close the environment."""
        if self._runner is not None:
            self._runner.close()

    # Handlers

    def _step(self, command: classic.Step) -> bytes | Parts:
        runner = self._runner or self._no_environment()
        try:
            action = self._decode_action(command.action)
        except InvalidAction as error:
            raise ProtocolError(str(error)) from error
        except BaseException as error:
            raise _space_fault("step", error) from error
        observation, reward, terminated, truncated, info = runner.step(action)
        tail = classic.step_tail(reward, terminated or truncated, dynamic_values.encode_info(info, self._warn))
        if type(observation) is np.ndarray and observation.dtype == _UINT8:
            return [*self._frame(runner, "step", observation), tail]
        return self._observation("step", observation) + tail

    def _reset(self, command: classic.Reset) -> bytes | Parts:
        runner = self._runner or self._no_environment()
        observation, _ = runner.reset()
        if type(observation) is np.ndarray and observation.dtype == _UINT8:
            return self._frame(runner, "reset", observation)
        return self._observation("reset", observation)

    @staticmethod
    def _frame(runner: EnvironmentRunner, operation: str, observation: np.ndarray[Any, Any]) -> Parts:
        check_shape(observation, runner.observation_space, operation)
        return classic.observation_bytes(observation)

    def _observation(self, operation: str, observation: Any) -> bytes:
        try:
            return classic.observation_json(dynamic_values.encode_value(self._encode_observation(observation)))
        except Exception as error:
            raise fault_of_value(operation, error) from error

    def _get_space(self, command: classic.GetSpace) -> bytes:
        runner = self._runner or self._no_environment()
        space = runner.observation_space if command.observation else runner.action_space
        try:
            text = dynamic_values.encode_value(classic_description(space))
        except BaseException as error:
            raise _space_fault("space", error) from error
        self._status.end()
        return classic.string(text)

    def _sample_action(self, command: classic.SampleAction) -> bytes:
        sampled = (self._runner or self._no_environment()).sample_action()
        try:
            text = dynamic_values.encode_value(self._encode_action(sampled))
        except Exception as error:
            raise fault_of_value("sample", error) from error
        return classic.action(text)

    def _monitor(self, command: classic.Monitor) -> bytes:
        runner = self._runner or self._no_environment()
        try:
            runner.record(command.directory, resume=command.resume, force=command.force, video=command.video)
        except (RequestError, EnvironmentFault) as error:
            return classic.error_string(str(error))
        return classic.error_string()

    def _render(self, command: classic.Render) -> None:
        (self._runner or self._no_environment()).show()

    def _upload(self, command: classic.Upload) -> bytes:
        self._status.end()
        return classic.error_string(_SCOREBOARD_CLOSED)

    def _universe(self, command: classic.UniverseConfigure | classic.UniverseWrap) -> bytes:
        self._status.end()
        return classic.error_string(_UNIVERSE_RETIRED)

    def _no_environment(self) -> NoReturn:
        raise NoEnvironment("this connection was opened without an environment, which the command needs")


def _space_fault(operation: str, error: BaseException) -> EnvironmentFault:
    """Log an error of a space's own code, and return it as a fault of the environment."""
    print_traceback(error)
    message = f"the environment's space raised {type(error).__name__} in {operation}{message_of(error)}"
    return EnvironmentFault(operation, message)
