"""Readers get what they ask for, page by page, each row once, and know how true it is."""

from dataclasses import replace

import pytest

from examples.documents.elements import Element, Kind
from girih.client import EventStoreClient, NewEvent
from girih.ids import NO_POSITION, TenantId
from girih.projections.v1 import documents_pb2 as pb
from services.plumbing.errors import InvalidInput
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.shipped.documents import convert
from services.projections.shipped.documents.reading import (
    DocumentFilter,
    DocumentReader,
    ElementFilter,
    ElementPlace,
    Page,
)
from tests.projections.documents.making import (
    FORMULA,
    ORIGINAL,
    REFERENCE,
    TABLE,
    extracted,
    projected,
    uploaded,
)
from tests.projections.running import TENANT

NOTHING = Page([], is_last=True, position=NO_POSITION)


@pytest.fixture
def reader(store: PostgresProjectionStore) -> DocumentReader:
    return DocumentReader(store)


def assigned(document: str, policy: str) -> NewEvent:
    return NewEvent.with_data(f"document-{document}", "policy-assigned", {"policy": {"id": policy}})


def ids(page: Page) -> list[str]:
    return [row["document"] for row in page.rows]


async def elements_of(reader: DocumentReader, wanted: ElementFilter, size: int) -> list[str]:
    """All pages, as the wire has them."""
    request = pb.ListElementsRequest()
    ids: list[str] = []
    while True:
        _, behind = convert.asked_elements(request)
        page = await reader.elements(TENANT, wanted, behind, size)
        response = convert.elements_response(page)
        ids += [f"{one.document}/{one.id}" for one in response.elements]
        if not response.next_page_token:
            return ids
        request.page_token = response.next_page_token


async def test_documents_are_filtered_and_come_page_by_page(
    store: PostgresProjectionStore, log: EventStoreClient, reader: DocumentReader
) -> None:
    await log.append([uploaded(str(n)) for n in range(5)])
    await log.append([assigned("1", "strict"), assigned("3", "strict"), assigned("3", "lax")])
    await projected(store, log)

    all_of_them = await reader.documents(TENANT, DocumentFilter(), "", 10)
    assert (ids(all_of_them), all_of_them.is_last, all_of_them.position) == (
        ["0", "1", "2", "3", "4"],
        *(True, 8),
    )
    page = await reader.documents(TENANT, DocumentFilter(), "1", 2)
    assert (ids(page), page.is_last) == (["2", "3"], False)
    assert convert.documents_response(page).next_page_token == "3"
    strict = await reader.documents(TENANT, DocumentFilter(policy="strict"), "", 10)
    assert ids(strict) == ["1", "3"]
    by = DocumentFilter(uploaded_by="Ada", status="uploaded")
    assert len((await reader.documents(TENANT, by, "", 10)).rows) == 5
    none = DocumentFilter(uploaded_by="Ada", status="analysed")
    assert (await reader.documents(TENANT, none, "", 10)).rows == []


async def test_elements_are_found_by_document_type_and_name_page_by_page(
    store: PostgresProjectionStore, log: EventStoreClient, reader: DocumentReader
) -> None:
    for document in ("a", "b"):
        await log.append([uploaded(document)])
        await log.append([extracted(document, one) for one in (FORMULA, TABLE, REFERENCE)])
    await projected(store, log)

    everything = ["a/lux", "a/r", "a/t", "b/lux", "b/r", "b/t"]
    for size in (1, 2, 10):
        assert await elements_of(reader, ElementFilter(), size) == everything
        assert await elements_of(reader, ElementFilter(document="b"), size) == everything[3:]
    assert await elements_of(reader, ElementFilter(ir_type="table"), 1) == ["a/t", "b/t"]
    assert await elements_of(reader, ElementFilter(name="Illuminance"), 1) == ["a/lux", "b/lux"]
    both = ElementFilter(document="a", ir_type="table", name="Illuminance")
    assert await elements_of(reader, both, 10) == []


async def test_a_page_of_large_elements_ends_early_and_none_is_left_out(
    store: PostgresProjectionStore, log: EventStoreClient, reader: DocumentReader
) -> None:
    large = [
        Element(id=f"e{n}", kind=Kind.REFERENCE, target="x" * 60_000, context="y" * 60_000)
        for n in range(20)
    ]
    await log.append([uploaded("1"), *(extracted("1", one) for one in large)])
    await projected(store, log)

    first = await reader.elements(TENANT, ElementFilter(), ElementPlace(), 100)
    assert 1 <= len(first.rows) < 20
    assert not first.is_last
    wanted = sorted(f"1/e{n}" for n in range(20))
    assert await elements_of(reader, ElementFilter(), 100) == wanted


async def test_what_is_answered_has_all_that_was_told(
    store: PostgresProjectionStore, log: EventStoreClient, reader: DocumentReader
) -> None:
    rated = [
        NewEvent.with_data("document-1", "feedback-given", {"item": {"rating": rating}})
        for rating in (5, 2)
    ]
    await log.append([uploaded("1"), *rated, extracted("1", TABLE), extracted("1", FORMULA)])
    await projected(store, log)

    row, position = await reader.document(TENANT, "1")
    page = await reader.elements(TENANT, ElementFilter(), ElementPlace(), 10)
    formula, table = convert.elements_response(page).elements

    assert row is not None
    document = convert.document(row)
    assert (document.name, document.rating_mean, position) == (ORIGINAL.name, 3.5, 5)
    assert document.status == pb.DOCUMENT_STATUS_UPLOADED
    assert [list(one.cells) for one in table.table_data] == [list(one) for one in TABLE.rows]
    assert (table.row_count, table.column_count) == (2, 3)
    assert (formula.location.page, formula.location.section) == (3, "2.1")
    assert dict(formula.metadata) == dict(FORMULA.metadata)
    assert not table.HasField("location")


async def test_nobody_reads_the_documents_of_another_tenant(
    store: PostgresProjectionStore, log: EventStoreClient, reader: DocumentReader
) -> None:
    await log.append([uploaded("1"), extracted("1", TABLE)])
    await projected(store, log)
    other = TenantId("other")

    assert await reader.document(other, "1") == (None, 0)
    assert await reader.documents(other, DocumentFilter(), "", 10) == NOTHING
    elements = await reader.elements(other, ElementFilter(), ElementPlace(), 10)
    assert elements == NOTHING


@pytest.mark.parametrize(
    "wrong",
    [
        pb.ListElementsRequest(page_token="1"),
        pb.ListElementsRequest(page_token="a b/1"),
        pb.ListElementsRequest(ir_type="Formula"),
        pb.ListElementsRequest(document="a/b"),
        pb.ListElementsRequest(name="x" * 256),
        pb.ListElementsRequest(page_size=-1),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_its_field(wrong: pb.ListElementsRequest) -> None:
    with pytest.raises(InvalidInput):
        convert.asked_elements(wrong)


def test_a_later_page_is_asked_for_by_the_last_element() -> None:
    request = pb.ListElementsRequest(page_token="1/a/b", ir_type="table")

    wanted, behind = convert.asked_elements(request)

    assert wanted == replace(ElementFilter(), ir_type="table")
    assert behind == ElementPlace("1", "a/b")
