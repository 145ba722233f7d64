"""The rpcs of `DocumentService`: convert, call, convert back."""

from collections.abc import Callable
from typing import Any

import grpc.aio

from girih.projections.v1 import documents_pb2 as pb
from services.plumbing import correlation, validation
from services.projections.errors import DocumentNotFound
from services.projections.shipped.documents import convert
from services.projections.shipped.documents.reading import DocumentReader

Context = grpc.aio.ServicerContext[Any, Any]


class DocumentServicer:
    """The documents of the calling tenant, over gRPC."""

    def __init__(self, reader: DocumentReader, check_fit: Callable[[], object]) -> None:
        """`check_fit` raises `ProjectionUnfit` where the tables may not be there."""
        self._reader = reader
        self._check_fit = check_fit

    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, _context: Context
    ) -> pb.ListDocumentsResponse:
        wanted = convert.asked_documents(request)
        self._check_fit()
        tenant, count_max = correlation.current().tenant, convert.page_size(request.page_size)
        page = await self._reader.documents(tenant, wanted, request.page_token, count_max)
        return convert.documents_response(page)

    async def GetDocument(
        self, request: pb.GetDocumentRequest, _context: Context
    ) -> pb.GetDocumentResponse:
        validation.check(request)
        self._check_fit()
        row, position = await self._reader.document(correlation.current().tenant, request.document)
        if row is None:
            raise DocumentNotFound(request.document, position)
        return pb.GetDocumentResponse(document=convert.document(row), position=position)

    async def ListElements(
        self, request: pb.ListElementsRequest, _context: Context
    ) -> pb.ListElementsResponse:
        wanted, behind = convert.asked_elements(request)
        self._check_fit()
        tenant, count_max = correlation.current().tenant, convert.page_size(request.page_size)
        page = await self._reader.elements(tenant, wanted, behind, count_max)
        return convert.elements_response(page)
