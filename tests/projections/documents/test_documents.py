"""Documents are shown as their events say, and what refers to them is there when they are."""

import asyncio
import json
from typing import Any

import pytest

from examples.documents.document import Document
from examples.documents.elements import Element, Kind
from examples.documents.extraction import Extraction
from examples.documents.values import (
    Analysis,
)
from girih.client import AsyncRepository, EventStoreClient, NewEvent
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.shipped.documents.projection import Documents
from services.projections.shipped.documents.view import NAME_COUNT_MAX
from tests.projections.documents.making import (
    DEFINITION,
    DIGEST,
    FORMULA,
    KEY,
    ORIGINAL,
    REFERENCE,
    TABLE,
    extracted,
    prepare,
    projected,
    shuffled,
    uploaded,
)
from tests.projections.running import TENANT, run_of, running, until


@pytest.fixture
def documents(log: EventStoreClient) -> AsyncRepository[Document]:
    return AsyncRepository(log, Document)


@pytest.fixture
def extractions(log: EventStoreClient) -> AsyncRepository[Extraction]:
    return AsyncRepository(log, Extraction)


async def shown(store: PostgresProjectionStore, view: str) -> list[dict[str, Any]]:
    """All that readers see of a view."""
    async with store.for_tenant(TENANT) as connection:
        rows = await connection.fetch(
            f"SELECT * FROM projection_documents.{view} ORDER BY document, {view}::text"
        )
    return [dict(row) for row in rows]


async def test_a_document_is_shown_as_its_events_say(
    store: PostgresProjectionStore, log: EventStoreClient, documents: AsyncRepository[Document]
) -> None:
    await documents.execute("1", prepare)
    await projected(store, log)

    (view,) = await shown(store, "document_views")
    expected = {
        "document": "1",
        "name": "towers.pdf",
        "media_type": "application/pdf",
        "byte_count": 24,
        "sha256": DIGEST,
        "uploaded_by": "Ada",
        "formats": ["html", "markdown"],
        "page_count": 4,
        "analyser": "reader",
        "analysis_version": 2,
        "seen_element_count": 4,
        "feedback_count": 2,
        "rating_sum": 5,
        "policies": ["strict"],
        "finding_count": 2,
        "breach_count": 1,
        "status": "analysed",
        "last_position": 9,
    }
    assert {name: view[name] for name in expected} == expected
    assert view["created_at"] <= view["updated_at"]


async def test_what_is_counted_of_an_analysis_begins_anew_with_the_next(
    store: PostgresProjectionStore, log: EventStoreClient, documents: AsyncRepository[Document]
) -> None:
    await documents.execute("1", prepare)
    await projected(store, log)
    await documents.execute("1", lambda one: one.analyse(Analysis("reader", 3, 0)))
    await projected(store, log)

    (view,) = await shown(store, "document_views")
    counted = ("feedback_count", "rating_sum", "finding_count", "breach_count")
    assert [view[name] for name in counted] == [0, 0, 0, 0]


async def test_elements_have_the_columns_of_their_kind(
    store: PostgresProjectionStore,
    log: EventStoreClient,
    documents: AsyncRepository[Document],
    extractions: AsyncRepository[Extraction],
) -> None:
    await documents.execute("1", lambda one: one.upload(ORIGINAL))
    await extractions.execute("1", lambda one: one.extract(FORMULA, TABLE, REFERENCE, DEFINITION))
    await projected(store, log)

    rows = {row["id"]: row for row in await shown(store, "semantic_ir")}
    formula, table = rows["lux"], rows["t"]
    assert (formula["ir_type"], formula["name"], formula["expression"]) == (
        *("formula", "Illuminance"),
        "E = I / d^2",
    )
    assert (formula["variables"], formula["context"]) == (["E", "I", "d"], "as the light falls")
    assert json.loads(formula["location"]) == {"page": 3, "section": "2.1"}
    assert json.loads(formula["metadata"]) == {"confidence": "0.9"}
    assert (formula["table_data"], formula["row_count"]) == (None, 0)
    assert json.loads(table["table_data"]) == [["a", "b", "c"], ["1", "2", "3"]]
    assert (table["row_count"], table["column_count"], table["location"]) == (2, 3, None)
    assert (rows["r"]["target"], rows["r"]["reference_type"]) == ("page 3", "section")
    assert (rows["d"]["term"], rows["d"]["definition"]) == ("tower", "higher than 12 m")


