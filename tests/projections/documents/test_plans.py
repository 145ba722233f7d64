"""Pages of what is filtered are found by indexes, under row-level security as well."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.plumbing.postgres.database import Connection
from services.plumbing.postgres.sql import load
from services.projections.postgres.store import PostgresProjectionStore
from tests.projections.documents.making import KEY
from tests.projections.running import TENANT

_READING = "services.projections.shipped.documents.sql.reading"
_DOCUMENTS = """
INSERT INTO projection_documents.documents
SELECT $1, $2, 'd' || n, 'name', 'a/b', 1, '', 'by' || n % 400, '{}', 1, '', 1, 1, 0, 0, '{}',
    0, 0, CASE WHEN n % 400 = 0 THEN 'analysed' ELSE 'uploaded' END, n, n, now(), now()
FROM generate_series(1, 4000) AS n
"""
_ELEMENTS = """
INSERT INTO projection_documents.elements
SELECT $1, $2, 'd' || n, 'e', CASE WHEN n % 400 = 0 THEN 'table' ELSE 'formula' END,
    'name' || n % 400, '', '{}', '', '', '', NULL, 0, 0, '', '', NULL, '{}', n, now()
FROM generate_series(1, 4000) AS n
"""


@pytest.fixture
async def filled(store: PostgresProjectionStore) -> AsyncIterator[Connection]:
    """A transaction that sees 4,000 documents with an element each, beside as many of another."""
    for tenant in ("another", TENANT):
        async with store.for_tenant(type(TENANT)(tenant)) as connection:
            await connection.execute(_DOCUMENTS, tenant, 1)
            await connection.execute(_ELEMENTS, tenant, 1)
    await store.begin(KEY, "1", fence=1)
    async with store.for_tenant(TENANT) as connection:
        await connection.execute("RESET ROLE")
        await connection.execute("ANALYZE projection_documents.documents")
        await connection.execute("ANALYZE projection_documents.elements")
    async with store.for_tenant(TENANT) as connection:
        await connection.execute(load(_READING, "plan_anew"))
        yield connection


def indexes(plan: dict[str, Any]) -> set[str]:
    """That a plan looks into, and `all rows` where it looks at a whole table."""
    names = {plan["Index Name"]} if "Index Name" in plan else set()
    if plan["Node Type"] == "Seq Scan" and plan["Relation Name"] in ("documents", "elements"):
        names.add("all rows")
    return names.union(*(indexes(one) for one in plan.get("Plans", [])))


async def looked_into(connection: Connection, statement: str, *arguments: object) -> set[str]:
    explained = await connection.fetchval(
        f"EXPLAIN (FORMAT JSON) {load(_READING, statement)}", TENANT, *arguments, 101, 2**20
    )
    return indexes(json.loads(explained)[0]["Plan"]) - {"states_projection"}


async def test_documents_are_found_by_indexes(filled: Connection) -> None:
    statement = "select_documents_page"

    assert await looked_into(filled, statement, "d5", "", "", "") == {"documents_document"}
    assert await looked_into(filled, statement, "", "analysed", "", "") == {"documents_status"}
    assert await looked_into(filled, statement, "", "", "by7", "") == {"documents_uploader"}


async def test_elements_are_found_by_indexes(filled: Connection) -> None:
    statement = "select_elements_page"

    assert await looked_into(filled, statement, "d5", "e", "", "", "") == {"elements_id"}
    assert await looked_into(filled, statement, "", "", "d7", "", "") == {"elements_id"}
    assert await looked_into(filled, statement, "", "", "", "table", "") == {"elements_type"}
    assert await looked_into(filled, statement, "", "", "", "", "name7") == {"elements_name"}
