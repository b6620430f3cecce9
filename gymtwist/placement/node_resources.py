"""What a node has, what its sessions take, and which GPUs each session has."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from gymtwist.server.server_options import ServerOptions
from gymtwist.server.session_needs import holds, read_needs
from gymtwist.worker.access_policy import is_among

#: Resources are counted in ten-thousandths, as Ray does.
_UNITS = 10_000
#: How many sessions a node has room for if sessions take nothing.
_UNBOUNDED = 1000
_GPU = "GPU"
#: Prefixes of resources that Ray adds itself and no session takes.
_RAYS_OWN = ("memory", "object_store_memory", "node:", "accelerator_type:")
#: A resource that only the head node of a Ray cluster has.
HEAD = "node:__internal_head__"


class Demand(msgspec.Struct, frozen=True):
    """What one session takes.

    Attributes:
        resources: Units of each resource, by Ray's names; none is 0.
        labels: Conditions for the labels of its node.
        fields: For each resource and label, which option set its value; for error messages.
    """

    resources: tuple[tuple[str, int], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def bundle(self) -> dict[str, float]:
        """The resources in the form that Ray uses."""
        return {name: units / _UNITS for name, units in self.resources}

    def __str__(self) -> str:
        """Return a description for people."""
        parts = [f"{units / _UNITS:g} {name}" for name, units in self.resources]
        parts += [f"a node with {key}={condition}" for key, condition in self.labels]
        return ", ".join(parts) or "nothing"

    def field(self, name: str) -> str:
        """Return which option set the amount of a resource, or the condition for a label (``labels.zone``)."""
        return dict(self.fields)[name]


class Demands:
    """What sessions take, by the environment that each asks for first.

    Args:
        options: The options of the server.
    """

    def __init__(self, options: ServerOptions) -> None:
        named = (each.rpartition("=") for each in options.session_resource)
        self._all = {"CPU": options.session_cpus, _GPU: options.session_gpus}
        self._all |= {name: float(amount) for name, _, amount in named}
        self._fields = {"CPU": "--session-cpus", _GPU: "--session-gpus"}
        self._needs = read_needs(options.session_needs)
        #: The resources and the labels that are relevant to any session.
        self._named = sorted({*self._all, *(name for needs in self._needs.values() for name in needs.resources)})
        self._keys = sorted({key for needs in self._needs.values() for key in needs.labels})
        self.of = functools.lru_cache(maxsize=1024)(self._of)
        #: What a session takes if no pattern matches.
        self.usual = self._demand("", {}, {}, {})

    def _of(self, environment: str) -> Demand:
        """Return what a session of an environment takes.

        Args:
            environment: The id of the environment; empty for none.
        """
        for pattern, needs in self._needs.items():
            if pattern == "*" or is_among((pattern,), environment):
                own = {"CPU": needs.cpus, _GPU: needs.gpus, **needs.resources}
                fields = {"CPU": "cpus", _GPU: "gpus"} | {name: f"resources.{name}" for name in needs.resources}
                return self._demand(pattern, own, fields, needs.labels)
        return self.usual

    def kind(self, node: NodeResources) -> tuple[Any, ...]:
        """Return the values that distinguish kinds of nodes; others, such as the exact memory, differ on every node."""
        return node.among(self._named, self._keys)

    def _demand(
        self, pattern: str, own: Mapping[str, float | None], keys: Mapping[str, str], labels: Mapping[str, str]
    ) -> Demand:
        given = {name: amount for name, amount in own.items() if amount is not None}
        of_pattern = f'of "{pattern}" in --session-needs'
        fields = {name: self._fields.get(name, "--session-resource") for name in self._all}
        fields |= {name: f"{keys[name]} {of_pattern}" for name in given}
        fields |= {f"labels.{key}": f"labels.{key} {of_pattern}" for key in labels}
        amounts = {name: round(amount * _UNITS) for name, amount in (self._all | given).items()}
        taken = tuple((name, units) for name, units in amounts.items() if units)
        return Demand(taken, tuple(labels.items()), tuple(fields.items()))


class Taken(msgspec.Struct, frozen=True):
    """What one session has taken of a node.

    Attributes:
        demand: What it takes.
        gpus: The indices of its GPUs among the node's.
    """

    demand: Demand
    gpus: tuple[int, ...] = ()


class NodeResources:
    """The resources and labels of a node.

    Args:
        resources: Its resources, as reported by Ray.
        labels: Its labels.
        gpus: The ids of its GPUs; if there are fewer than its GPUs, they are numbered instead.
    """

    def __init__(
        self, resources: Mapping[str, float], labels: Mapping[str, str] | None = None, gpus: Sequence[str] = ()
    ) -> None:
        self._all = {name: round(amount * _UNITS) for name, amount in resources.items()}
        self._free = dict(self._all)
        self._labels = labels or {}
        count = self._all.get(_GPU, 0) // _UNITS
        self._gpus = list(gpus[:count]) if len(gpus) >= count else list(map(str, range(count)))
        self._free_gpus = [_UNITS] * count
        self._sessions = 0

    def among(self, resources: Sequence[str], labels: Sequence[str]) -> tuple[Any, ...]:
        """Return how much it has of these resources, and its values of these labels."""
        return tuple(self._all.get(name, 0) for name in resources), tuple(map(self._labels.get, labels))

    @property
    def shares(self) -> dict[str, tuple[float, float]]:
        """How much of each resource is taken, and the total, by name; without those that Ray adds itself."""
        return {
            name: ((units - self._free[name]) / _UNITS, units / _UNITS)
            for name, units in sorted(self._all.items())  # Ray tells them in any order
            if not name.startswith(_RAYS_OWN)
        }

    def spares(self, demand: Demand, held: Demand) -> bool:
        """Return whether a session would leave enough for another one, of the resources that both take."""
        needed = dict(held.resources)
        return all(
            self._free.get(name, 0) - units >= needed[name] for name, units in demand.resources if name in needed
        )

    def room(self, demand: Demand) -> int:
        """Return how many more sessions with this demand fit."""
        if self._unmet_label(demand) is not None:
            return 0
        rooms = (
            self._room_of_gpus(units) if name == _GPU else self._free.get(name, 0) // units
            for name, units in demand.resources
        )
        return min(rooms, default=max(0, _UNBOUNDED - self._sessions))

    def _room_of_gpus(self, units: int) -> int:
        if units < _UNITS:
            return sum(free // units for free in self._free_gpus)
        return self._free_gpus.count(_UNITS) // (units // _UNITS)

    def _unmet_label(self, demand: Demand) -> str | None:
        return next((key for key, condition in demand.labels if not holds(condition, self._labels.get(key))), None)

    def why_never(self, demand: Demand) -> str:
        """Return what the node lacks for such a session even when empty, as a clause; empty if it lacks nothing."""
        key = self._unmet_label(demand)
        if key is not None:
            value = self._labels.get(key)
            return f'{demand.field(f"labels.{key}")} is "{dict(demand.labels)[key]}"; ' + (
                f"the label {key} of the node is {value}" if value else f"the node has no label {key}"
            )
        for name, units in demand.resources:
            has = self._all.get(name, 0)
            if has < units:
                return f"{demand.field(name)} is {units / _UNITS:g}; the node has {has / _UNITS:g} {name}"
        return ""

    def take(self, demand: Demand) -> Taken:
        """Take what a session needs; there must be room for it.

        A fraction of a GPU is taken where least is left, so that other GPUs stay whole.
        """
        units = dict(demand.resources).get(_GPU, 0)
        each = min(units, _UNITS)
        fitting = sorted((free, index) for index, free in enumerate(self._free_gpus) if free >= each)
        chosen = tuple(index for _, index in fitting[: -(-units // _UNITS)])
        taken = Taken(demand, chosen)
        self._change(taken, -1)
        return taken

    def give_back(self, taken: Taken) -> None:
        """Give back what a session had taken."""
        self._change(taken, 1)

    def _change(self, taken: Taken, sign: int) -> None:
        self._sessions -= sign
        for name, units in taken.demand.resources:
            self._free[name] += sign * units
            if name == _GPU:
                for index in taken.gpus:
                    self._free_gpus[index] += sign * min(units, _UNITS)

    def gpus_of(self, taken: Taken) -> str | None:
        """Return the ids of a session's GPUs, for ``CUDA_VISIBLE_DEVICES``; None on a node without GPUs."""
        return ",".join(self._gpus[index] for index in taken.gpus) if self._gpus else None
