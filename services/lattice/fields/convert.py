"""Between the messages of FieldService and the values of fields. Decides nothing."""

from collections.abc import Iterator
from datetime import datetime

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.any_pb2 import Any
from google.protobuf.timestamp_pb2 import Timestamp

from girih.lattice.v1 import fields_pb2 as pb
from services.lattice.arrays.content import FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Lengths, region_of
from services.lattice.enums import NUMBER_TYPES, number_type
from services.lattice.fields.states import FieldState
from services.lattice.fields.statistics import Statistics, StatisticsQuery
from services.lattice.fields.uploads import Upload
from services.lattice.fields.writing import FieldWrite
from services.lattice.storage.arrays import ArrayLayout, ArrayPlace
from services.plumbing import validation
from services.plumbing.errors import Violations
from services.plumbing.wire import field_head

_MEDIA_TYPES = {
    pb.ARRAY_FORMAT_UNSPECIFIED: "application/octet-stream",
    pb.ARRAY_FORMAT_RAW: "application/octet-stream",
    pb.ARRAY_FORMAT_NPY: "application/x-npy",
}
_WRITE = pb.DESCRIPTOR.services_by_name["FieldService"].methods_by_name["WriteField"]
_NPY = _MEDIA_TYPES[pb.ARRAY_FORMAT_NPY]
_PIECE_BYTES = 1 << 18
"""Of an answer. What is smaller costs calls, what is larger memory."""


def number_type_of(request: pb.CreateFieldRequest | pb.BeginUploadRequest) -> NumberType:
    """The type that the contract requires."""
    kind = number_type(request.number_type)
    assert kind is not None, "the contract's rules are checked"
    return kind


def field_write(request: pb.WriteFieldRequest) -> FieldWrite:
    """What the first message of a write says; raises InvalidInput naming every bad field."""
    bad = Violations()
    validation.add_violations(request, bad)
    for field in ("lattice_id", "name"):
        if not getattr(request, field):
            bad.add(field, "must be given in the first message")
    validation.add_media_type_violation(request.body.content_type, _WRITE, bad)
    bad.raise_if_any()
    return FieldWrite(
        name=request.name,
        number_type=number_type(request.number_type),
        origin=request.origin,
        shape=request.shape,
        steps=request.steps,
        content_digest=request.content_digest,
        is_npy=request.body.content_type == _NPY,
    )


def field_to_proto(tenant: str, lattice_id: str, shape: Lengths, state: FieldState) -> pb.Field:
    content = state.content
    layout = ArrayLayout.of(content.number_type, shape)
    array = ArrayPlace(tenant, lattice_id, content.array_id).folder if content.array_id else ""
    return pb.Field(
        lattice_id=lattice_id,
        name=state.name,
        number_type=NUMBER_TYPES[content.number_type],
        shape=shape,
        size_bytes=layout.size_bytes,
        digest=content.digest,
        chunk_shape=layout.chunking.chunk_shape,
        array=array,
        revision=state.revision,
        written_at=_timestamp(state.written_at),
    )


def statistics_query(request: pb.GetStatisticsRequest, shape: Lengths) -> StatisticsQuery:
    return StatisticsQuery(
        region=region_of(shape, request.origin, request.shape, request.steps),
        bins=request.bins,
        low=request.low if request.HasField("low") else None,
        high=request.high if request.HasField("high") else None,
    )


def statistics_to_proto(statistics: Statistics, content: FieldContent) -> pb.GetStatisticsResponse:
    response = pb.GetStatisticsResponse(
        sites=statistics.sites,
        nan_count=statistics.nan_count,
        content_digest=statistics.digest.hexdigest(),
        digest=content.digest,
        elapsed_ns=statistics.elapsed_ns,
    )
    if not statistics.counted:
        return response
    response.low, response.high = statistics.low, statistics.high
    response.mean, response.variance = statistics.mean, statistics.variance
    if content.number_type.is_whole:
        response.whole_low, response.whole_high = int(statistics.low), int(statistics.high)
    if statistics.histogram is not None:
        response.histogram.edges.extend(statistics.histogram.edges)
        response.histogram.counts.extend(statistics.histogram.counts)
    return response


def upload_to_proto(upload: Upload) -> pb.Upload:
    return pb.Upload(
        upload_id=upload.place.array_id,
        offset=upload.offset,
        size_bytes=upload.layout.size_bytes,
        expires_at=_timestamp(upload.expires_at),
    )


def media_type(request: pb.ReadFieldRequest) -> str:
    return _MEDIA_TYPES[request.format]


def body_pieces(
    media_type: str, data: memoryview | bytes, about: pb.Field | None = None
) -> Iterator[bytes]:
    """Bytes of an answer as serialized `HttpBody`s of at most 256 KiB. The first one says `about`
    which field."""
    head = HttpBody(content_type=media_type)
    if about is not None:
        head.extensions.append(_packed(about))
    for start in range(0, len(data), _PIECE_BYTES):
        piece = data[start : start + _PIECE_BYTES]
        begin = head.SerializeToString()
        yield b"".join((begin, field_head(HttpBody.DATA_FIELD_NUMBER, len(piece)), piece))
        head.ClearField("extensions")


def _packed(message: pb.Field) -> Any:
    packed = Any()
    packed.Pack(message)
    return packed


def is_npy(request: pb.ReadFieldRequest) -> bool:
    return request.format == pb.ARRAY_FORMAT_NPY


def _timestamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
