"""Takes a snapshot of an environment at a server, and plays the same steps behind it several times."""

from __future__ import annotations

from typing import Any

from gymtwist.client import RemoteError, connect
from gymtwist.protocol import dynamic_values

#: The steps before a snapshot, and behind it.
BEFORE, BEHIND = 20, 30
EQUAL = "equal"


def _played(env: Any, actions: list[Any]) -> list[bytes]:
    """Take steps, and reset without a seed where an episode has ended; return all that comes back."""
    found = []
    for action in actions:
        results = env.step(action)
        found.append(dynamic_values.to_messagepack({"step": list(results)}))
        if results[2] or results[3]:
            found.append(dynamic_values.to_messagepack({"reset": list(env.reset())}))
    return found


def what_follows(port: int, environment: str, seed: int) -> str:
    """Return :data:`EQUAL` if the same follows a snapshot each time, restored and in a branch, or what is otherwise.

    Args:
        port: The server's port.
        environment: The id of the environment.
        seed: The seed of its first episode and of its actions.
    """
    try:
        with connect(port, environment) as env:
            env.reset(seed=seed)
            actions = [env.sample(seed), *(env.sample() for _ in range(BEFORE + BEHIND - 1))]
            _played(env, actions[:BEFORE])
            behind = actions[BEFORE:]
            with env.snapshot() as here:
                first = _played(env, behind)
                with env.branch(here) as other:
                    branched = _played(other, behind)
                env.restore(here)
                restored = _played(env, behind)
    except RemoteError as error:
        return str(error)
    differing = [name for name, found in (("restored", restored), ("a branch", branched)) if found != first]
    return f"what follows differs: {', '.join(differing)}" if differing else EQUAL
