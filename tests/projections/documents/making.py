"""Documents and elements, as the example writes them."""

import random
from collections.abc import Sequence
from typing import TypeVar

from examples.documents.document import Document
from examples.documents.elements import Element, Kind, Location
from examples.documents.extraction import Extraction
from examples.documents.values import (
    Analysis,
    Conversion,
    FeedbackItem,
    Finding,
    Original,
    Policy,
    Severity,
)
from girih.client import EventStoreClient, NewEvent
from services.projections.domain import ProjectionKey
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.shipped.documents.projection import Documents
from tests.projections.running import TENANT, run_of, running, until

T = TypeVar("T")

KEY = ProjectionKey(TENANT, "documents")
DIGEST = "0" * 64
ORIGINAL = Original("towers.pdf", "application/pdf", 24, DIGEST, "Ada")

FORMULA = Element(
    id="lux",
    kind=Kind.FORMULA,
    name="Illuminance",
    expression="E = I / d^2",
    variables=("E", "I", "d"),
    context="as the light falls",
    location=Location(page=3, section="2.1"),
    metadata={"confidence": "0.9"},
)
TABLE = Element(id="t", kind=Kind.TABLE, rows=(("a", "b", "c"), ("1", "2", "3")))
REFERENCE = Element(id="r", kind=Kind.REFERENCE, target="page 3", reference_type="section")
DEFINITION = Element(id="d", kind=Kind.DEFINITION, term="tower", definition="higher than 12 m")


async def projected(
    store: PostgresProjectionStore, log: EventStoreClient, *, event_count_max: int = 100
) -> None:
    """Project everything that was appended, and stop."""
    async with running(run_of(store, log, Documents(), event_count_max=event_count_max)):
        status = await until(store, await log.head(), KEY)
    assert status.active.stop is None
    assert status.active.problem == ""


def prepare(document: Document) -> None:
    document.upload(ORIGINAL)
    document.convert(Conversion("html", 9, DIGEST))
    document.convert(Conversion("markdown", 4, DIGEST))
    document.analyse(Analysis("reader", 2, element_count=4))
    document.give_feedback(FeedbackItem("Omar", 4))
    document.give_feedback(FeedbackItem("Eve", 1, "I cannot read."))
    document.assign_policy(Policy("strict", 1, "What is checked", 9))
    document.record_finding(Finding("f1", "strict", Severity.BREACH, "It is dark.", 1))
    document.record_finding(Finding("f2", "strict", Severity.NOTE, "It is small.", 1))


def uploaded(document: str) -> NewEvent:
    aggregate = Document(document)
    aggregate.upload(ORIGINAL)
    return recorded(aggregate)


def extracted(document: str, element: Element) -> NewEvent:
    aggregate = Extraction(document)
    aggregate.extract(element)
    return recorded(aggregate)


def recorded(aggregate: Document | Extraction) -> NewEvent:
    event = NewEvent(stream=aggregate.stream, type="x")
    (new,) = aggregate.new_events([event.id], ())
    return new


def shuffled(items: Sequence[T]) -> list[T]:
    return random.Random(7).sample(items, len(items))
