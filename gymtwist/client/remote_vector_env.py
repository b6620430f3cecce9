"""Environments at a server that step together, with the interface of a local vector environment."""

from __future__ import annotations

from typing import Any

from gymnasium import logger
from gymnasium.vector import AutoresetMode, VectorEnv

from gymtwist.client import batching
from gymtwist.client.client_errors import RequestRefused
from gymtwist.client.connect_options import ConnectOptions
from gymtwist.client.group_requests import finished
from gymtwist.client.message_values import Steps
from gymtwist.client.remote_attributes import DescribedVectorAttributes, RemoteAttributes
from gymtwist.client.reset_arguments import mask_of, seed_of, seeds_of, values_of, warn_unseeded
from gymtwist.client.session_group import SessionGroup, check_same_spaces
from gymtwist.client.session_requests import Stepped
from gymtwist.client.snapshots import Snapshot
from gymtwist.client.truncating_group import TruncatingGroup
from gymtwist.protocol import messages

#: What this object knows about each environment, but no message carries.
_OF_EACH = {
    "action_space": "single_action_space",
    "observation_space": "single_observation_space",
    "spec": "spec",
    "render_mode": "render_mode",
}


class RemoteVectorEnv(DescribedVectorAttributes, RemoteAttributes, VectorEnv[Any, Any, Any]):
    """Environments at a server; :func:`~gymtwist.client.api.connect_vec` makes them.

    One server process holds all of them, or several processes step their shares in parallel. Use the object in one
    thread at a time. After :class:`~gymtwist.client.client_errors.EnvironmentFailed`, ``reset`` makes it usable again.

    Args:
        options: How to reach the server, and what to make there.

    Attributes:
        reward_space: The space of each environment's rewards that are arrays, as in MO-Gymnasium; not set if they have
            none.

    Raises:
        RemoteError: The server cannot be reached, or has no such environments.
    """

    def __init__(self, options: ConnectOptions) -> None:
        self.num_envs = options.make.num_envs or 1
        counts = batching.shares(self.num_envs, options.processes)
        starts = [sum(counts[:index]) for index in range(len(counts))]
        shares = list(zip(counts, starts, strict=True))
        self._sessions = options.make_sessions(shares)
        try:
            self._describe(self._sessions[0], options)
            if options.make.each:
                check_same_spaces(self._sessions, starts)
        except BaseException:
            self.close()
            raise
        parts = self._sessions, counts, self.single_action_space, self.single_observation_space
        truncates = options.on_failure == "truncate"
        self._group = (
            TruncatingGroup(
                *parts,
                autoreset_mode=self.autoreset_mode,
                restart=lambda index: options.make_sessions([shares[index]], is_restart=True)[0],
            )
            if truncates
            else SessionGroup(*parts, autoreset=self.autoreset_mode is not AutoresetMode.DISABLED)
        )
        #: The session if there is only one, so that nothing must be split and joined; otherwise None.
        self._one = self._sessions[0] if options.processes == 1 and not truncates else None

    def reset(
        self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: One seed, from which each environment gets its own (``seed + index``), or a list with a seed for each.
            options: Options of the environments. ``"reset_mask"``, an array of num_envs bools, selects the environments
                to reset.

        Returns:
            Observations and infos of all environments; environments that were not reset keep their observations.

        Raises:
            RemoteError: The reset failed.
        """
        mask, options = mask_of(options, self.num_envs)
        seeds = seeds_of(seed, self.num_envs)
        if isinstance(seeds, int):
            super().reset(seed=seeds)
        session = self._one
        if session is None:
            return finished(self._group.reset(seeds, options, mask))
        session.before_reset()
        request = messages.Reset(seeds, options, None if mask is None else mask.tolist())
        reply = session.ask(request, messages.ResetDone)
        warn_unseeded(reply)
        return session.read(lambda: session.values.own(reply.observation)), self._group.infos([reply.info])

    def verify_seed(self, seed: int | list[int | None]) -> bool:
        """Have the server play the beginning of episodes twice with a seed, then reset with the seed once more.

        Args:
            seed: One seed, or one for each environment, as for :meth:`reset`; the first seeds the actions as well.

        Returns:
            Whether the reset infos, observations, rewards and flags of both were the same, for up to fifty steps.

        Raises:
            RemoteError: A reset failed.
        """
        seeds, session = seeds_of(seed, self.num_envs), self._one
        if session is None:
            return finished(self._group.verify_seed(seeds))
        session.before_reset()
        return bool(session.ask(messages.Reset(seeds, verify_seed=True), messages.ResetDone).seeded)

    def step(self, actions: Any) -> Stepped:
        """Take a step in every environment.

        Args:
            actions: A batch of actions.

        Returns:
            Observations; rewards, float64 of shape (num_envs,), or with a ``reward_space`` one of its arrays for each
            environment; terminated and truncated, bool of shape (num_envs,); infos.

        Raises:
            RemoteError: The step failed.
        """
        for session in self._sessions:
            if session.outstanding:
                session.check_idle()
        self._send(actions)
        return self._recv()

    def async_reset(self, *, seed: int | list[int | None] | None = None, options: dict[str, Any] | None = None) -> None:
        """Begin episodes without waiting for the first observations, which :meth:`recv` returns like a step's.

        Their rewards are 0. Only environments that are not being stepped can be reset; environments that share a
        process are reset together.

        Args:
            seed: See :meth:`reset`.
            options: See :meth:`reset`.

        Raises:
            RemoteError: The request cannot be sent.
        """
        mask, options = mask_of(options, self.num_envs)
        self._group.send_resets(seeds_of(seed, self.num_envs), options, mask)

    def send(self, actions: Any, env_ids: Any = None) -> None:
        """Request a step without waiting for its reply, which :meth:`recv` returns.

        Args:
            actions: A batch of actions.
            env_ids: The indices of the environments that the actions are for, in the same order; None for all.
                Environments that share a server process are stepped together, unless there is only one process and its
                ``vectorization_mode`` is "async". None of them may be in a step already.

        Raises:
            RemoteError: The actions are invalid, or a connection is closed.
        """
        if env_ids is not None:
            finished(self._group.send_to(actions, env_ids))
            return
        self._group.check_sending_all()
        self._send(actions)
        for session in self._sessions:
            session.outstanding += 1

    def recv(self, min_ready: int | None = None) -> Stepped:
        """Wait for the first step that was sent but not received.

        Args:
            min_ready: Wait only until this many environments have finished a step. None for all.

        Returns:
            What :meth:`step` returns. With ``min_ready``, it is a batch of the environments that have finished, whose
            indices are ``infos["env_id"]`` (int32, ascending): exactly ``min_ready`` if each has a process of its own.
            Environments that share a process finish together, so there may be more; so do all of them after ``send``
            without ``env_ids``. The environments that have waited longest come first.

        Raises:
            RemoteError: The step failed, or none was sent.
        """
        if min_ready is not None or self._group.is_stepping_some:
            return finished(self._group.receive_ready(min_ready))
        self._group.take()
        return self._group.receive() if self._group.resetting else self._recv()

    def _send(self, actions: Any) -> None:
        session = self._one
        if session is None:
            self._group.send(actions)
        else:
            session.send_step(session.values.written(actions))

    def _recv(self) -> Stepped:
        session = self._one
        if session is None:
            return self._group.receive()
        stepped = session.receive_step(session.values.own)
        return (*stepped[:4], self._group.infos([stepped[4]])) if stepped[4] else stepped

    def step_many(
        self, actions: Any, count: int | None = None, *, observations: messages.ObservationsWanted = "last"
    ) -> Steps:
        """Take several steps in one round trip; the autoreset mode applies to episodes that end.

        Args:
            actions: One batch per step; or, with ``count``, one batch for all steps.
            count: How often to take that batch.
            observations: Whether to return the last observations or all.

        Raises:
            RemoteError: The steps failed.
        """
        session = self._one
        if session is None:
            return finished(self._group.step_many(actions, count, observations))
        session.send(session.values.many(actions, count, observations))
        steps = session.receive_many(observations)
        return steps._replace(info=self._group.infos([steps.info]))

    def sample(self, seed: int | None = None) -> Any:
        """Have the server sample an action for every environment.

        Args:
            seed: The seed of the action spaces' random numbers; None to keep their state. The samples depend on the
                number of processes, too.
        """
        return finished(self._group.sample(seed_of(seed)))

    def render(self) -> tuple[Any, ...] | None:
        """Render the environments.

        Returns:
            The frame of each environment; None without a render mode.

        Raises:
            RemoteError: The rendering failed.
        """
        if self.render_mode is None:
            logger.warn('there is no render mode to render in; choose one: connect_vec(..., render_mode="rgb_array")')
            return None
        return finished(self._group.render())

    def call(self, name: str, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Call a method of each environment, or read an attribute that is not a method, as Gymnasium does.

        Args:
            name: The name of the method.
            args: Its arguments.
            kwargs: Its keyword arguments.

        Returns:
            What each of the environments returned.

        Raises:
            AttributeUnreachable: There is no such method, or the operator does not allow it.
            EnvironmentFailed: The method of an environment raised an exception.
        """
        if name == "render" and not (args or kwargs):
            return self.render() or (None,) * self.num_envs
        if name in _OF_EACH:
            return (getattr(self, _OF_EACH[name]),) * self.num_envs
        return finished(self._group.call(messages.Call(name, list(args), kwargs)))

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """Read an attribute of each environment, or call a method without arguments, as Gymnasium does.

        Args:
            name: The name of the attribute.

        Raises:
            AttributeUnreachable: There is no such attribute, its value cannot be sent, or the operator does not allow
                it.
        """
        return self.call(name)

    def set_attr(self, name: str, values: Any) -> None:
        """Set an attribute that each environment has.

        Args:
            name: The name of the attribute.
            values: A list or tuple with a value for each environment, or one value for all.

        Raises:
            ValueError: The number of values is wrong.
            AttributeUnreachable: The attribute cannot be set.
        """
        finished(self._group.set(name, values_of(values, self.num_envs)))

    def snapshot(self) -> Snapshot:
        """Have the server take a snapshot of the environments; see :meth:`RemoteEnv.snapshot`.

        Raises:
            RemoteError: The server refuses: the environments cannot be copied, or have the maximum number of snapshots.
        """
        self._refuse_truncating()
        return Snapshot(self._sessions, self._group.state())

    def restore(self, here: Snapshot) -> None:
        """Return to a snapshot of these environments; see :meth:`RemoteEnv.restore`.

        Args:
            here: The snapshot, which can be restored again.

        Raises:
            RemoteError: The server refuses.
        """
        self._group.put_back(here.restore(self._sessions))

    def branch(self, here: Snapshot) -> RemoteVectorEnv:
        """Make other environments that continue from a snapshot, in their own sessions and processes.

        Args:
            here: A snapshot of these environments, or of environments made in the same way.

        Raises:
            RemoteError: The server refuses, or has no free session.
        """
        other = type(self)(here.branched(self._options))
        other._options = self._options
        other._group.put_back(here.state)
        return other

    def _refuse_truncating(self) -> None:
        """Raise an error if failures end episodes: failed environments are then replaced, unlike in the snapshot."""
        if self._options.on_failure == "truncate":
            raise RequestRefused('snapshot: on_failure="truncate" makes fresh environments; use "raise"')

    def close_extras(self, **kwargs: Any) -> None:
        """Close the connections; :meth:`close` calls it."""
        # There are no sessions if the constructor failed.
        for session in self.__dict__.get("_sessions", ()):
            session.connection.close()

    def __enter__(self) -> RemoteVectorEnv:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
