"""What is asked of the services of lattices, and how answers are read, for both stacks of gRPC.

Knows no call.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from google.protobuf.message import Message

from girih.client.lattices import arrays
from girih.client.lattices.values import CostRule, Lattice
from girih.lattice.v1 import costs_pb2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_COST_TYPES = {
    "uint8": costs_pb2.COST_TYPE_UINT8,
    "uint16": costs_pb2.COST_TYPE_UINT16,
    "float32": costs_pb2.COST_TYPE_FLOAT32,
    "float64": costs_pb2.COST_TYPE_FLOAT64,
}


@dataclass(frozen=True, slots=True)
class Asked(Generic[T]):
    """A question that is answered by one message."""

    rpc: str
    request: Message
    read: Callable[[Any], T]


class Collected(Protocol[T_co]):
    """An answer that comes in parts, from its beginning in each call, and is told when all are
    there: a cursor that brings nothing before."""

    @property
    def is_done(self) -> bool: ...

    def begin(self) -> Message: ...

    def take(self, response: Any) -> None: ...  # noqa: ANN401 - of the rpc

    def result(self) -> T_co: ...


@dataclass(frozen=True, slots=True)
class Streamed(Generic[T]):
    """A question that is answered in parts."""

    rpc: str
    answer: Collected[T]


def site_costs(
    costs: object | None, rule: CostRule | str, lattice: Lattice
) -> costs_pb2.SiteCosts | None:
    """The name of a field, or an array of the lattice's shape, as the contract says it.

    An array of another type than uint8, uint16, float32 and float64 travels as float64. Raises
    ValueError.
    """
    if costs is None:
        return None
    wire_rule = f"COST_RULE_{CostRule(rule).name}"
    if isinstance(costs, str):
        return costs_pb2.SiteCosts(field=costs, rule=wire_rule)
    kind, shape, values = arrays.numbers(costs, tuple(_COST_TYPES), "float64")
    if shape != lattice.shape:
        raise ValueError(f"costs must have the shape {lattice.shape}, not {shape}")
    return costs_pb2.SiteCosts(values=bytes(values), type=_COST_TYPES[kind], rule=wire_rule)


class Array(Generic[T]):
    """One array of numbers that comes in parts, each told with the index of its first."""

    is_done = False

    def __init__(
        self,
        request: Message,
        shape: tuple[int, ...],
        dtype: str,
        part: Callable[[Any], Sequence[float]],
        read: "Callable[[NDArray[np.generic], Any], T]",
        *,
        count_each: int = 1,
    ) -> None:
        """`part` takes the numbers out of a response, `count_each` for each index; `read` makes
        the answer of the array, of `shape`, and of the first response."""
        self._request = request
        self._shape = shape
        self._part = part
        self._read = read
        self._count_each = count_each
        self._values = arrays.filled(math.prod(shape), dtype, 0)
        self._first: Any = None

    def begin(self) -> Message:
        self._first = None
        return self._request

    def take(self, response: Any) -> None:  # noqa: ANN401 - of the rpc
        if self._first is None:
            self._first = response
        first = response.first_index * self._count_each
        arrays.put(self._values, first, self._part(response))

    def result(self) -> T:
        return self._read(self._values.reshape(self._shape), self._first)
