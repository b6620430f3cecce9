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
from gymtwist.protocol import classic, json_text
from gymtwist.spaces.classic_codecs import Decoder, Encoder, check_shape, decoder, encoder
from gymtwist.spaces.classic_descriptions import classic_description
from gymtwist.worker.environment_runner import RunningEnvironment
from gymtwist.worker.guarded_call import fault_of_value, message_of, print_traceback
from gymtwist.worker.reply_writer import send_parts
from gymtwist.worker.session_status import Operation, Vitals
from gymtwist.worker.session_summary import CLIENT_LEFT, reason_of
from gymtwist.worker.socket_waiting import receiver
from gymtwist.worker.worker_settings import ChildSettings

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
        opening: The bytes of the opening.
        surplus: What came behind it.
        settings: The operator's options.
        vitals: Where to show how the session is doing.
    """

    def __init__(
        self,
        connection: socket.socket,
        opening: bytes,
        surplus: bytes,
        settings: ChildSettings,
        vitals: Vitals,
    ) -> None:
        self._connection = connection
        self._opening = opening
        self._reader = classic.CommandReader(surplus, vitals.remains)
        self._settings = settings
        self._vitals = vitals
        self._running: RunningEnvironment | None = None
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
            if self._running is not None:
                self._running.close()

    def _open(self) -> None:
        """Make the environment and answer the opening."""
        # From here on it is this child that the server watches, even if no environment is asked for.
        self._vitals.begin(Operation.MAKE)
        opening = classic.read_opening(self._opening)
        if opening is None:
            raise ProtocolError("the opening is incomplete")
        try:
            if opening.environment:
                self._running = RunningEnvironment(opening.environment, self._settings, self._vitals)
                try:
                    self._encode_observation = encoder(self._running.observation_space)
                    self._encode_action = encoder(self._running.action_space)
                    self._decode_action = decoder(self._running.action_space)
                except BaseException as error:
                    raise _fault_of_space("make", error) from error
        except GymtwistError as error:
            self._answer(str(error))
            raise
        self._vitals.end()
        self._answer()

    def _answer(self, message: str = "") -> None:
        """Answer the opening with an error string."""
        with self._vitals.answering():
            self._send(classic.error_string(message))

    def _loop(self) -> str:
        reader = self._reader
        receive = receiver(self._connection, self._settings.poll, self._vitals)
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
        running = self._environment()
        try:
            action = self._decode_action(command.action)
        except InvalidAction as error:
            # The reply to a step has no place for an error.
            raise ProtocolError(str(error)) from error
        except BaseException as error:
            raise _fault_of_space("step", error) from error
        observation, reward, terminated, truncated, info = running.step(action)
        tail = classic.step_tail(reward, terminated or truncated, json_text.encode_info(info))
        if type(observation) is np.ndarray and observation.dtype == _UINT8:
            send_parts(self._connection, [*self._frame(running, "step", observation), tail])
        else:
            self._send(self._observation("step", observation) + tail)

    def _reset(self, command: classic.Reset) -> None:
        running = self._environment()
        observation, _ = running.reset()
        if type(observation) is np.ndarray and observation.dtype == _UINT8:
            send_parts(self._connection, self._frame(running, "reset", observation))
        else:
            self._send(self._observation("reset", observation))

    @staticmethod
    def _frame(running: RunningEnvironment, operation: str, observation: np.ndarray[Any, Any]) -> classic.Parts:
        check_shape(observation, running.observation_space, operation)
        return classic.observation_bytes(observation)

    def _observation(self, operation: str, observation: Any) -> bytes:
        try:
            return classic.observation_json(json_text.encode_value(self._encode_observation(observation)))
        except Exception as error:
            raise fault_of_value(operation, error) from error

    def _get_space(self, command: classic.GetSpace) -> None:
        running = self._environment()
        space = running.observation_space if command.observation else running.action_space
        try:
            text = json_text.encode_value(classic_description(space))
        except BaseException as error:
            raise _fault_of_space("space", error) from error
        self._vitals.end()
        self._send(classic.string(text))

    def _sample_action(self, command: classic.SampleAction) -> None:
        sampled = self._environment().sample_action()
        try:
            text = json_text.encode_value(self._encode_action(sampled))
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
        self._vitals.end()
        self._send(classic.error_string(_SCOREBOARD_CLOSED))

    def _universe(self, command: classic.UniverseConfigure | classic.UniverseWrap) -> None:
        self._vitals.end()
        self._send(classic.error_string(_UNIVERSE_RETIRED))

    def _environment(self) -> RunningEnvironment:
        if self._running is None:
            raise NoEnvironment("this connection was opened without an environment, which the command needs")
        return self._running

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
