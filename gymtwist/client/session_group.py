"""A group of sessions that acts as one: splits requests among them and joins their replies."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from gymnasium import spaces

from gymtwist.client import batching, vector_infos
from gymtwist.client.client_errors import InvalidAction, RequestRefused, ResetNeeded
from gymtwist.client.client_session import Session
from gymtwist.client.connection import wait_for_reply
from gymtwist.client.group_requests import Wait, Waiting
from gymtwist.client.joined_sessions import JoinedSessions, T
from gymtwist.client.message_values import Steps
from gymtwist.client.ready_batches import ReadySteps
from gymtwist.client.remote_method import explained
from gymtwist.client.reset_arguments import warn_unseeded
from gymtwist.client.session_requests import Stepped
from gymtwist.client.user_values import integer_of
from gymtwist.error_texts import RESET_ALL
from gymtwist.protocol import all_messages, messages
from gymtwist.spaces.gymnasium_spaces import info_restorer

#: The infos key with the indices of a batch's environments, as in EnvPool.
ENV_ID = "env_id"


class SessionGroup(JoinedSessions):
    """Sessions that each hold a share of the environments.

    Methods that need the replies to several requests are generators: see
    :data:`~gymtwist.client.group_requests.Waiting`. :meth:`send` and :meth:`receive` are not, because every step calls
    them.

    Args:
        sessions: The sessions, in the order of their environments.
        counts: How many environments each session has.
        single_action_space: The action space of one environment.
        single_observation_space: The observation space of one environment.
        autoreset: Whether environments are reset after the end of an episode.
    """

    #: Whether some of a session's environments can be stepped alone, if it has a process for each.
    _steps_some = True

    def __init__(
        self,
        sessions: list[Session],
        counts: list[int],
        single_action_space: spaces.Space[Any],
        single_observation_space: spaces.Space[Any],
        *,
        autoreset: bool,
    ) -> None:
        super().__init__(sessions, counts)
        self._action, self._observation = single_action_space, single_observation_space
        self._restore = info_restorer(single_observation_space)
        self._autoreset = autoreset
        #: All sessions; those whose reply was received most recently come last.
        self._turns = list(range(len(sessions)))
        #: Steps some environments of the only session; None if it steps only all of them, or there are several
        #: sessions.
        self._some: ReadySteps | None = None
        if self._steps_some and len(sessions) == 1 and sessions[0].made.step_ready:
            self._some = ReadySteps(sessions[0], single_action_space, single_observation_space, autoreset=autoreset)

    # Resets

    def reset(self, seeds: Any, options: dict[str, Any] | None, mask: Any) -> Waiting[tuple[Any, dict[str, Any]]]:
        """Begin episodes.

        Args:
            seeds: One seed for all environments, one for each, or None.
            options: Options of the environments.
            mask: Which environments to reset: bool, of shape (total,); None for all.
        """
        self._check_idle()
        requests = self._resets(seeds, options, mask)
        replies = yield from self._reset(requests, mask)
        for reply in replies.values():
            warn_unseeded(reply)
        infos = [replies[index].info if index in replies else {} for index in range(len(self.sessions))]
        return self._whole(self._views), self.infos(infos)

    def verify_seed(self, seeds: Any) -> Waiting[bool]:
        """Verify seeds in each session; see :meth:`~gymtwist.client.remote_vector_env.RemoteVectorEnv.verify_seed`."""
        self._check_idle()
        requests = self._resets(seeds, None, None)
        verifying = {index: msgspec.structs.replace(each, verify_seed=True) for index, each in requests.items()}
        replies = yield from self._reset(verifying, None)
        return all(reply.seeded for reply in replies.values())

    def _reset(self, requests: Mapping[int, messages.Reset], mask: Any) -> Waiting[dict[int, messages.ResetDone]]:
        """Send the requests to their sessions; return the replies by session."""
        self.keep()
        self.resetting.clear()  # their replies were not waited for to the end

        def ask(index: int) -> None:
            self._before_reset(index)
            self.sessions[index].send(requests[index])

        replies = yield from self._together(ask, lambda index: self._reset_done(index, mask), requests)
        return dict(zip(requests, replies, strict=True))

    def _before_reset(self, index: int) -> None:
        self.sessions[index].before_reset()

    def _reset_done(self, index: int, mask: Any) -> messages.ResetDone:
        """Wait for the reply to a reset."""
        session = self.sessions[index]
        reply = session.receive(messages.ResetDone)
        self._views[index] = session.read(lambda: session.values.view(reply.observation))
        self._failed.discard(index)
        self._waiting[self._part(index)] &= False if mask is None else ~mask[self._part(index)]
        return reply

    def _resets(self, seeds: Any, options: dict[str, Any] | None, mask: Any) -> dict[int, messages.Reset]:
        """Make the request for each session that has environments to reset."""
        requests: dict[int, messages.Reset] = {}
        for index, (start, count) in enumerate(zip(self.starts, self._counts, strict=True)):
            chosen = None if mask is None else mask[start : start + count].tolist()
            if chosen is not None:
                self._check_mask(index, chosen)
                if not any(chosen):
                    continue
                if all(chosen):
                    chosen = None
            seed = seeds
            if isinstance(seeds, list):
                seed = seeds[start : start + count]
            elif seeds is not None:  # as in Gymnasium, each environment gets its own
                seed = seeds + start
            requests[index] = messages.Reset(seed, options, chosen)
        return requests

    def _check_mask(self, index: int, chosen: list[bool]) -> None:
        """Check that those of a session's environments that are not reset have an episode and a last observation."""
        if index in self._failed and not all(chosen):
            text = RESET_ALL
            if any(view is not None for view in self._views):
                text = "they share a process that has failed: reset all of them"
        elif self._views[index] is None and not any(chosen):
            text = "their last observations are lost: reset some of them, too"
        else:
            return
        error = ResetNeeded(text, reset_needed=True)
        error.renumber(self.starts[index], self._counts[index])
        raise error

    # Steps

    def send(self, actions: Any) -> None:
        """Request a step; all actions are checked before any is sent."""
        self._check_playing(self._waiting)
        parts = self._parts(actions)
        frames = self._each(lambda index: self._frame(index, parts[index]))
        self._ask(self._sender(frames))

    def _sender(self, frames: Mapping[int, bytes] | Sequence[bytes]) -> Callable[[int], None]:
        """Return the function that requests the step of a session."""
        return self._asker(frames)

    def _asker(self, frames: Mapping[int, bytes] | Sequence[bytes]) -> Callable[[int], None]:
        """Return the function that sends a session its frame."""
        return lambda index: self.sessions[index].send_step(frames[index])

    def _frame(self, index: int, action: Any) -> bytes:
        values = self.sessions[index].values
        return values.framed(values.checked(action))

    def receive(self) -> Stepped:
        """Wait for the replies to a step."""
        stepped = self._answers(self._begun_or_stepped if self.resetting else self._stepped)
        joined = self._joined(stepped, self._views, self._counts)
        if not self._autoreset:
            self._waiting |= joined[2] | joined[3]
        return joined

    def _stepped(self, index: int) -> Stepped:
        """Wait for a session's reply to a step."""
        session = self.sessions[index]
        stepped = session.receive_step(session.values.view)
        self._views[index] = stepped[0]
        return stepped

    def _begun_or_stepped(self, index: int) -> Stepped:
        return self._begun(index) if index in self.resetting else self._stepped(index)

    def _begun(self, index: int) -> Stepped:
        """Wait for a session's reply to a reset; return it like the reply to a step."""
        self.resetting.discard(index)
        reply = self._reset_done(index, None)
        warn_unseeded(reply)
        flags = np.zeros(self._counts[index], np.bool_)
        return self._views[index], self._no_rewards(index), flags, flags, reply.info

    def _no_rewards(self, index: int) -> Any:
        space = self.sessions[index].values.reward_space
        return np.zeros((self._counts[index], *(() if space is None else space.shape or ())))

    def _joined(self, stepped: Sequence[Stepped], views: Sequence[Any], counts: Sequence[int]) -> Stepped:
        rewards, terminated, truncated = (np.concatenate([each[part] for each in stepped]) for part in (1, 2, 3))
        return self._whole(views), rewards, terminated, truncated, self.infos([each[4] for each in stepped], counts)

    # Steps of the environments that are ready first

    @property
    def is_stepping_some(self) -> bool:
        """Whether some environments of the only session are in a step begun by :meth:`send_to`."""
        return bool(self.sessions[0].stepping)

    def check_sending_all(self) -> None:
        """Check that no environment is in a step begun by :meth:`send_to`.

        Raises:
            RequestRefused: Some environments are.
        """
        if self.is_stepping_some:
            raise RequestRefused(
                "some environments are in a step; take their results with recv() first", code="replies-outstanding"
            )

    def take(self) -> None:
        """Begin to receive the first outstanding reply of each session; see :meth:`Session.take`."""
        idle = [index for index, session in enumerate(self.sessions) if not session.outstanding]
        if idle and len(idle) < len(self.sessions):
            self.sessions[idle[0]].connection.check_open()
            error = RequestRefused(
                "nothing was sent to it that could be received; take the replies of others with recv(min_ready=...)",
                code="nothing-sent",
            )
            error.renumber(self.starts[idle[0]], self._counts[idle[0]])
            raise error
        for session in self.sessions:
            session.take()

    def send_resets(self, seeds: Any, options: dict[str, Any] | None, mask: Any) -> None:
        """Begin episodes without waiting for the replies; the arguments are those of :meth:`reset`."""
        requests = self._resets(seeds, options, mask)
        for index, request in requests.items():
            self._check_idle([index])
            if request.mask is not None:
                raise self._refused_part(index, "reset all of them, or none")

        def ask(index: int) -> None:
            self._before_reset(index)
            self.sessions[index].send(requests[index])
            self.sessions[index].outstanding += 1
            self.resetting.add(index)

        self._ask(ask, requests)

    def send_to(self, actions: Any, env_ids: Any) -> Waiting[None]:
        """Request a step of some environments; all actions are checked before any is sent.

        Args:
            actions: A batch with an action for each of these environments.
            env_ids: The indices of the environments.
        """
        positions = self._positions(env_ids)
        if batching.length(self._action, actions) != len(positions):
            raise InvalidAction(f"not a batch of {len(positions)} actions, one for each of env_ids: {actions!r:.200}")
        if self._some is not None:
            yield from self._some.send(list(positions), actions)
            return
        asked = []
        for index, count in enumerate(self._counts):
            here = sum(each in positions for each in range(self.starts[index], self.starts[index] + count))
            if here not in (0, count):
                raise self._refused_part(index, "send actions for all of them, or for none")
            if here:
                asked.append(index)
                self._check_idle([index])
        is_asked = np.zeros(self.total, np.bool_)
        is_asked[list(positions)] = True
        self._check_playing(self._waiting & is_asked)

        def frame(index: int) -> bytes:
            part = self._part(index)
            places = [positions[each] for each in range(part.start, part.stop)]
            return self._frame(index, batching.chosen(self._action, actions, places))

        frames = dict(zip(asked, [self._numbered(frame, index) for index in asked], strict=True))
        self._ask(self._sender(frames), asked)
        for index in asked:
            self.sessions[index].outstanding += 1

    def receive_ready(self, least: Any) -> Waiting[Stepped]:
        """Wait until some environments have finished their steps; see ``RemoteVectorEnv.recv``."""
        if self.is_stepping_some:
            return (yield from self._receive_some(least))
        flying = [index for index in self._turns if self.sessions[index].outstanding]
        sent = sum(self._counts[index] for index in flying)
        if not sent:
            self.sessions[0].take()  # this raises an error
        least = checked_least(least, sent)
        taken: list[int] = []
        while sum(self._counts[index] for index in taken) < least:
            left = [index for index in flying if index not in taken]
            yield Wait(left, 1, taken=False)
            for index in self._wait_for(left):
                taken.append(index)
                if sum(self._counts[index] for index in taken) >= least:
                    break
        taken.sort()
        self._turns = [index for index in self._turns if index not in taken] + taken
        for index in taken:
            self.sessions[index].take()
        stepped = self._answers(self._begun_or_stepped, taken)
        counts = [self._counts[index] for index in taken]
        ids = np.concatenate([np.arange(self.total, dtype=np.int32)[self._part(index)] for index in taken])
        views = [self._views[index] for index in taken]
        whole, rewards, terminated, truncated, infos = self._joined(stepped, views, counts)
        if not self._autoreset:
            self._waiting[ids] |= terminated | truncated
        return whole, rewards, terminated, truncated, {**infos, ENV_ID: ids}

    def _receive_some(self, least: Any) -> Waiting[Stepped]:
        """Wait for steps of some environments of the only session."""
        assert self._some is not None
        count = checked_least(least, len(self.sessions[0].stepping))
        self._some.ask(count)
        batch = yield from self._some.receive(count)
        infos = self.infos([batch.info], [count])
        return (*batch[1:5], {**infos, ENV_ID: np.array(batch.env_ids, np.int32)})

    def _wait_for(self, indices: Sequence[int]) -> list[int]:
        """Wait for a reply to one of several sessions; return all sessions that have one."""
        return [indices[place] for place in wait_for_reply([self.sessions[index].connection for index in indices])]

    def _positions(self, env_ids: Any) -> dict[int, int]:
        """Return the place in the batch of each environment."""
        try:
            ids = [operator.index(each) for each in env_ids]
        except TypeError:
            ids = []
        positions = {each: place for place, each in enumerate(ids) if 0 <= each < self.total}
        if not ids or len(positions) != len(ids) or bool in map(type, env_ids):  # a mask is not a list of ids
            raise RequestRefused(
                f"env_ids is {env_ids!r:.200}: expected different integers from 0 to {self.total - 1}",
                code="invalid-field",
            )
        return positions

    def _refused_part(self, index: int, remedy: str) -> RequestRefused:
        """Return the error for a request that concerns only some of a session's environments."""
        error = RequestRefused(
            f"they share a process: {remedy}, or connect with processes={self.total}", code="invalid-field"
        )
        error.renumber(self.starts[index], self._counts[index])
        return error

    def step_many(self, actions: Any, count: int | None, observations: messages.ObservationsWanted) -> Waiting[Steps]:
        """Take several steps; all actions are checked before any is sent."""
        self._check_idle()
        self._check_playing(self._waiting)
        if count is None:
            try:
                listed = [self._parts(each) for each in actions]
            except TypeError as error:
                raise RequestRefused(f"step_many: {error}", code="invalid-field") from error
            shares: list[Any] = [[each[index] for each in listed] for index in range(len(self.sessions))]
        else:
            shares = self._parts(actions)

        def request(index: int) -> messages.StepMany:
            values = self.sessions[index].values
            for action in [shares[index]] if count is not None else shares[index]:
                values.checked(action)
            return values.many(shares[index], count, observations)

        requests = self._each(request)
        done = yield from self._together(
            lambda index: self.sessions[index].send(requests[index]),
            lambda index: self.sessions[index].receive_many(observations),
        )
        taken = {len(each.rewards) for each in done}
        if len(taken) > 1:
            # An episode has ended without autoreset, while the other sessions went on.
            self.lose()
            raise ResetNeeded(
                "the processes took different numbers of steps, as an episode has ended in one of them; reset all "
                "environments, and take single steps where autoreset is disabled",
                reset_needed=True,
            )
        steps = self._joined_many(done, taken.pop() if observations == "all" else None)
        if not self._autoreset:
            self._waiting |= steps.terminated | steps.truncated
        return steps

    def _joined_many(self, done: list[Steps], each_of: int | None) -> Steps:
        if each_of is None:
            self._views = [each.observations for each in done]
            seen: Any = self._whole(self._views)
        else:
            self._views = [each.observations[-1] for each in done]
            steps = [self._whole([each.observations[index] for each in done]) for index in range(each_of)]
            seen = np.array(steps) if isinstance(steps[0], np.ndarray) else steps
        return Steps(
            seen,
            np.concatenate([each.rewards for each in done], axis=1),
            np.concatenate([each.terminated for each in done]),
            np.concatenate([each.truncated for each in done]),
            self.infos([each.info for each in done]),
        )

    def _parts(self, actions: Any) -> list[Any]:
        try:
            if batching.length(self._action, actions) != self.total:
                raise ValueError(f"not a batch of {self.total} actions: {actions!r:.200}")
            return [
                batching.part(self._action, actions, start, start + count)
                for start, count in zip(self.starts, self._counts, strict=True)
            ]
        except (ValueError, TypeError, IndexError) as error:
            text = f"{error}; the action space of each is {self._action}"
            raise InvalidAction(text[:500]) from error

    def _whole(self, views: Sequence[Any]) -> Any:
        return batching.whole(self._observation, views)

    def infos(self, infos: list[dict[str, Any]], counts: Sequence[int] | None = None) -> dict[str, Any]:
        """Join the infos of all sessions or of some.

        Args:
            infos: The infos of each session.
            counts: How many environments each session has; None for the counts of all sessions.
        """
        counts = self._counts if counts is None else counts
        is_json = self.sessions[0].values.is_json
        parts = [
            vector_infos.restored(each, count, self._restore, is_json=is_json)
            for each, count in zip(infos, counts, strict=True)
        ]
        return vector_infos.joined(parts, counts)

    def sample(self, seed: int | None) -> Waiting[Any]:
        """Have each session sample actions."""
        self.keep()

        def request(index: int) -> messages.Sample:
            return messages.Sample(None if seed is None else seed + self.starts[index])

        def draw(index: int) -> Any:
            session = self.sessions[index]
            reply = session.receive(messages.Sampled)
            return session.read(lambda: session.values.action(reply.action))

        drawn = yield from self._in_turn(request, draw)
        return batching.whole(self._action, drawn)

    def call(self, request: messages.Call) -> Waiting[tuple[Any, ...]]:
        """Have each session call a method of its environments."""
        self.keep()

        def answer(index: int) -> list[Any]:
            reply = self.sessions[index].receive(messages.Called)
            return self.sessions[index].read(lambda: listed(reply.value, self._counts[index]))

        groups = yield from self._reach(lambda index: request, answer)
        return tuple(each for values in groups for each in values)

    def set(self, name: str, values: list[Any]) -> Waiting[None]:
        """Have each session set an attribute of its environments."""
        self.keep()
        yield from self._reach(
            lambda index: messages.Set(name, values[self._part(index)]),
            lambda index: self.sessions[index].receive(messages.AttributeSet),
        )

    def _reach(self, request: Callable[[int], all_messages.Request], answer: Callable[[int], T]) -> Waiting[list[T]]:
        self._check_idle()
        # All requests are encoded before any is sent.
        frames = self._each(lambda index: self.sessions[index].encoded(request(index)))
        try:
            return (yield from self._together(self._asker(frames), answer))
        except RequestRefused as error:
            raise explained(error) from None

    def render(self) -> Waiting[tuple[Any, ...]]:
        """Have each session render."""
        self.keep()

        def frames(index: int) -> list[Any]:
            session = self.sessions[index]
            reply = session.receive(messages.Rendered)
            return session.read(lambda: frames_of(reply))

        groups = yield from self._in_turn(lambda index: messages.Render(), frames)
        return tuple(frame for group in groups for frame in group)


