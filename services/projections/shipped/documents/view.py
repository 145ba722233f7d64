"""A document as readers see it, folded from the events of its stream. Knows no table."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from girih.client import Fold, RecordedEvent
from girih.ids import NO_POSITION, Position
from services.projections.shipped.documents.payloads import (
    Analysed,
    Converted,
    FeedbackGiven,
    FindingRecorded,
    PolicyAssigned,
    Uploaded,
)

BREACH: Final = "breach"
"""The severity of findings that are counted apart."""


@dataclass(frozen=True)
class DocumentView:
    """What is said of a document. Texts are empty, and numbers 0, until something is."""

    name: str = ""
    media_type: str = ""
    byte_count: int = 0
    sha256: str = ""
    uploaded_by: str = ""
    formats: tuple[str, ...] = ()
    page_count: int = 0
    """Of the last conversion."""
    analyser: str = ""
    analysis_version: int = 0
    seen_element_count: int = 0
    feedback_count: int = 0
    """On the last analysis, as are the others below."""
    rating_sum: int = 0
    policies: tuple[str, ...] = ()
    finding_count: int = 0
    breach_count: int = 0
    status: str = "uploaded"


NAME_COUNT_MAX: Final = 1_000
"""Of formats, and of policies."""

_FOLD: Final = Fold(DocumentView())
EVENT_TYPES: Final = (
    "document-uploaded",
    "document-converted",
    "document-analysed",
    "feedback-given",
    "policy-assigned",
    "finding-recorded",
)


@_FOLD.on("document-uploaded", Uploaded)
def _uploaded(view: DocumentView, event: Uploaded) -> DocumentView:
    return replace(view, **vars(event.original))


@_FOLD.on("document-converted", Converted)
def _converted(view: DocumentView, event: Converted) -> DocumentView:
    conversion = event.conversion
    status = "converted" if view.status == "uploaded" else view.status
    formats = _with(view.formats, conversion.format)
    return replace(view, formats=formats, page_count=conversion.page_count, status=status)


@_FOLD.on("document-analysed", Analysed)
def _analysed(view: DocumentView, event: Analysed) -> DocumentView:
    analysis = event.analysis
    return replace(
        view,
        analyser=analysis.analyser,
        analysis_version=analysis.version,
        seen_element_count=analysis.element_count,
        feedback_count=0,
        rating_sum=0,
        finding_count=0,
        breach_count=0,
        status="analysed",
    )


@_FOLD.on("feedback-given", FeedbackGiven)
def _feedback_given(view: DocumentView, event: FeedbackGiven) -> DocumentView:
    rating_sum = view.rating_sum + event.item.rating
    return replace(view, feedback_count=view.feedback_count + 1, rating_sum=rating_sum)


@_FOLD.on("policy-assigned", PolicyAssigned)
def _policy_assigned(view: DocumentView, event: PolicyAssigned) -> DocumentView:
    return replace(view, policies=_with(view.policies, event.policy.id))


@_FOLD.on("finding-recorded", FindingRecorded)
def _finding_recorded(view: DocumentView, event: FindingRecorded) -> DocumentView:
    is_breach = event.finding.severity == BREACH
    return replace(
        view,
        finding_count=view.finding_count + 1,
        breach_count=view.breach_count + is_breach,
    )


@_FOLD.on_redacted
def _redacted(view: DocumentView, _event: RecordedEvent) -> DocumentView:
    """That it happened is known, and nothing of what."""
    return view


def _with(names: tuple[str, ...], name: str) -> tuple[str, ...]:
    """Each once. Raises ValueError for more than a row may have: each event writes them all."""
    if name in names:
        return names
    if len(names) >= NAME_COUNT_MAX:
        raise ValueError(
            f"a document must have at most {NAME_COUNT_MAX:,} formats and policies each"
        )
    return (*names, name)


@dataclass(frozen=True)
class DocumentRow:
    """A document, with where its events are."""

    view: DocumentView
    uploaded_position: Position
    """Of the event that the upload is told by; 0 when none is known."""
    last_position: Position
    created_at: datetime
    updated_at: datetime

    def behind(self, event: RecordedEvent) -> "DocumentRow":
        """The row behind one more event of its stream. Raises HistoryUnusable."""
        is_upload = event.type == "document-uploaded"
        return DocumentRow(
            view=_FOLD(self.view, [event]),
            uploaded_position=event.position if is_upload else self.uploaded_position,
            last_position=event.position,
            created_at=self.created_at,
            updated_at=event.recorded_at,
        )

    def columns(self) -> tuple[object, ...]:
        """In the order of `upsert_document.sql`, behind the document's id."""
        places = (self.uploaded_position, self.last_position, self.created_at, self.updated_at)
        return (*vars(self.view).values(), *places)


def first_row(event: RecordedEvent) -> DocumentRow:
    """The row of a document of which nothing is known, before its first event."""
    return DocumentRow(
        DocumentView(), NO_POSITION, NO_POSITION, event.recorded_at, event.recorded_at
    )


def row_of(record: Mapping[str, Any]) -> DocumentRow:
    """From a row of `select_documents.sql`."""
    fields = DocumentView.__dataclass_fields__
    values = {name: record[name] for name in fields}
    values |= {name: tuple(values[name]) for name in ("formats", "policies")}
    return DocumentRow(
        view=DocumentView(**values),
        uploaded_position=Position(record["uploaded_position"]),
        last_position=Position(record["last_position"]),
        created_at=record["created_at"],
        updated_at=record["updated_at"],
    )
