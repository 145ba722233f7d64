"""Fields of lattices: values, and what is asked of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

from google.api.httpbody_pb2 import HttpBody

from girih.client.lattices import arrays
from girih.client.lattices.messages import id_of
from girih.client.lattices.questions import Asked
from girih.client.lattices.values import Lattice, Site
from girih.lattice.v1 import fields_pb2 as pb
from girih.lattice.v1 import lattice_pb2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PIECE_BYTES = 1 << 20  # what the contract takes in a message
_KINDS = {
    lattice_pb2.NUMBER_TYPE_UINT8: "uint8",
    lattice_pb2.NUMBER_TYPE_UINT16: "uint16",
    lattice_pb2.NUMBER_TYPE_INT16: "int16",
    lattice_pb2.NUMBER_TYPE_INT32: "int32",
    lattice_pb2.NUMBER_TYPE_INT64: "int64",
    lattice_pb2.NUMBER_TYPE_FLOAT32: "float32",
    lattice_pb2.NUMBER_TYPE_FLOAT64: "float64",
}
_NUMBER_TYPES = {kind: number for number, kind in _KINDS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A named array of a lattice, and what it takes; not its numbers."""

    lattice_id: str
    name: str
    dtype: str
    """The type of its numbers, by numpy's name for it."""
    shape: tuple[int, ...]
    size_bytes: int
    digest: str
    """Equal fields have equal digests."""
    array: str
    """Where the operator finds it, as an array in the layout of Zarr; empty where it is small."""
    revision: int
    """In the stream of the lattice, of the event that wrote it."""
    written_at: datetime
    """By the server's clock, in UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What the numbers of a field, or of a region of it, are like. NaN is counted, and left out."""

    sites: int
    nan_count: int
    low: float
    high: float
    mean: float
    variance: float
    """Of all numbers as a whole population."""
    counts: tuple[int, ...]
    """How many lie in each interval of the histogram; empty unless it was asked for."""
    edges: tuple[float, ...]
    """Where its intervals begin, and where the last one ends."""
    content_digest: str
    """SHA-256 of the bytes of the numbers, little-endian and in C order."""
    digest: str
    """That of the field."""


def create(lattice: Lattice | str, name: str, dtype: str, fill: float) -> Asked[Field]:
    """Raises ValueError for a type that fields do not have."""
    if dtype not in _NUMBER_TYPES:
        raise ValueError(f"dtype must be one of {', '.join(_NUMBER_TYPES)}, not {dtype}")
    request = pb.CreateFieldRequest(
        lattice_id=id_of(lattice),
        name=name,
        number_type=_NUMBER_TYPES[dtype],
        fill=fill,
        request_id=str(uuid4()),
    )
    return Asked("CreateField", request, lambda response: field_of(response.field))


def get(lattice: Lattice | str, name: str) -> Asked[Field]:
    request = pb.GetFieldRequest(lattice_id=id_of(lattice), name=name)
    return Asked("GetField", request, lambda response: field_of(response.field))


def list_of(lattice: Lattice | str) -> Asked[tuple[Field, ...]]:
    request = pb.ListFieldsRequest(lattice_id=id_of(lattice))
    return Asked("ListFields", request, lambda response: tuple(map(field_of, response.fields)))


def delete(lattice: Lattice | str, name: str) -> Asked[None]:
    request = pb.DeleteFieldRequest(lattice_id=id_of(lattice), name=name)
    return Asked("DeleteField", request, lambda _response: None)


def statistics(
    lattice: Lattice | str,
    name: str,
    *,
    bins: int,
    low: float | None,
    high: float | None,
    region: "Box",
) -> Asked[Statistics]:
    request = pb.GetStatisticsRequest(
        lattice_id=id_of(lattice),
        name=name,
        bins=bins,
        low=low,
        high=high,
        origin=region.origin,
        shape=region.shape,
        steps=region.steps,
    )
    return Asked("GetStatistics", request, _statistics)


@dataclass(frozen=True, slots=True)
class Box:
    """A region of a field; what is empty means all, or each."""

    origin: Sequence[int] = ()
    shape: Sequence[int] = ()
    steps: Sequence[int] = ()

    @classmethod
    def of(
        cls, origin: Site | None, shape: Sequence[int] | None, steps: Sequence[int] | None
    ) -> "Box":
        return cls(*(tuple(int(one) for one in part or ()) for part in (origin, shape, steps)))


class Write:
    """An array on its way into a field: the same messages whenever they are asked for."""

    def __init__(
        self,
        lattice: Lattice | str,
        name: str,
        array: object,
        origin: Site | None,
        steps: Sequence[int] | None,
    ) -> None:
        """With `origin` or `steps` a region of the array's shape is written, else all of the
        field. Raises ValueError for a type that fields do not have."""
        kind, shape, self._bytes = arrays.numbers(array, tuple(_NUMBER_TYPES))
        is_region = origin is not None or steps is not None
        self.head = pb.WriteFieldRequest(
            lattice_id=id_of(lattice),
            name=name,
            number_type=_NUMBER_TYPES[kind],
            origin=tuple(int(one) for one in origin or ()),
            shape=shape if is_region else (),
            steps=tuple(int(one) for one in steps or ()),
        )

    def messages(self) -> Iterator[pb.WriteFieldRequest]:
        """At least one; each piece is copied when it is its turn."""
        head = self.head
        for begin in range(0, max(1, len(self._bytes)), _PIECE_BYTES):
            message = pb.WriteFieldRequest()
            message.CopyFrom(head)
            message.body.data = bytes(self._bytes[begin : begin + _PIECE_BYTES])
            yield message
            head = pb.WriteFieldRequest()

    @staticmethod
    def result(response: pb.WriteFieldResponse) -> Field:
        return field_of(response.field)


class Read:
    """The numbers of a field as they come, from the beginning in each call."""

    is_done = False

    def __init__(self, lattice: Lattice | str, name: str, region: Box) -> None:
        self._request = pb.ReadFieldRequest(
            lattice_id=id_of(lattice),
            name=name,
            format=pb.ARRAY_FORMAT_NPY,
            origin=region.origin,
            shape=region.shape,
            steps=region.steps,
        )
        self._reader = arrays.NpyReader()

    def begin(self) -> pb.ReadFieldRequest:
        self._reader = arrays.NpyReader()
        return self._request

    def take(self, response: HttpBody) -> None:
        self._reader.take(response.data)

    def result(self) -> "NDArray[np.generic]":
        return self._reader.result()


def dtype_of(number_type: lattice_pb2.NumberType) -> str:
    """Numpy's name of a type of numbers."""
    return _KINDS[number_type]


def field_of(message: pb.Field) -> Field:
    return Field(
        lattice_id=message.lattice_id,
        name=message.name,
        dtype=dtype_of(message.number_type),
        shape=tuple(message.shape),
        size_bytes=message.size_bytes,
        digest=message.digest,
        array=message.array,
        revision=message.revision,
        written_at=message.written_at.ToDatetime(tzinfo=UTC),
    )


def _statistics(message: pb.GetStatisticsResponse) -> Statistics:
    is_whole = message.whole_low != 0 or message.whole_high != 0
    return Statistics(
        sites=message.sites,
        nan_count=message.nan_count,
        low=message.whole_low if is_whole else message.low,
        high=message.whole_high if is_whole else message.high,
        mean=message.mean,
        variance=message.variance,
        counts=tuple(message.histogram.counts),
        edges=tuple(message.histogram.edges),
        content_digest=message.content_digest,
        digest=message.digest,
    )
