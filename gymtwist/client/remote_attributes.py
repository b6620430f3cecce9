"""What remote environments have in common: the attributes described by the server, and copying."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from gymtwist.client.client_errors import ProtocolBroken
from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.entry_points import completed, metadata_of, spec_of
from gymtwist.protocol import make_messages
from gymtwist.spaces.gymnasium_spaces import build


class DescribedAttributes:
    """The attributes described by the server."""

    action_space: spaces.Space[Any]
    observation_space: spaces.Space[Any]
    reward_space: spaces.Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None

    def _set_attributes(self, session: Session, options: ConnectOptions) -> None:
        """Set the attributes from the server's reply to ``make``."""
        made, values = session.made, session.values
        self.action_space, self.observation_space = values.action_space, values.observation_space
        if values.reward_space is not None:
            self.reward_space = values.reward_space
        self.metadata = metadata_of(made)
        self.render_mode = made.render_mode
        self._spec = self._own_spec = spec_of(made, options)
        self._options = options

    @property
    def spec(self) -> EnvSpec | None:
        """The server's specification, with an entry point that connects to another environment like this one."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = completed(spec, self._own_spec)


class DescribedVectorAttributes(DescribedAttributes):
    """The attributes described by the server for several environments."""

    single_action_space: spaces.Space[Any]
    single_observation_space: spaces.Space[Any]
    num_envs: int

    def _describe(self, session: Session, options: ConnectOptions) -> None:
        """Set the attributes from the server's reply to the ``make`` of one of the sessions."""
        session.read(lambda: self._build_single_spaces(session.made))
        self._set_attributes(session, options)
        if options.processes > 1:
            self.action_space = batch_space(self.single_action_space, self.num_envs)
            self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        #: When an environment is reset after the end of its episode.
        self.autoreset_mode = AutoresetMode[(session.made.autoreset_mode or "next_step").upper()]
        self.metadata["autoreset_mode"] = self.autoreset_mode

    def _build_single_spaces(self, made: make_messages.Made) -> None:
        if made.single_action_space is None or made.single_observation_space is None:
            raise ProtocolBroken("the server does not describe the spaces of a single environment")
        self.single_action_space = build(made.single_action_space)
        self.single_observation_space = build(made.single_observation_space)


class RemoteAttributes(DescribedAttributes):
    """The attributes and the copying of a blocking environment; for a class with a method ``close``."""

    close: Any  # Gymnasium's two classes have different ones

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy makes its own connection: two objects cannot share one.
        return type(self), (dataclasses.replace(self._options, progress=None),), {"_spec": self._spec}

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteAttributes:
        # A TLS context cannot be copied.
        return copy.copy(self)

    def __del__(self) -> None:
        self.close()
