"""Indicators are what their events come to, over time and for Prometheus."""

import random
from collections import Counter
from fractions import Fraction
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from girih.client import EventStoreClient, NewEvent
from girih.projections.v1 import indicators_pb2 as pb
from girih.projections.v1 import projections_pb2
from services.plumbing.grpc.errors import from_rpc_error
from services.projections.domain import ReadPlace
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.shipped.indicators.metrics import IndicatorMetrics
from services.projections.shipped.indicators.reading import IndicatorReader
from tests.projections.indicators.declared import INDICATORS
from tests.projections.running import TENANT
from tests.projections.test_service import STOPPED, until

if TYPE_CHECKING:
    from girih.projections.v1.indicators_pb2_grpc import IndicatorServiceAsyncStub
    from girih.projections.v1.projections_pb2_grpc import ProjectionServiceAsyncStub


def case(kind: str, at: str, channel: str) -> NewEvent:
    return NewEvent.with_data("case-1", f"case.{kind}", {"at": at, "channel": channel})


def fee(amount: str) -> NewEvent:
    return NewEvent(stream="fees", type="fee.paid", json=f'{{"amount": {amount}}}')


async def projected(projections: "ProjectionServiceAsyncStub", log: EventStoreClient) -> None:
    request = projections_pb2.WaitForProjectionRequest(
        projection="indicators", position=await log.head(), timeout_s=30
    )
    assert (await projections.WaitForProjection(request)).reached


async def test_a_history_has_each_window_and_what_it_had_come_to(
    projections: "ProjectionServiceAsyncStub",
    indicators: "IndicatorServiceAsyncStub",
    log: EventStoreClient,
) -> None:
    await log.append(
        [
            case("opened", "2011-01-31T23:59:59Z", "web"),
            case("opened", "2011-02-01T00:30:00+01:00", "web"),
            case("opened", "2011-02-03", "fax"),
            case("closed", "2011-03-03", "web"),
        ]
    )
    await projected(projections, log)

    answer = await indicators.GetIndicatorHistory(
        pb.GetIndicatorHistoryRequest(indicator="open_cases")
    )

    assert [
        (
            point.window_start.ToDatetime().month,
            dict(point.labels)["channel"],
            point.value,
            point.level,
        )
        for point in answer.points
    ] == [(1, "web", "2", "2"), (2, "other", "1", "1"), (3, "web", "-1", "1")]


async def test_sums_are_exact(
    projections: "ProjectionServiceAsyncStub",
    indicators: "IndicatorServiceAsyncStub",
    log: EventStoreClient,
) -> None:
    chance = random.Random(7)
    amounts = [f"{chance.randrange(10**6)}.{chance.randrange(100):02}" for _ in range(300)]
    amounts += ["0.1", "0.2", "1" * 300, "1e-900", "-1e-3"]
    await log.append([fee(amount) for amount in amounts])
    await projected(projections, log)

    answer = await indicators.ListIndicators(pb.ListIndicatorsRequest())

    totals = {one.indicator: one.total for one in answer.indicators}
    # What adds Decimals rounds, as what is tested may.
    assert Fraction(totals["paid"]) == sum(map(Fraction, amounts))


@pytest.mark.parametrize("amount", ['"12"', "null", "true", "1e-5000"])
async def test_what_is_no_number_stops_it_by_name_and_changes_nothing(
    amount: str,
    projections: "ProjectionServiceAsyncStub",
    indicators: "IndicatorServiceAsyncStub",
    log: EventStoreClient,
) -> None:
    await log.append([fee("1"), fee(amount), fee("2")])
    stopped = await until(projections, "indicators", state=STOPPED)

    answer = await indicators.ListIndicators(pb.ListIndicatorsRequest())

    assert "indicator paid: /amount of the payload is no number" in stopped.problem
    assert stopped.failed_position == 2
    assert answer.indicators[1].total == "1"


async def test_an_indicator_that_nobody_declared_is_named(
    indicators: "IndicatorServiceAsyncStub",
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await indicators.GetIndicatorHistory(pb.GetIndicatorHistoryRequest(indicator="nothing"))

    assert from_rpc_error(refused.value).reason == "INDICATOR_NOT_FOUND"


async def test_prometheus_is_shown_the_totals(
    projections: "ProjectionServiceAsyncStub",
    log: EventStoreClient,
    store: PostgresProjectionStore,
) -> None:
    await log.append([case("opened", "2011-01-01", "web"), case("opened", "2011-02-01", "desk")])
    await projected(projections, log)
    head = await log.head()
    metrics = IndicatorMetrics(
        IndicatorReader(INDICATORS, store), lambda: {TENANT: ReadPlace(1, head)}
    )

    await metrics.look()

    shown = Counter(
        {
            (sample.name, sample.labels["tenant"], sample.labels.get("channel")): sample.value
            for family in metrics.collect()
            for sample in family.samples
        }
    )
    assert shown["indicator_open_cases", "default", "web"] == 1
    assert shown["indicator_open_cases", "default", "desk"] == 1
