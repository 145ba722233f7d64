"""Fields of lattices: values, and what is asked of them."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
from google.api.httpbody_pb2 import HttpBody

from girih.client.errors import DataDamaged, InvalidRequest, Unavailable, UploadOffset
from girih.client.lattices import arrays
from girih.client.lattices.messages import id_of
from girih.client.lattices.questions import Asked
from girih.client.lattices.sources import InMemory, Pieces, ReadOnce, Source
from girih.client.lattices.values import Lattice, Site
from girih.client.refusals import from_rpc_error
from girih.lattice.v1 import fields_pb2 as pb
from girih.lattice.v1 import lattice_pb2

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESUMED_BYTES = 1 << 23
"""What is larger is uploaded so that it can be gone on with: the service keeps whole chunks."""

_UPLOADED_EACH_S = 1 << 20
"""A transfer may take a second more for so many bytes, unless its caller says how long."""

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
    request = pb.CreateFieldRequest(
        lattice_id=id_of(lattice),
        name=name,
        number_type=_number_type(dtype),
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
        self.dtype, self.shape, self._bytes = arrays.numbers(array, tuple(_NUMBER_TYPES))
        is_region = origin is not None or steps is not None
        self.is_large = not is_region and len(self._bytes) > RESUMED_BYTES
        self.head = pb.WriteFieldRequest(
            lattice_id=id_of(lattice),
            name=name,
            origin=tuple(int(one) for one in origin or ()),
            shape=self.shape if is_region else (),
            steps=tuple(int(one) for one in steps or ()),
        )

    def messages(self) -> Iterator[pb.WriteFieldRequest]:
        """As a `.npy` file, whose header says the shape."""
        head = pb.WriteFieldRequest()
        head.CopyFrom(self.head)
        head.body.content_type = "application/x-npy"
        head.body.data = arrays.npy_header(self.dtype, self.shape)
        yield head
        for piece in InMemory(self._bytes).pieces(0):
            yield pb.WriteFieldRequest(body=HttpBody(data=piece))

    def upload(self, lattice: Lattice) -> "Upload":
        """The same in a way that can be gone on with; raises InvalidRequest for an array of
        another shape than the lattice's."""
        if self.shape != lattice.shape:
            described = f"must have the shape {list(lattice.shape)}, not {list(self.shape)}"
            raise InvalidRequest.unsent("array", described)
        return Upload(lattice, self.head.name, self.dtype, InMemory(self._bytes))

    @staticmethod
    def result(response: pb.WriteFieldResponse) -> Field:
        return field_of(response.field)


class Upload:
    """All of a field on its way, from where the service has kept it."""

    def __init__(self, lattice: Lattice | str, name: str, dtype: str, source: Source) -> None:
        """Raises ValueError for a type that fields do not have."""
        self._lattice_id = id_of(lattice)
        self._name = name
        self._number_type = _number_type(dtype)
        self._source = source
        self._upload = pb.Upload()
        self.is_interrupted = False
        """Messages were sent: GetUpload tells how far they came."""

    @classmethod
    def read_once(cls, lattice: Lattice | str, name: str, dtype: str, pieces: Pieces) -> "Upload":
        return cls(lattice, name, dtype, ReadOnce(pieces))

    def begin(self) -> pb.BeginUploadRequest:
        """Takes a second for each GiB of an array: its digest is computed first."""
        return pb.BeginUploadRequest(
            lattice_id=self._lattice_id,
            name=self._name,
            number_type=self._number_type,
            content_digest=self._source.content_digest(),
        )

    @property
    def where(self) -> pb.GetUploadRequest:
        return pb.GetUploadRequest(
            lattice_id=self._lattice_id, name=self._name, upload_id=self._upload.upload_id
        )

    def at(self, response: pb.BeginUploadResponse | pb.GetUploadResponse) -> None:
        """The service says where the upload is."""
        self._upload = response.upload

    def timeout_s(self, ordinary_s: float) -> float:
        """How long it may take when nobody says."""
        return ordinary_s + self._upload.size_bytes / _UPLOADED_EACH_S

    def messages(self) -> Iterator[pb.WriteFieldRequest]:
        """Raises UploadInterrupted where what comes next is not there any more."""
        self.is_interrupted = True
        head = pb.WriteFieldRequest(
            lattice_id=self._lattice_id,
            name=self._name,
            upload_id=self._upload.upload_id,
            offset=self._upload.offset,
        )
        return _with_head(head, self._source.pieces(self._upload.offset))

    def broke_off(self, error: BaseException) -> None:
        """A call has ended so: raises what reading the bytes raised, or that it is to be made
        again, since one that was cut off still goes on."""
        if self._source.failure is not None:
            raise self._source.failure
        if isinstance(error, grpc.RpcError) and isinstance(from_rpc_error(error), UploadOffset):
            raise Unavailable.no_answer("another call goes on with the upload") from None

    def result(self, response: pb.WriteFieldResponse) -> Field:
        """The field; raises InvalidRequest where its bytes have ended too early."""
        if response.HasField("field"):
            return field_of(response.field)
        described = f"must be {response.upload.size_bytes:,} bytes long, and is shorter"
        raise InvalidRequest.unsent("pieces", described)

    def has_made(self, field: Field) -> bool:
        """Whether a field is what this upload was: its answer may have been lost."""
        return field.array.endswith(f"/{self._upload.upload_id}")


