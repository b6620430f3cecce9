"""Checks a make message and plans the environment that it asks for, without making it."""

from __future__ import annotations

from typing import Any

import msgspec

from gymtwist.envs import environment_plan, environment_wrappers, error_locations, registry
from gymtwist.envs.environment_options import EnvironmentOptions
from gymtwist.envs.environment_plan import EnvironmentPlan
from gymtwist.envs.registry import RegisteredEnvironment
from gymtwist.errors import GymtwistError, InvalidField, UnknownSnapshot
from gymtwist.protocol.framing import Framing
from gymtwist.protocol.make_messages import Make
from gymtwist.worker import fork_trial
from gymtwist.worker.access_policy import AllowList, KwargPolicy, WrapperPolicy
from gymtwist.worker.async_attributes import InProcess
from gymtwist.worker.worker_settings import WorkerSettings


def planned(request: Make, settings: WorkerSettings, framing: Framing) -> EnvironmentPlan:
    """Check a make message and plan the environment.

    Args:
        request: The message.
        settings: The operator's options.
        framing: The framing of the client's messages.

    Raises:
        RequestError: The environment is not available with these options.
    """
    if request.branch:
        raise UnknownSnapshot("branch: no snapshot has this ticket: it was released, or its session has ended")
    _check_several(request, settings)
    registered = _find(request.id, settings)
    _check_kwargs(request.kwargs, registered, settings)
    policy = WrapperPolicy(settings.wrappers)
    policy.check(request.wrappers)
    policy.check(request.vector_wrappers, "vector_wrappers")
    options = EnvironmentOptions(**{name: getattr(request, name) for name in EnvironmentOptions.__struct_fields__})
    in_process = InProcess(settings.attributes, framing.value, debuggable=settings.debuggable)
    wrappers = environment_wrappers.checked(request.wrappers)
    vector_wrappers = environment_wrappers.checked(request.vector_wrappers, "vector_wrappers")
    if not request.each:
        plan = environment_plan.plan(registered, options, in_process, wrappers)
        return msgspec.structs.replace(plan, vector_wrappers=vector_wrappers)
    if len(request.each) != request.num_envs:
        raise InvalidField(
            f"each has {len(request.each)} elements: send one for each of num_envs {request.num_envs} environments"
        )
    found = {request.id: registered}

    def member(index: int) -> EnvironmentPlan:
        own = request.each[index]
        name = own.id or request.id
        try:
            its = found[name] = found.get(name) or _find(name, settings)
            _check_kwargs(own.kwargs, its, settings)
            return environment_plan.member(its, options, own, in_process, wrappers)
        except GymtwistError as error:
            error_locations.name_environments(error, (index,), str(error))
            raise

    plan = environment_plan.joined([member(index) for index in range(len(request.each))])
    return msgspec.structs.replace(plan, vector_wrappers=vector_wrappers)


def _check_several(request: Make, settings: WorkerSettings) -> None:
    """Check the number of environments, and that options for several are not sent for one."""
    if request.num_envs is not None:
        if request.num_envs > settings.max_envs:
            raise InvalidField(f"num_envs {request.num_envs}: the operator allows {settings.max_envs} (--max-envs)")
        return
    if request.vectorization_mode is not None:
        raise InvalidField("vectorization_mode is for several environments: send num_envs, too")
    if request.on_failure == "truncate":
        raise InvalidField('on_failure "truncate" is for several environments: send num_envs, too')
    if request.vector_wrappers:
        raise InvalidField("vector_wrappers are for several environments: send num_envs, too")


def _find(name: str, settings: WorkerSettings) -> RegisteredEnvironment:
    """Find an environment that the client may use.

    Raises:
        RequestError: It is unknown, or not allowed.
    """
    allowed = AllowList(settings.allow)
    allowed.check(name)
    registered = registry.find(name)
    allowed.check_meant(name, registered.spec.id)
    fork_trial.check(registered, settings)
    return registered


def _check_kwargs(kwargs: dict[str, Any], registered: RegisteredEnvironment, settings: WorkerSettings) -> None:
    KwargPolicy(settings.kwargs, restricted=bool(settings.allow)).check(kwargs, registered.spec.kwargs)
