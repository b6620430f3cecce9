"""The serving loop of the classic protocol: read a command, act on the environment, write the reply."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

import numpy as np

from gymtwist.errors import (
    EnvironmentFault,
    GymtwistError,
    InvalidAction,
    NoEnvironment,
    ProtocolError,
    RequestError,
)
from gymtwist.protocol import classic, dynamic_values
from gymtwist.spaces.classic_codecs import Decoder, Encoder, check_shape, classic_description, decoder, encoder
from gymtwist.worker.environment_runner import EnvironmentRunner
from gymtwist.worker.guarded_call import fault_of_value, message_of, print_traceback
from gymtwist.worker.reply_writer import send_parts
from gymtwist.worker.session_status import Operation, SessionStatus
from gymtwist.worker.session_summary import CLIENT_LEFT, reason_of
from gymtwist.worker.socket_waiting import receiver
from gymtwist.worker.worker_settings import WorkerSettings

_UINT8 = np.dtype(np.uint8)
_SCOREBOARD_CLOSED = (
    "upload: OpenAI's scoreboard closed in 2017; the recorded statistics and videos are in the monitor's directory"
)
_UNIVERSE_RETIRED = (
    "universe: OpenAI Universe was retired in 2018; ask for an environment of Gymnasium instead, "
    "such as one of the Atari games (ALE/Pong-v5)"
)


class ClassicSession:
    """One connection of the classic protocol.

    Args:
        connection: The client's socket, in blocking mode.
        handshake: The bytes of the opening.
        trailing_data: What came behind it.
        settings: The operator's options.
        status: Where to show how the session is doing.
    """

    def __init__(
        self,
        connection: socket.socket,
        handshake: bytes,
        trailing_data: bytes,
        settings: WorkerSettings,
        status: SessionStatus,
    ) -> None:
        self._connection = connection
        self._handshake = handshake
        self._reader = classic.CommandReader(trailing_data, status.recovery)
        self._settings = settings
        self._status = status
        self._runner: EnvironmentRunner | None = None
        self._decode_action: Decoder
        self._encode_observation: Encoder
        self._encode_action: Encoder

    def run(self) -> str:
        """Serve the connection to its end.

        Returns:
            Why it ended.
        """
        try:
            self._open()
            return self._loop()
        except Exception as error:
            return reason_of(error)
        finally:
            if self._runner is not None:
                self._runner.close()

    def _open(self) -> None:
        """Make the environment and answer the opening."""
        # From here on it is this child that the server watches, even if no environment is asked for.
        self._status.begin(Operation.MAKE)
        handshake = classic.read_handshake(self._handshake)
        if handshake is None:
            raise ProtocolError("the opening is incomplete")
        try:
            if handshake.environment:
                self._runner = EnvironmentRunner(handshake.environment, self._settings, self._status)
                try:
                    self._encode_observation = encoder(self._runner.observation_space)
                    self._encode_action = encoder(self._runner.action_space)
                    self._decode_action = decoder(self._runner.action_space)
                except BaseException as error:
                    raise _fault_of_space("make", error) from error
        except GymtwistError as error:
            self._answer(str(error))
            raise
        self._status.end()
        self._answer()

    def _answer(self, message: str = "") -> None:
        """Answer the opening with an error string."""
        with self._status.answering():
            self._send(classic.error_string(message))

    def _loop(self) -> str:
        reader = self._reader
        receive = receiver(self._connection, self._settings.poll, self._status)
        next_command, received = reader.next_command, reader.received
        step = classic.Step
        while True:
            command = next_command()
            if command is None:
                count = receive(reader.space())
                if not count:
                    return CLIENT_LEFT
                received(count)
            elif type(command) is step:
                self._step(command)
            else:
                _HANDLERS[type(command)](self, command)

    def _step(self, command: classic.Step) -> None:
        runner = self._environment()
        try:
            action = self._decode_action(command.action)
        except InvalidAction as error:
            # The reply to a step has no place for an error.
            raise ProtocolError(str(error)) from error
        except BaseException as error:
            raise _fault_of_space("step", error) from error
        observation, reward, terminated, truncated, info = runner.step(action)
        tail = classic.step_tail(reward, terminated or truncated, dynamic_values.encode_info(info))
        if type(observation) is np.ndarray and observation.dtype == _UINT8:
            send_parts(self._connection, [*self._frame(runner, "step", observation), tail])
        else:
            self._send(self._observation("step", observation) + tail)

    def _reset(self, command: classic.Reset) -> None:
        runner = self._environment()
        observation, _ = runner.reset()
        if type(observation) is np.ndarray and observation.dtype == _UINT8:
            send_parts(self._connection, self._frame(runner, "reset", observation))
        else:
            self._send(self._observation("reset", observation))

    @staticmethod
    def _frame(runner: EnvironmentRunner, operation: str, observation: np.ndarray[Any, Any]) -> classic.Parts:
        check_shape(observation, runner.observation_space, operation)
        return classic.observation_bytes(observation)

    def _observation(self, operation: str, observation: Any) -> bytes:
        try:
            return classic.observation_json(dynamic_values.encode_value(self._encode_observation(observation)))
        except Exception as error:
            raise fault_of_value(operation, error) from error

    def _get_space(self, command: classic.GetSpace) -> None:
        runner = self._environment()
        space = runner.observation_space if command.observation else runner.action_space
        try:
            text = dynamic_values.encode_value(classic_description(space))
        except BaseException as error:
            raise _fault_of_space("space", error) from error
        self._status.end()
        self._send(classic.string(text))

    def _sample_action(self, command: classic.SampleAction) -> None:
        sampled = self._environment().sample_action()
        try:
            text = dynamic_values.encode_value(self._encode_action(sampled))
        except Exception as error:
            raise fault_of_value("sample", error) from error
        self._send(classic.action(text))

    def _monitor(self, command: classic.Monitor) -> None:
        try:
            self._environment().record(
                command.directory, resume=command.resume, force=command.force, video=command.video
            )
        except (RequestError, EnvironmentFault) as error:
            self._send(classic.error_string(str(error)))
        else:
            self._send(classic.error_string())

    def _render(self, command: classic.Render) -> None:
        self._environment().show()

    def _upload(self, command: classic.Upload) -> None:
        self._status.end()
        self._send(classic.error_string(_SCOREBOARD_CLOSED))

    def _universe(self, command: classic.UniverseConfigure | classic.UniverseWrap) -> None:
        self._status.end()
        self._send(classic.error_string(_UNIVERSE_RETIRED))

    def _environment(self) -> EnvironmentRunner:
        if self._runner is None:
            raise NoEnvironment("this connection was opened without an environment, which the command needs")
        return self._runner

    def _send(self, data: bytes) -> None:
        self._connection.sendall(data)


def _fault_of_space(operation: str, error: BaseException) -> EnvironmentFault:
    """Make the fault of an environment whose spaces are of no use."""
    print_traceback(error)
    told = f"the environment's space raised {type(error).__name__} in {operation}{message_of(error)}"
    return EnvironmentFault(operation, told)


_HANDLERS: dict[type[classic.Command], Callable[[ClassicSession, Any], None]] = {
    classic.Reset: ClassicSession._reset,
    classic.GetSpace: ClassicSession._get_space,
    classic.SampleAction: ClassicSession._sample_action,
    classic.Monitor: ClassicSession._monitor,
    classic.Render: ClassicSession._render,
    classic.Upload: ClassicSession._upload,
    classic.UniverseConfigure: ClassicSession._universe,
    classic.UniverseWrap: ClassicSession._universe,
}
