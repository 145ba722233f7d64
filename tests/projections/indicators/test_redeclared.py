"""What was built of another declaration of an indicator is not taken for what is declared now."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from girih.client import EventStoreClient
from services.projections.domain import ProjectionKey
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.shipped.indicators import convert
from services.projections.shipped.indicators.definitions import Definitions
from services.projections.shipped.indicators.metrics import IndicatorMetrics
from services.projections.shipped.indicators.projection import Indicators
from services.projections.shipped.indicators.reading import IndicatorReader
from tests.authority import Authority
from tests.projections.indicators.declared import INDICATORS
from tests.projections.indicators.test_indicators import case, fee, projected
from tests.projections.running import TENANT, opened, run_of, running, until

if TYPE_CHECKING:
    from girih.projections.v1.projections_pb2_grpc import ProjectionServiceAsyncStub

EVER = (datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


def redeclared() -> Definitions:
    """`open_cases` with as many labels, one of which has another name."""
    cases, paid = INDICATORS.indicators
    renamed = tuple(replace(label, name="way") for label in cases.labels)
    return replace(INDICATORS, indicators=(replace(cases, labels=renamed), paid))


def shown(metrics: IndicatorMetrics) -> set[str]:
    return {sample.name for family in metrics.collect() for sample in family.samples}


async def test_numbers_of_before_are_not_shown_under_new_names(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
) -> None:
    await log.append([case("opened", "2011-01-31", "web"), fee("3")])
    await projected(projections, log)
    definitions = redeclared()
    reader = IndicatorReader(definitions, store)
    cases, paid = definitions.indicators

    changed, same = [await reader.history(TENANT, one, *EVER) for one in (cases, paid)]
    totals = await reader.totals(TENANT)

    assert (changed.rows, changed.position) == ((), 0)
    assert (len(same.rows), same.position) == (1, 2)
    listed = convert.list_response(definitions, totals).indicators
    assert [(one.total, one.position) for one in listed] == [("0", 0), ("3", 2)]


async def test_prometheus_is_shown_what_was_built_once_that_is_read(
    database_url: str, authority: Authority, log: EventStoreClient
) -> None:
    await log.append([case("opened", "2011-01-31", "web"), fee("3")])
    definitions, key = redeclared(), ProjectionKey(TENANT, Indicators.name)
    async with opened(database_url, authority, [Indicators(INDICATORS)]) as database:
        store = PostgresProjectionStore(database)
        async with running(run_of(store, log, Indicators(INDICATORS))):
            await until(store, 2, key)
        run = run_of(store, log, Indicators(definitions))
        metrics = IndicatorMetrics(IndicatorReader(definitions, store), lambda: {TENANT: run.place})
        await metrics.look()
        assert shown(metrics) == {"indicator_paid"}

        async with running(run), asyncio.timeout(30):
            while run.place.generation < 2:
                await metrics.look()
                await asyncio.sleep(0.01)
        await metrics.look()

    assert shown(metrics) == {"indicator_paid", "indicator_open_cases"}