def check_same_spaces(sessions: Sequence[Session], starts: Sequence[int]) -> None:
    """Check that the environments of all sessions have the same spaces.

    Args:
        sessions: The sessions.
        starts: The index of each session's first environment.

    Raises:
        RequestRefused: The spaces differ.
    """
    first = sessions[0].made
    for session, start in zip(sessions, starts, strict=True):
        for name in ("single_action_space", "single_observation_space", "reward_space"):
            if getattr(session.made, name) != getattr(first, name):
                text = (
                    f"environment {start}: the {name.removeprefix('single_')} differs from that of the first "
                    "environment; environments that step together have the same spaces"
                )
                raise RequestRefused(text, code="invalid-field", environments=(start,))


def checked_least(least: Any, sent: int) -> int:
    """Check how many of the environments that were sent actions to wait for; None means all.

    Raises:
        RequestRefused: The number is invalid, or there are fewer.
    """
    try:
        count = sent if least is None else integer_of(least)
    except TypeError:
        count = 0
    if not 1 <= count <= sent:
        raise RequestRefused(
            f"min_ready is {least!r:.80}: expected 1 to {sent}, the number of environments that were sent actions",
            code="nothing-sent",
        )
    return count


def listed(value: Any, count: int) -> list[Any]:
    """Check that a value in a reply is a list with an element for each environment; return it.

    Raises:
        ValueError: It is not such a list.
    """
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"no list of {count} values, one for each environment")
    return value


def frames_of(reply: messages.Rendered) -> list[Any]:
    """Return the frames of several environments.

    Raises:
        ValueError: The reply does not contain a list.
    """
    if reply.frame is not None and not isinstance(reply.frame, list):
        raise ValueError("several environments render a list of frames")
    return reply.frame or []
