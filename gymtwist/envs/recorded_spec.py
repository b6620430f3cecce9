"""The specification of a recorded environment, from which a dataset's reader can make it again."""

from __future__ import annotations

import dataclasses
from typing import Any

from gymtwist.envs.environment_plan import EnvironmentPlan

#: The maximum length of a specification in characters: keyword arguments may contain arrays.
_MOST = 2**20


def spec_text(environment: Any, plan: EnvironmentPlan) -> str | None:
    """Return Gymnasium's specification of an environment, or of each of several, as JSON.

    Args:
        environment: The environment.
        plan: The plan that it was made from.

    Returns:
        The specification; None if it would not make an environment with these spaces: for a Gym environment, several
        that differ, wrappers around a vector environment, or arguments that JSON cannot represent.
    """
    if plan.of_gym or plan.members or plan.vector_wrappers:
        return None
    spec = environment.spec
    if plan.mode is not None:
        environments = getattr(environment.unwrapped, "envs", ())
        if environments:
            spec = environments[0].spec
        elif plan.wrappers:
            return None
        else:
            limit = plan.options.max_episode_steps
            spec = dataclasses.replace(
                plan.spec,
                kwargs={**plan.spec.kwargs, **plan.kwargs},
                max_episode_steps=plan.spec.max_episode_steps if limit is None else limit,
            )
    try:
        text: str = spec.to_json()
    except Exception:  # arguments may be anything
        return None
    return text if len(text) <= _MOST else None
