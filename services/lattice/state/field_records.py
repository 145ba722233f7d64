"""Between the recorded payloads of fields and what they say happened.

Distrusts what it reads: others may have written into the stream. Whether numbers are as many as
the lattice has sites is left to whoever knows the lattice.
"""

import re
import zlib

from girih.lattice.v1 import chains_pb2
from girih.lattice.v1 import fields_pb2 as pb
from services.lattice import domain
from services.lattice.arrays.content import INLINE_BYTES_MAX, FieldContent
from services.lattice.arrays.number_type import NumberType
from services.lattice.arrays.region import Region
from services.lattice.enums import NUMBER_TYPES, number_type
from services.lattice.state.journal import (
    DamagedRecord,
    FieldDeleted,
    FieldWritten,
    NamedContent,
)
from services.lattice.state.records import array_id, change_from_proto, change_to_proto
from services.plumbing.errors import InvalidInput

_is_name = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}").fullmatch
_is_digest = re.compile(r"[0-9a-f]{64}").fullmatch


def written_to_proto(written: FieldWritten) -> pb.FieldWritten:
    """The payload that is recorded."""
    content, region = written.content, written.region
    payload = pb.FieldWritten(
        lattice_id=written.lattice_id,
        name=written.name,
        number_type=NUMBER_TYPES[content.number_type],
        digest=content.digest,
        array=content.array_id,
        values_zlib=zlib.compress(content.values) if content.values else b"",
        fill=content.fill,
        job_id=written.job_id,
        request_id=written.request_id,
    )
    if region is not None:
        payload.region.origin.extend(region.origin)
        payload.region.shape.extend(region.shape)
        payload.region.steps.extend(region.steps)
    if written.change is not None:
        payload.change.CopyFrom(change_to_proto(written.change))
    if written.imaginary is not None:
        payload.imaginary.CopyFrom(_imaginary_to_proto(written.imaginary))
    return payload


def deleted_to_proto(deleted: FieldDeleted) -> pb.FieldDeleted:
    """The payload that is recorded."""
    return pb.FieldDeleted(lattice_id=deleted.lattice_id, name=deleted.name)


def written_from_proto(payload: pb.FieldWritten) -> FieldWritten:
    """What was recorded; raises DamagedRecord when it cannot have been written by us."""
    kind = number_type(payload.number_type)
    if kind is None or len(payload.fill) != kind.size_bytes:
        raise DamagedRecord("the number type is unknown, or fill is no number of it")
    if not _is_digest(payload.digest):
        raise DamagedRecord("digest is not a SHA-256")
    region = payload.region
    return FieldWritten(
        lattice_id=_lattice_id(payload.lattice_id),
        name=_name(payload.name),
        content=FieldContent(
            number_type=kind,
            digest=payload.digest,
            fill=payload.fill,
            array_id=array_id(payload.array),
            values=_values(payload.values_zlib),
        ),
        region=Region(tuple(region.origin), tuple(region.shape), tuple(region.steps))
        if payload.HasField("region")
        else None,
        change=change_from_proto(payload.change) if payload.HasField("change") else None,
        imaginary=_imaginary(payload, kind) if payload.HasField("imaginary") else None,
        job_id=payload.job_id,
        request_id=payload.request_id,
    )


def deleted_from_proto(payload: pb.FieldDeleted) -> FieldDeleted:
    """What was recorded; raises DamagedRecord when it cannot have been written by us."""
    return FieldDeleted(lattice_id=_lattice_id(payload.lattice_id), name=_name(payload.name))


def _imaginary_to_proto(imaginary: NamedContent) -> chains_pb2.WrittenImaginary:
    content = imaginary.content
    return chains_pb2.WrittenImaginary(
        name=imaginary.name,
        digest=content.digest,
        array=content.array_id,
        values_zlib=zlib.compress(content.values) if content.values else b"",
        fill=content.fill,
    )


def _imaginary(payload: pb.FieldWritten, kind: NumberType) -> NamedContent:
    imaginary = payload.imaginary
    if not _is_digest(imaginary.digest) or len(imaginary.fill) != kind.size_bytes:
        raise DamagedRecord("the imaginary parts have no digest, or fill is no number of them")
    content = FieldContent(
        number_type=kind,
        digest=imaginary.digest,
        fill=imaginary.fill,
        array_id=array_id(imaginary.array),
        values=_values(imaginary.values_zlib),
    )
    return NamedContent(name=_name(imaginary.name), content=content)


def _lattice_id(text: str) -> domain.LatticeId:
    try:
        return domain.lattice_id(text)
    except InvalidInput:
        raise DamagedRecord("lattice_id is not a UUID") from None


def _name(text: str) -> str:
    if not _is_name(text):
        raise DamagedRecord("name is not that of a field")
    return text


def _values(values_zlib: bytes) -> bytes:
    if not values_zlib:
        return b""
    decompressor = zlib.decompressobj()
    try:
        values = decompressor.decompress(values_zlib, INLINE_BYTES_MAX + 1)
    except zlib.error as error:
        raise DamagedRecord("recorded numbers cannot be decompressed") from error
    if len(values) > INLINE_BYTES_MAX or not decompressor.eof:
        raise DamagedRecord("there are more recorded numbers than lie in an event")
    return values
