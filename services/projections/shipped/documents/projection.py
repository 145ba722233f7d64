"""Documents and what extractors saw in them, for lists and searches. Knows its tables.

What extractors see has streams of its own and may come before its document: then it waits in a
table, and is given to the document with the batch that the document comes in. So nothing refers to
what is not there, and nothing is lost. What is deleted or withdrawn is gone with all of it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import ClassVar, Final, TypeVar, cast

from girih.client import GoneReason, HistoryUnusable, Query, RecordedEvent
from girih.client.aggregates.values import Codec, NotAsDeclared
from girih.projection import PoisonPolicy, Projection, ProjectionTransaction
from services.plumbing.postgres.sql import load
from services.projections.shipped.documents.payloads import ElementExtracted, Ruled
from services.projections.shipped.documents.view import (
    EVENT_TYPES,
    DocumentRow,
    first_row,
    row_of,
)

T = TypeVar("T")

_PACKAGE: Final = "services.projections.shipped.documents.sql"
_DOCUMENT: Final = "document"
_EXTRACTION: Final = "extraction"
_EXTRACTED: Final = "element-extracted"
_WITHDRAWN: Final = "document-withdrawn"
_RULES: Final = "$streams"

_extracted: Final = Codec(ElementExtracted)
_ruled: Final = Codec(Ruled)


@dataclass
class _Batch:
    """Events that can be folded at once: none of them makes anything go."""

    documents: dict[str, list[RecordedEvent]] = field(default_factory=dict)
    elements: list[tuple[RecordedEvent, ElementExtracted]] = field(default_factory=list)

    def add(self, event: RecordedEvent) -> None:
        if event.gone is not None and event.gone.reason is not GoneReason.REDACTED:
            # Replayed from quarantine after its stream was deleted: what is built anew has none.
            return
        if event.type != _EXTRACTED:
            self.documents.setdefault(_document_of(event.stream), []).append(event)
        elif event.gone is None:
            self.elements.append((event, _extraction(event)))

    @property
    def touched(self) -> list[str]:
        """The documents that they are about."""
        return sorted({*self.documents, *(one.document for _, one in self.elements)})


class Documents(Projection):
    """`document_views` and `semantic_ir`."""

    name: ClassVar = "documents"
    migrations: ClassVar = f"{_PACKAGE}.migrations"
    # Anybody who may append can append a document that is none: the others go on.
    poison_policy = PoisonPolicy.QUARANTINE

    @property
    def queries(self) -> Sequence[Query]:
        return (
            Query(types=(*EVENT_TYPES, _WITHDRAWN), category=_DOCUMENT),
            Query(types=(_EXTRACTED,), category=_EXTRACTION),
            Query(types=("deleted", "tombstoned", "redacted"), category=_RULES),
        )

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        batch = _Batch()
        for event in events:
            if event.stream != _RULES and event.type != _WITHDRAWN:
                batch.add(event)
                continue
            # What comes before something goes is not what comes after.
            await _write(batch, transaction)
            batch = _Batch()
            await _take_away(event, transaction)
        await _write(batch, transaction)

    async def forget(self, transaction: ProjectionTransaction, row_count_max: int) -> int:
        rows = await transaction.fetch(
            _sql("forget"), transaction.tenant, transaction.generation, row_count_max
        )
        return cast("int", rows[0]["row_count"])


async def _write(batch: _Batch, transaction: ProjectionTransaction) -> None:
    if not batch.touched:
        return
    of = (transaction.tenant, transaction.generation)
    stored = await transaction.fetch(_sql("select_documents"), *of, batch.touched)
    withdrawn = {row["document"] for row in stored if row["is_withdrawn"]}
    rows = {row["document"]: row_of(row) for row in stored if not row["is_withdrawn"]}
    for document, events in batch.documents.items():
        if document not in withdrawn:
            rows[document] = _folded(rows.get(document) or first_row(events[0]), events)
    changed = [(*of, one, *rows[one].columns()) for one in batch.documents if one in rows]
    elements = [
        (*of, *_element_columns(event, one))
        for event, one in batch.elements
        if one.document not in withdrawn
    ]
    if changed:
        await transaction.execute_many(_sql("upsert_document"), changed)
    if elements:
        await transaction.execute_many(_sql("wait_for_document"), elements)
    await transaction.execute(_sql("link_elements"), *of, batch.touched)


def _folded(row: DocumentRow, events: Sequence[RecordedEvent]) -> DocumentRow:
    for event in events:
        row = row.behind(event)
    return row


async def _take_away(event: RecordedEvent, transaction: ProjectionTransaction) -> None:
    """What a withdrawal, or a rule over a stream, makes go."""
    of = (transaction.tenant, transaction.generation)
    if event.type == _WITHDRAWN:
        document = _document_of(event.stream)
        await transaction.execute(_sql("delete_document"), *of, document)
        await transaction.execute(_sql("note_withdrawal"), *of, document)
        return
    ruled = _payload(event, _ruled)
    category, _, document = ruled.stream.partition("-")
    position = int(ruled.position) if event.type == "redacted" else None
    if category == _EXTRACTION:
        await transaction.execute(_sql("delete_elements"), *of, document, position)
    elif category == _DOCUMENT and position is not None:
        await transaction.execute(_sql("redact_upload"), *of, document, position)
    elif category == _DOCUMENT:
        await transaction.execute(_sql("delete_document"), *of, document)


def _payload(event: RecordedEvent, codec: Codec[T]) -> T:
    """Raises HistoryUnusable."""
    try:
        return codec.read({} if event.json is None else event.data)
    except (NotAsDeclared, ValueError, TypeError) as error:
        raise HistoryUnusable.at(event.stream, event.revision, event.type, str(error)) from error


def _extraction(event: RecordedEvent) -> ElementExtracted:
    """Raises HistoryUnusable, also where it is of another document than its stream."""
    extracted = _payload(event, _extracted)
    if extracted.document != _document_of(event.stream):
        problem = "document must be the one that the stream is named for"
        raise HistoryUnusable.at(event.stream, event.revision, event.type, problem)
    return extracted


def _element_columns(event: RecordedEvent, extracted: ElementExtracted) -> tuple[object, ...]:
    """In the order of `wait_for_document.sql`, behind the generation."""
    element = extracted.element
    return (
        extracted.document,
        element.id,
        element.kind,
        element.name,
        element.expression,
        element.variables,
        element.definition,
        element.term,
        element.context,
        json.dumps(element.rows) if element.rows else None,
        len(element.rows),
        element.column_count,
        element.target,
        element.reference_type,
        json.dumps(asdict(element.location)) if element.location else None,
        json.dumps(dict(element.metadata)),
        event.position,
        event.recorded_at,
    )


def _document_of(stream: str) -> str:
    return stream.partition("-")[2]


def _sql(name: str) -> str:
    return load(_PACKAGE, name)
