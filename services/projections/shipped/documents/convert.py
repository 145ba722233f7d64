"""Documents and elements between the wire and what is read."""

import json
from typing import Final

from girih.projections.v1 import documents_pb2 as pb
from services.plumbing import validation
from services.projections.shipped.documents.reading import (
    DocumentFilter,
    ElementFilter,
    ElementPlace,
    Page,
    Row,
)

PAGE_SIZE: Final = 100
PAGE_SIZE_MAX: Final = 1_000

_STATUSES: Final = {
    "uploaded": pb.DOCUMENT_STATUS_UPLOADED,
    "converted": pb.DOCUMENT_STATUS_CONVERTED,
    "analysed": pb.DOCUMENT_STATUS_ANALYSED,
}
_WORDS: Final = {status: word for word, status in _STATUSES.items()}
_SAME: Final = (
    *("document", "name", "media_type", "byte_count", "sha256", "uploaded_by", "formats"),
    *("page_count", "analyser", "analysis_version", "seen_element_count", "feedback_count"),
    *("policies", "finding_count", "breach_count", "last_position", "created_at", "updated_at"),
)
"""Columns of a document that are fields."""
_SAME_OF_ELEMENTS: Final = (
    *("document", "id", "ir_type", "name", "expression", "variables", "definition", "term"),
    *("context", "row_count", "column_count", "target", "reference_type", "created_at"),
)


def asked_documents(request: pb.ListDocumentsRequest) -> DocumentFilter:
    """Raises `InvalidInput` with every bad field."""
    validation.check(request)
    return DocumentFilter(
        status=_WORDS.get(request.status, ""),
        uploaded_by=request.uploaded_by,
        policy=request.policy,
    )


def asked_elements(request: pb.ListElementsRequest) -> tuple[ElementFilter, ElementPlace]:
    """Which, and behind which one. Raises `InvalidInput` with every bad field."""
    validation.check(request)
    wanted = ElementFilter(document=request.document, ir_type=request.ir_type, name=request.name)
    document, _, element = request.page_token.partition("/")
    return wanted, ElementPlace(document, element)


def page_size(asked: int) -> int:
    """How many rows a page has at most."""
    return min(asked or PAGE_SIZE, PAGE_SIZE_MAX)


def documents_response(page: Page) -> pb.ListDocumentsResponse:
    response = pb.ListDocumentsResponse(documents=map(document, page.rows), position=page.position)
    if not page.is_last:
        response.next_page_token = page.rows[-1]["document"]
    return response


def elements_response(page: Page) -> pb.ListElementsResponse:
    response = pb.ListElementsResponse(elements=map(_element, page.rows), position=page.position)
    if not page.is_last:
        last = page.rows[-1]
        response.next_page_token = f"{last['document']}/{last['id']}"
    return response


def document(row: Row) -> pb.Document:
    count = row["feedback_count"]
    return pb.Document(
        **{name: row[name] for name in _SAME},
        rating_mean=row["rating_sum"] / count if count else 0.0,
        status=_STATUSES[row["status"]],
    )


def _element(row: Row) -> pb.Element:
    location, table = row["location"], row["table_data"]
    return pb.Element(
        **{name: row[name] for name in _SAME_OF_ELEMENTS},
        table_data=[pb.Element.Row(cells=cells) for cells in json.loads(table or "[]")],
        location=pb.Element.Location(**json.loads(location)) if location else None,
        metadata=json.loads(row["metadata"]),
    )