def _with_head(
    head: pb.WriteFieldRequest, pieces: Iterator[bytes]
) -> Iterator[pb.WriteFieldRequest]:
    yield head
    for piece in pieces:
        yield pb.WriteFieldRequest(body=HttpBody(data=piece))


class Read:
    """The numbers of a field as they come. One that breaks off is gone on with, row after row, in
    the field as it was then: it is never one half of one write and one half of another."""

    def __init__(
        self,
        lattice: Lattice | str,
        name: str,
        region: Box,
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        """With a `path` the array is that of a new `.npy` file there."""
        self._request = pb.ReadFieldRequest(
            lattice_id=id_of(lattice),
            name=name,
            format=pb.ARRAY_FORMAT_NPY,
            origin=region.origin,
            shape=region.shape,
            steps=region.steps,
        )
        self._path = path
        self._reader = arrays.NpyReader(path)
        self._field: pb.Field | None = None
        self._is_resumed = False

    @property
    def is_done(self) -> bool:
        return self._reader.is_complete

    def begin(self) -> pb.ReadFieldRequest:
        axis, rows = self._reader.rewound()
        if self._field is None or rows == 0:
            self._reader = arrays.NpyReader(self._path)
            return self._request
        self._is_resumed = True
        return self._behind(self._field, axis, rows)

    def take(self, response: HttpBody) -> None:
        for extension in response.extensions:
            field = pb.Field()
            if self._field is None and extension.Unpack(field):
                self._field = field
        self._reader.take(response.data)

    def result(self) -> "NDArray[np.generic]":
        """Raises DataDamaged where all of a field was to come, in several calls or into a file,
        and has not the digest that the service says."""
        array, field = self._reader.result(), self._field
        is_checked = self._is_resumed or self._path is not None
        if is_checked and field is not None and self._is_whole(field):
            digest = arrays.digest(array, field.chunk_shape)
            if digest != field.digest:
                raise DataDamaged.received(digest, field.digest)
        return array

    @property
    def field(self) -> Field | None:
        """What was read; None of a service that does not say."""
        return None if self._field is None else field_of(self._field)

    def _is_whole(self, field: pb.Field) -> bool:
        return self._reader.result().shape == tuple(field.shape)

    def _behind(self, field: pb.Field, axis: int, rows: int) -> pb.ReadFieldRequest:
        request = pb.ReadFieldRequest()
        request.CopyFrom(self._request)
        request.format = pb.ARRAY_FORMAT_RAW
        request.at_revision = field.revision
        shape = list(self._reader.shape)
        shape[axis] -= rows
        request.shape[:] = shape
        steps = request.steps[axis] if request.steps else 1
        origin = list(request.origin) or [0] * len(shape)
        origin[axis] += rows * steps
        request.origin[:] = origin
        return request


def dtype_of(number_type: lattice_pb2.NumberType) -> str:
    """Numpy's name of a type of numbers."""
    return _KINDS[number_type]


def _number_type(dtype: str) -> lattice_pb2.NumberType:
    if dtype not in _NUMBER_TYPES:
        raise ValueError(f"dtype must be one of {', '.join(_NUMBER_TYPES)}, not {dtype}")
    return _NUMBER_TYPES[dtype]


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