@pytest.mark.parametrize("event_count_max", [1, 7, 1_000])
async def test_elements_of_100_documents_wait_for_them_and_none_is_lost(
    store: PostgresProjectionStore,
    log: EventStoreClient,
    event_count_max: int,
) -> None:
    ids = [str(n) for n in range(100)]
    children = shuffled(
        [(n, Element(id=f"e{k}", kind=Kind.REFERENCE, target="x")) for n in ids for k in range(3)]
    )
    await log.append([extracted(n, element) for n, element in children])
    await projected(store, log, event_count_max=event_count_max)
    assert await shown(store, "semantic_ir") == []
    assert len(await shown(store, "waiting_elements")) == 300

    await log.append([uploaded(n) for n in shuffled(ids)])
    await projected(store, log, event_count_max=event_count_max)

    rows = await shown(store, "semantic_ir")
    assert {(row["document"], row["id"]) for row in rows} == {(n, one.id) for n, one in children}
    assert len(await shown(store, "document_views")) == 100
    assert await shown(store, "waiting_elements") == []


async def test_elements_come_with_documents_in_any_order_and_any_batches(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = shuffled(
        [
            *(uploaded(str(n)) for n in range(20)),
            *(
                extracted(str(n), Element(id=f"e{k}", kind=Kind.REFERENCE, target="x"))
                for n in range(20)
                for k in range(5)
            ),
        ]
    )

    for begin in range(0, len(events), 17):
        await log.append(events[begin : begin + 17])
        await projected(store, log, event_count_max=5)

    assert len(await shown(store, "semantic_ir")) == 100
    assert await shown(store, "waiting_elements") == []


async def test_a_later_element_takes_the_place_of_one_of_its_id(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    first = Element(id="e", kind=Kind.REFERENCE, target="page 1")
    later = Element(id="e", kind=Kind.REFERENCE, target="page 2")

    await log.append([extracted("1", first), extracted("1", later), uploaded("1")])
    await projected(store, log)
    assert [row["target"] for row in await shown(store, "semantic_ir")] == ["page 2"]
    await log.append([extracted("1", first)])
    await projected(store, log)

    assert [row["target"] for row in await shown(store, "semantic_ir")] == ["page 1"]


async def test_everything_goes_with_a_document_that_is_withdrawn_and_nothing_comes_back(
    store: PostgresProjectionStore, log: EventStoreClient, documents: AsyncRepository[Document]
) -> None:
    await log.append([uploaded("1"), extracted("1", TABLE), uploaded("2"), extracted("2", TABLE)])
    await projected(store, log)

    await documents.execute("1", lambda one: one.withdraw("Ada", "There is a newer one."))
    await log.append([extracted("1", FORMULA)])
    await projected(store, log)

    assert [row["document"] for row in await shown(store, "document_views")] == ["2"]
    assert [row["document"] for row in await shown(store, "semantic_ir")] == ["2"]
    assert await shown(store, "waiting_elements") == []


@pytest.mark.parametrize("event_count_max", [1, 100])
async def test_everything_goes_with_a_stream_that_is_deleted_and_a_later_one_begins_without(
    store: PostgresProjectionStore, log: EventStoreClient, event_count_max: int
) -> None:
    await log.append([uploaded("1"), extracted("1", TABLE)])
    await log.delete_stream("document-1")
    await log.append([uploaded("1"), extracted("1", FORMULA)])
    await projected(store, log, event_count_max=event_count_max)

    assert [row["id"] for row in await shown(store, "semantic_ir")] == ["lux"]
    await log.tombstone_stream("document-1")
    await projected(store, log)

    assert await shown(store, "document_views") == []
    assert await shown(store, "semantic_ir") == []


async def test_what_is_redacted_is_not_shown_any_more(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append([uploaded("1"), extracted("1", TABLE), extracted("1", FORMULA)])
    await projected(store, log)

    await log.redact(1, "a name")
    await log.redact(2, "a table")
    await projected(store, log)

    (view,) = await shown(store, "document_views")
    assert (view["name"], view["uploaded_by"], view["status"]) == ("", "", "uploaded")
    assert [row["id"] for row in await shown(store, "semantic_ir")] == ["lux"]


async def test_what_is_built_anew_is_what_was_built_event_by_event(
    store: PostgresProjectionStore, log: EventStoreClient, documents: AsyncRepository[Document]
) -> None:
    async with running(run_of(store, log, Documents(), event_count_max=1)):
        await log.append([extracted("1", TABLE), uploaded("2"), extracted("2", FORMULA)])
        await documents.execute("1", prepare)
        await until(store, await log.head(), KEY)
        await log.redact(2, "a name")
        await log.append([uploaded("3"), extracted("3", TABLE), extracted("3", FORMULA)])
        await log.delete_stream("document-3")
        await log.append([uploaded("3"), extracted("3", REFERENCE)])
        await log.append([uploaded("4"), extracted("4", TABLE)])
        await documents.execute("4", lambda one: one.withdraw("Ada", "It is old."))
        await log.append([extracted("4", FORMULA)])
        await until(store, await log.head(), KEY)
    before = [await shown(store, view) for view in ("document_views", "semantic_ir")]

    async with running(run_of(store, log, Anew(), event_count_max=1_000)), asyncio.timeout(60):
        while await all_rows(store, generation=1):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)

    assert [await shown(store, view) for view in ("document_views", "semantic_ir")] == before


class Anew(Documents):
    """Built anew, as another version."""

    @property
    def version(self) -> str:
        return "2"


async def all_rows(store: PostgresProjectionStore, generation: int) -> int:
    tables = ("documents", "elements", "waiting_elements", "withdrawn_documents")
    async with store.for_tenant(TENANT) as connection:
        counts = [
            await connection.fetchval(
                f"SELECT count(*) FROM projection_documents.{table} WHERE generation = $1",
                generation,
            )
            for table in tables
        ]
    return sum(counts)


ANALYSIS = {"analyser": "reader", "version": 1, "element_count": 1}
WRONG = [
    NewEvent.with_data("document-1", "document-uploaded", {"original": {"name": "x"}}),
    NewEvent.with_data("document-1", "document-uploaded", {}),
    NewEvent(stream="document-1", type="document-uploaded", binary=b"x"),
    NewEvent.with_data("document-1", "feedback-given", {"item": {"rating": 6}}),
    NewEvent.with_data(
        "document-1", "document-analysed", {"analysis": {**ANALYSIS, "element_count": 2**64}}
    ),
    NewEvent.with_data(
        "extraction-1",
        "element-extracted",
        {"document": "1", "element": {"id": "e", "kind": "x", "location": {"page": 2**64}}},
    ),
    NewEvent.with_data("extraction-1", "element-extracted", {"document": "1"}),
    NewEvent.with_data(
        "extraction-1", "element-extracted", {"document": "2", "element": {"id": "e", "kind": "x"}}
    ),
    NewEvent.with_data(
        "extraction-1", "element-extracted", {"document": "1", "element": {"id": "e", "kind": "X"}}
    ),
    NewEvent.with_data(
        "extraction-1",
        "element-extracted",
        {"document": "1", "element": {"id": "e" * 256, "kind": "x"}},
    ),
]


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
async def test_what_is_no_document_is_put_aside_and_the_others_go_on(
    store: PostgresProjectionStore, log: EventStoreClient, wrong: NewEvent
) -> None:
    await log.append([wrong, uploaded("2"), extracted("2", TABLE)])

    async with running(run_of(store, log, Documents())):
        status = await until(store, 3, KEY)

    assert (status.active.stop, status.active.quarantined_count) == (None, 1)
    assert [row["document"] for row in await shown(store, "semantic_ir")] == ["2"]


async def test_a_document_has_so_many_policies_and_no_more(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    policies = [
        NewEvent.with_data("document-1", "policy-assigned", {"policy": {"id": f"p{n}"}})
        for n in range(NAME_COUNT_MAX + 2)
    ]
    await log.append([uploaded("1"), *policies])

    async with running(run_of(store, log, Documents(), event_count_max=5_000)):
        status = await until(store, len(policies) + 1, KEY)

    assert status.active.quarantined_count == 2
    (view,) = await shown(store, "document_views")
    assert len(view["policies"]) == NAME_COUNT_MAX


async def test_types_of_other_categories_are_not_looked_at(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append([NewEvent(stream="letter-1", type="document-uploaded"), uploaded("2")])

    await projected(store, log)

    assert [row["document"] for row in await shown(store, "document_views")] == ["2"]
