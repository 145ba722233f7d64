"""Writes and reads fields as callers of the service do."""

import io
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from google.api.httpbody_pb2 import HttpBody

from girih.lattice.v1 import fields_pb2 as pb
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1.fields_pb2_grpc import FieldServiceStub
from tests.lattice.serving import Client

NUMBER_TYPES = {
    "int16": lattice_pb2.NUMBER_TYPE_INT16,
    "int32": lattice_pb2.NUMBER_TYPE_INT32,
    "int64": lattice_pb2.NUMBER_TYPE_INT64,
    "uint8": lattice_pb2.NUMBER_TYPE_UINT8,
    "uint16": lattice_pb2.NUMBER_TYPE_UINT16,
    "float32": lattice_pb2.NUMBER_TYPE_FLOAT32,
    "float64": lattice_pb2.NUMBER_TYPE_FLOAT64,
}
_PIECE_BYTES = 1 << 20


def pieces(data: bytes, piece_bytes: int = _PIECE_BYTES) -> list[bytes]:
    return [data[at : at + piece_bytes] for at in range(0, len(data), piece_bytes)] or [b""]


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


class Fields:
    """The fields of one tenant, through one replica."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.stub = FieldServiceStub(client.channel)
        self.metadata = client.metadata

    async def write(
        self, lattice_id: str, name: str, array: np.ndarray | bytes, **options: Any
    ) -> pb.Field:
        """Write an array as raw bytes, or bytes as what `content_type` says they are."""
        if isinstance(array, np.ndarray):
            options.setdefault("number_type", NUMBER_TYPES[array.dtype.name])
            array = array.tobytes()
        answer = await self.send(lattice_id, name, pieces(array), **options)
        field: pb.Field = answer.field
        return field

    async def send(
        self,
        lattice_id: str,
        name: str,
        parts: Iterable[bytes],
        content_type: str = "",
        **options: Any,
    ) -> pb.WriteFieldResponse:
        async def requests() -> AsyncIterator[pb.WriteFieldRequest]:
            head = {"lattice_id": lattice_id, "name": name, **options}
            for data in parts:
                body = HttpBody(content_type=content_type, data=data)
                yield pb.WriteFieldRequest(body=body, **head)
                head = {}

        answer: pb.WriteFieldResponse = await self.stub.WriteField(
            requests(), metadata=self.metadata
        )
        return answer

    async def read(self, lattice_id: str, name: str, **options: Any) -> bytes:
        request = pb.ReadFieldRequest(lattice_id=lattice_id, name=name, **options)
        parts = self.stub.ReadField(request, metadata=self.metadata)
        return b"".join([part.data async for part in parts])

    async def get(self, lattice_id: str, name: str) -> pb.Field:
        request = pb.GetFieldRequest(lattice_id=lattice_id, name=name)
        answer = await self.stub.GetField(request, metadata=self.metadata)
        field: pb.Field = answer.field
        return field

    async def names(self, lattice_id: str) -> list[str]:
        request = pb.ListFieldsRequest(lattice_id=lattice_id)
        answer = await self.stub.ListFields(request, metadata=self.metadata)
        return [field.name for field in answer.fields]


def kept_files(storage: Path) -> list[Path]:
    """What is kept of arrays."""
    return [path for path in storage.rglob("*") if path.is_file()]
