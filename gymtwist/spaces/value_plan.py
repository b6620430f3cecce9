"""Plans of values with several arrays: one function packs all of them and one unpacks them, whatever their nesting.

Without a plan, the codec of a space with spaces inside it calls the codecs of its parts one by one. If all parts have
plans, which describe where their bytes are and what to make from them, both functions are generated when the codec is
compiled:

- To unpack, the message is viewed as an array of one structured dtype, whose fields are the parts.
- To pack, each part is checked, and the bytes are joined. A value that does not fit is left to the codecs of the parts,
which convert it or raise the error.

Generated source contains only our own names and numbers. The keys, dtypes and functions of a plan are variables in its
namespace.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gymtwist.spaces.layout import SMALL, Array

#: The maximum number of arrays in a value with generated functions, which take time to compile.
_MOST_LEAVES = 500


class LeafPlan(NamedTuple):
    """The plan of an array, or of a number.

    Attributes:
        dtype: The dtype.
        shape: The shape.
        offset: The offset in the layout, in bytes.
        finish: Makes the element from the view of its bytes, or from the number; None if that already is the element.
        number: The type of a number: ``int``, or the dtype's NumPy type; None for an array.
        pack: Converts a number to its bytes; raises any exception for a number that it cannot pack.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    finish: Callable[[Any], Any] | None = None
    number: type | None = None
    pack: Callable[[Any], bytes] | None = None


class NestPlan(NamedTuple):
    """The plan of a value with parts.

    Attributes:
        keys: The keys of a dictionary's parts; None for a tuple.
        parts: The plans of the parts, in the order of the layout.
    """

    keys: tuple[Any, ...] | None
    parts: tuple[Plan, ...]


Plan: TypeAlias = "LeafPlan | NestPlan"


def array_plan(
    dtype: np.dtype[Any], shape: tuple[int, ...], offset: int, finish: Callable[[Array], Array] | None
) -> LeafPlan | None:
    """Return the plan of an array; None if a view of its bytes is not the array."""
    return LeafPlan(dtype, shape, offset, finish) if dtype.isnative and 0 not in shape else None


def nest_plan(keys: Sequence[Any] | None, parts: Sequence[Plan | None]) -> NestPlan | None:
    """Return the plan of a value with parts; None if one of them has none."""
    planned = tuple(part for part in parts if part is not None)
    return NestPlan(None if keys is None else tuple(keys), planned) if len(planned) == len(parts) else None


def compile_plan(
    plan: NestPlan, size: int, pack_other: Callable[[Any], bytes], unpack_other: Callable[[Any], Any]
) -> tuple[Callable[[Any], bytes], Callable[[Any], Any]] | None:
    """Compile the functions that pack and unpack values.

    Args:
        plan: The plan of the values.
        size: The bytes of a value.
        pack_other: Packs a value that does not match the plan.
        unpack_other: Unpacks anything that is not a buffer of this size.

    Returns:
        The functions; None for a value without arrays, or with more than :data:`_MOST_LEAVES` of them.
    """
    source = _Source()
    element = source.add(plan, "value")
    if not 0 < len(source.leaves) <= _MOST_LEAVES:
        return None
    conditions = " and ".join(source.conditions)
    dtype = np.dtype(
        {
            "names": [str(number) for number in range(len(source.leaves))],
            "formats": [(leaf.dtype, leaf.shape) for leaf in source.leaves],
            "offsets": [leaf.offset for leaf in source.leaves],
            "itemsize": size,
        }
    )
    functions = f"""
def pack(value):
    try:
        if {conditions}:
            return join(({", ".join(source.packed)},))
    except Exception:
        pass
    return pack_other(value)

def unpack(buffer):
    kind = type(buffer)
    if (buffer.nbytes if kind is memoryview else len(buffer) if kind is bytes or kind is bytearray else -1) != {size}:
        return unpack_other(buffer)
    whole = ndarray((), dtype, buffer)
    return {element}
"""
    namespace = {
        **source.namespace,
        **{"ndarray": np.ndarray, "join": b"".join, "dtype": dtype},
        **{"pack_other": pack_other, "unpack_other": unpack_other},
    }
    exec(compile(functions, "<gymtwist.spaces.value_plan>", "exec"), namespace)
    return namespace["pack"], namespace["unpack"]


class _Source:
    """The expressions of a plan's functions.

    Attributes:
        namespace: The variables in the expressions.
        leaves: The plans of arrays and numbers, in order.
        conditions: What must be true for a value to be packed; each condition assigns the variables used by later ones.
        packed: The bytes of each array or number.
    """

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {}
        self.leaves: list[LeafPlan] = []
        self.conditions: list[str] = []
        self.packed: list[str] = []
        self._count = 0

    def add(self, plan: Plan, value: str) -> str:
        """Add the expressions of a value.

        Args:
            plan: The plan of the value.
            value: The expression of the value to pack.

        Returns:
            The expression of the unpacked value.
        """
        self._count += 1
        name = f"value{self._count}"
        if isinstance(plan, LeafPlan):
            return self._add_leaf(plan, value, name)
        kind = "tuple" if plan.keys is None else "dict"
        self.conditions.append(f"type({name} := {value}) is {kind}")
        if plan.keys is None:
            self.conditions.append(f"len({name}) == {len(plan.parts)}")
            return "(" + "".join(f"{self.add(part, f'{name}[{at}]')}, " for at, part in enumerate(plan.parts)) + ")"
        items = []
        for key, part in zip(plan.keys, plan.parts, strict=True):
            key_name = self._named("key", key)
            items.append(f"{key_name}: {self.add(part, f'{name}[{key_name}]')}")
        return "{" + ", ".join(items) + "}"

    def _add_leaf(self, leaf: LeafPlan, value: str, name: str) -> str:
        element = f'whole["{len(self.leaves)}"]'
        self.leaves.append(leaf)
        if leaf.number is not None:
            self.packed.append(f"{self._named('pack', leaf.pack)}({value})")
            element += ".item()" if leaf.number is int else "[()]"
        else:
            self.conditions += [
                f"type({name} := {value}) is ndarray",
                f"{name}.dtype == {self._named('dtype', leaf.dtype)}",
                f"{name}.shape == {self._named('shape', leaf.shape)}",
            ]
            is_small = math.prod(leaf.shape) * leaf.dtype.itemsize <= SMALL
            self.packed.append(f"{name}.tobytes()" if is_small else f'memoryview({name}).cast("B")')
        return element if leaf.finish is None else f"{self._named('finish', leaf.finish)}({element})"

    def _named(self, name: str, value: Any) -> str:
        """Add a variable to the namespace; return its name."""
        name = f"{name}{len(self.namespace)}"
        self.namespace[name] = value
        return name
