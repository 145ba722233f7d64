"""Transforms fields as callers of the service do."""

from typing import Any

import numpy as np

from girih.lattice.v1 import transforms_pb2 as pb
from girih.lattice.v1.transforms_pb2_grpc import TransformServiceStub
from tests.lattice.fields.caller import Fields
from tests.lattice.serving import Client


class Transforms:
    """The transforms of one tenant, through one replica."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.fields = Fields(client)
        self.stub = TransformServiceStub(client.channel)
        self.metadata = client.metadata

    async def lattice(self, array: np.ndarray, name: str = "a", **fields: Any) -> str:
        """A lattice with a field of such numbers."""
        lattice_id = (await self.client.create(shape=array.shape, **fields)).lattice_id
        await self.fields.write(lattice_id, name, array)
        return lattice_id

    async def transform(
        self, lattice_id: str, *transforms: dict[str, Any], name: str = "a", **options: Any
    ) -> pb.TransformFieldResponse:
        request = pb.TransformFieldRequest(
            lattice_id=lattice_id, name=name, transforms=transforms, **options
        )
        answer: pb.TransformFieldResponse = await self.stub.TransformField(
            request, metadata=self.metadata
        )
        return answer

    async def read(self, lattice_id: str, dtype: str, name: str = "a") -> np.ndarray:
        """The numbers of a field, in one row."""
        return np.frombuffer(await self.fields.read(lattice_id, name), dtype)
