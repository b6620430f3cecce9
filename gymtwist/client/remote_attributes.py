"""What remote environments have in common: the attributes that a server describes, and copies."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec

from gymtwist.client.client_session import Session
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.entry_points import completed, metadata_of, spec_of


class DescribedAttributes:
    """The attributes that a server describes."""

    action_space: spaces.Space[Any]
    observation_space: spaces.Space[Any]
    reward_space: spaces.Space[Any]
    metadata: dict[str, Any]
    render_mode: str | None

    def _set_attributes(self, session: Session, options: ConnectOptions) -> None:
        """Set the attributes to what the server has replied to ``make``."""
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
        """The specification: as the server has it, with what connects to another environment like this one."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        self._spec = completed(spec, self._own_spec)


class RemoteAttributes(DescribedAttributes):
    """The attributes and the copies of an environment whose methods wait; for a class with a method ``close``."""

    close: Any  # Gymnasium's two classes have different ones

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy connects by itself: two objects cannot share a connection.
        return type(self), (dataclasses.replace(self._options, progress=None),), {"_spec": self._spec}

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteAttributes:
        # A TLS context cannot be copied.
        return copy.copy(self)

    def __del__(self) -> None:
        self.close()
