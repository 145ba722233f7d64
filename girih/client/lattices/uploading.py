"""Blocked sites that are too many for one message, on their way. Knows no call."""

import math
from collections.abc import Iterator, Sequence
from typing import Final

from google.api.httpbody_pb2 import HttpBody

from girih.client.lattices import messages
from girih.client.lattices.sources import InMemory, Pieces, ReadOnce, Source
from girih.client.lattices.values import Boundary, CornerRule, Lattice, Neighbourhood
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1 import uploads_pb2 as pb

MESSAGE_BYTES_MAX: Final = 1 << 22
"""Of a bitmap in one message."""

_UPLOADED_EACH_S: Final = 1 << 20


class LatticeUpload:
    """A new lattice whose blocked sites come as a stream, from the beginning in each call: with an
    id of its own it is created once."""

    def __init__(self, request: lattice_pb2.CreateLatticeRequest, source: Source) -> None:
        """What is created but for `blocked`, which `source` has."""
        self.head = pb.UploadLatticeRequest(
            shape=request.shape,
            boundaries=request.boundaries,
            neighbourhood=request.neighbourhood,
            corner_rule=request.corner_rule,
            bit_order=lattice_pb2.BIT_ORDER_LITTLE,
            request_id=request.request_id,
            content_digest=source.content_digest(),
        )
        self._source = source

    @classmethod
    def of(cls, request: lattice_pb2.CreateLatticeRequest) -> "LatticeUpload":
        return cls(request, InMemory(memoryview(request.blocked)))

    @classmethod
    def read_once(
        cls,
        shape: Sequence[int],
        pieces: Pieces,
        *,
        boundaries: Boundary | str | Sequence[Boundary | str],
        neighbourhood: Neighbourhood | str,
        corner_rule: CornerRule | str,
    ) -> "LatticeUpload":
        request = messages.create_request(
            shape,
            blocked=None,
            boundaries=boundaries,
            neighbourhood=neighbourhood,
            corner_rule=corner_rule,
        )
        return cls(request, ReadOnce(pieces))

    def messages(self) -> Iterator[pb.UploadLatticeRequest]:
        """Raises UploadInterrupted where the first bytes are not there any more."""
        return self._messages(self._source.pieces(0))

    def _messages(self, pieces: Iterator[bytes]) -> Iterator[pb.UploadLatticeRequest]:
        yield self.head
        for piece in pieces:
            yield pb.UploadLatticeRequest(body=HttpBody(data=piece))

    def timeout_s(self, ordinary_s: float) -> float:
        """How long it may take when nobody says: a second more for each MiB."""
        return ordinary_s + math.prod(self.head.shape) / 8 / _UPLOADED_EACH_S

    def broke_off(self) -> None:
        """A call has ended early: raises what reading the bytes raised."""
        if self._source.failure is not None:
            raise self._source.failure

    @staticmethod
    def result(response: pb.UploadLatticeResponse) -> Lattice:
        return messages.lattice(response.lattice)
