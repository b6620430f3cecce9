"""Makes environments as sessions do."""

from __future__ import annotations

from typing import Any

from gymtwist.envs import environment_plan, registry
from gymtwist.envs.environment_options import EnvironmentOptions


def make(environment: str, **options: Any) -> Any:
    """Make an environment: without options as for a client of the classic protocol, which has none."""
    return environment_plan.plan(registry.find(environment), EnvironmentOptions(**options) if options else None).make()
