"""Serve Gymnasium's environments by dm_env_rpc: ``dm_env_rpc_server PORT``.

dm-env-rpc 1.1.7 has the protocol, the generated gRPC servicer, and the packing of tensors; everybody writes their own
server, as its example ("Catch") shows. This one, too, is a generator that answers a stream of requests. World settings
are ``environment``, an id, and ``seed``, for the first reset.

For speed, tensors are packed straight into the response, messages have no length limit, and as many processes as there
are cores share the port (gRPC's option ``so_reuseport``). A server on ``grpc.aio`` took as much processor time a step.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import numpy as np
from dm_env_rpc.v1 import dm_env_rpc_pb2 as messages
from dm_env_rpc.v1 import dm_env_rpc_pb2_grpc, spec_manager, tensor_utils

from gymtwist_benchmarks.benchmark_environments import make
from gymtwist_benchmarks.servers import preforking

_OBSERVATION, _REWARD = 1, 2
_WORLD = "world"
#: Streams that a process serves at once; each holds a thread.
_MOST = 64
_OPTIONS = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 1)]


class Session:
    """The world of one stream of requests: one environment."""

    def __init__(self) -> None:
        self._env: Any = None
        self._specs = messages.ActionObservationSpecs()
        self._actions: Any = None
        self._pack: Any = None
        self._pack_reward = tensor_utils.get_packer(np.float64)
        self._begun = False

    def answer(self, request: Any) -> Any:
        """Answer a request; an error is an answer, too."""
        response = messages.EnvironmentResponse()
        kind = request.WhichOneof("payload")
        try:
            getattr(self, f"_{kind}")(getattr(request, kind), getattr(response, kind))
            getattr(response, kind).SetInParent()
        except Exception as exception:
            response.error.message = f"{type(exception).__name__}: {exception}"
        return response

    def close(self) -> None:
        """Close the environment."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _create_world(self, request: Any, response: Any) -> None:
        self.close()
        environment = str(tensor_utils.unpack_tensor(request.settings["environment"]))
        self._env = make(environment)
        self._specs = _specs(self._env)
        self._actions = spec_manager.SpecManager(self._specs.actions)
        self._pack = tensor_utils.get_packer(self._env.observation_space.dtype)
        response.world_name = _WORLD

    def _join_world(self, request: Any, response: Any) -> None:
        if request.world_name != _WORLD or self._env is None:
            raise ValueError(f"there is no world {request.world_name!r}")
        response.specs.CopyFrom(self._specs)
        self._begun = False

    def _step(self, request: Any, response: Any) -> None:
        """Take a step; the first after a reset, and after an episode's last, begins an episode instead."""
        reward, terminated, truncated = 0.0, False, False
        if self._begun:
            action = self._actions.unpack(request.actions)["action"]
            observation, reward, terminated, truncated, _ = self._env.step(action)
        else:
            observation, _ = self._env.reset()
        self._begun = not (terminated or truncated)
        for uid in request.requested_observations:
            tensor = response.observations[uid]
            if uid == _OBSERVATION:
                tensor.shape.extend(observation.shape)
                self._pack.pack(tensor, observation)
            else:
                self._pack_reward.pack(tensor, np.float64(reward))
        response.state = messages.TERMINATED if terminated else messages.INTERRUPTED if truncated else messages.RUNNING

    def _leave_world(self, request: Any, response: Any) -> None:
        self._begun = False

    def _destroy_world(self, request: Any, response: Any) -> None:
        self.close()


def _specs(env: Any) -> Any:
    """Describe an environment's actions and observations."""
    specs = messages.ActionObservationSpecs()
    action = specs.actions[1]
    action.name, action.dtype = "action", messages.INT64
    action.min.int64s.array.append(0)
    action.max.int64s.array.append(int(env.action_space.n) - 1)
    observation = specs.observations[_OBSERVATION]
    observation.name = "observation"
    observation.shape.extend(env.observation_space.shape)
    observation.dtype = tensor_utils.np_type_to_data_type(env.observation_space.dtype)
    reward = specs.observations[_REWARD]
    reward.name, reward.dtype = "reward", messages.DOUBLE
    return specs


class Service(dm_env_rpc_pb2_grpc.EnvironmentServicer):
    """Gives each stream of requests a session of its own."""

    def Process(self, request_iterator: Iterator[Any], context: Any) -> Iterator[Any]:  # noqa: N802  # gRPC's name
        """Answer requests, in turn."""
        session = Session()
        try:
            for request in request_iterator:
                yield session.answer(request)
        finally:
            session.close()


def serve(port: int, ready: Callable[[], object]) -> None:
    """Serve in this process."""
    server = grpc.server(futures.ThreadPoolExecutor(_MOST), options=_OPTIONS)
    dm_env_rpc_pb2_grpc.add_EnvironmentServicer_to_server(Service(), server)
    server.add_secure_port(f"127.0.0.1:{port}", grpc.local_server_credentials())
    server.start()
    ready()
    server.wait_for_termination()


if __name__ == "__main__":
    _port = int(sys.argv[1])
    preforking.run(_port, lambda ready: serve(_port, ready))
