"""Calls of a month, counted in memory and kept in a real event store."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from gateway.http.errors import from_service_error
from gateway.metering.usage import QuotaExceeded, Usage, UsageMetrics
from gateway.metering.usage_log import TENANT, Counted, Month, UsageLog
from gateway.own_calls import OwnLogs
from girih.client import NewEvent
from girih.ids import TenantId
from services.plumbing.identity import Principal
from services.policy import PlanLimits
from tests.authority import Authority
from tests.events.serving import eventually
from tests.gateway.accounts.own import own_logs, recorded
from tests.gateway.counting import Clock
from tests.processes import Process

MONTH = "2026-11"
ROUTE = "/v1/lattices"


@pytest.fixture
async def logs(event_store: tuple[Process, str], authority: Authority) -> AsyncIterator[OwnLogs]:
    async with own_logs(event_store[1], authority) as made:
        yield made


@pytest.fixture
async def nowhere(authority: Authority, tmp_path: Path) -> AsyncIterator[OwnLogs]:
    """Access to an event store that is away."""
    async with own_logs(f"unix:{tmp_path}/nobody-listens.sock", authority) as made:
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tenant() -> str:
    return f"test-{secrets.token_hex(8)}"


def usage_on(logs: OwnLogs, clock: Clock, tenant_count_max: int = 100) -> Usage:
    """One replica."""
    return Usage(UsageLog(logs), UsageMetrics(CollectorRegistry()), clock, tenant_count_max)


def caller(tenant: str, calls: int = 0, service: str = "") -> Principal:
    plan = PlanLimits("custom", 0, 0, 0, monthly_call_count_max=calls)
    return Principal(TenantId(tenant), "user:ada", frozenset(), "gateway.girih", service, plan=plan)


async def call(usage: Usage, principal: Principal, times: int = 1, route: str = ROUTE) -> int:
    """Make calls; answers how many were let through."""
    let_through = 0
    for _ in range(times):
        try:
            await usage.admit(principal, route)
        except QuotaExceeded:
            continue
        let_through += 1
    return let_through


async def count(usage: Usage, tenant: str) -> int:
    return (await usage.calls(tenant)).count


async def test_calls_are_let_through_until_the_months_are_made(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)

    let_through = await call(usage, caller(tenant, calls=10), times=25)

    assert (let_through, await count(usage, tenant)) == (10, 10)


async def test_what_was_read_is_read_anew_when_the_log_is_another(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage, other = usage_on(logs, clock), usage_on(logs, clock)
    await call(usage, caller(tenant), times=3)
    assert await usage.flush()
    counter = usage._counters[tenant]
    counter.total, counter.through = 1_000, 99  # of a log that is no more
    await call(other, caller(tenant), times=2)
    assert await other.flush()
    await call(usage, caller(tenant), times=1)

    usage._expire()

    assert await count(usage, tenant) == 6


async def test_calls_at_once_are_no_more_than_the_plan_allows(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)

    tried = await asyncio.gather(*(call(usage, caller(tenant, calls=10)) for _ in range(100)))

    assert sum(tried) == 10


async def test_a_refusal_is_429_and_tells_the_limit_the_month_and_its_end(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant, calls=1))

    with pytest.raises(QuotaExceeded) as refused:
        await usage.admit(caller(tenant, calls=1), ROUTE)
    error = from_service_error(refused.value)

    assert (error.status, error.details["reason"]) == (429, "QUOTA_EXCEEDED")
    assert error.details["metadata"] == {
        "limit": "1",
        "month": MONTH,
        "resetsAt": "2026-12-01T00:00:00Z",
    }
    assert dict(error.headers)[b"retry-after"] == b"%d" % (25.5 * 86_400)


async def test_who_has_made_all_calls_may_still_ask_what_was_used(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant, calls=1))

    assert await call(usage, caller(tenant, calls=1), times=3, route="/v1/usage") == 3
    assert await count(usage, tenant) == 1


async def test_a_call_that_is_refused_behind_the_gateway_is_not_counted(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant, calls=2), times=2)
    assert await usage.flush()

    usage.give_back(caller(tenant, calls=2), ROUTE)

    assert await count(usage, tenant) == 1
    assert await call(usage, caller(tenant, calls=2), times=2) == 1
    assert await usage.flush()
    assert await count(usage_on(logs, clock), tenant) == 2


async def test_what_was_counted_is_remembered_by_the_next_process(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    before = usage_on(logs, clock)
    await call(before, caller(tenant), times=7)
    await before.close()

    after = usage_on(logs, clock)

    assert await count(after, tenant) == 7
    assert await call(after, caller(tenant, calls=10), times=10) == 3


async def test_the_first_call_of_a_process_knows_what_others_have_counted(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    one = usage_on(logs, clock)
    await call(one, caller(tenant), times=10)
    await one.flush()

    assert await call(usage_on(logs, clock), caller(tenant, calls=10)) == 0


async def test_replicas_learn_at_each_flush_what_the_others_have_counted(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    replicas = [usage_on(logs, clock) for _ in range(3)]
    for _ in range(5):
        await asyncio.gather(*(call(one, caller(tenant), times=4) for one in replicas))
        await asyncio.gather(*(one.flush() for one in replicas))
    for one in replicas:
        await call(one, caller(tenant))
        await one.flush()

    assert await count(replicas[-1], tenant) == 3 * 5 * 4 + 3


async def test_flushing_again_and_again_counts_nothing_twice(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    for _ in range(5):
        await call(usage, caller(tenant), times=3)
        await asyncio.gather(*(usage.flush() for _ in range(3)))

    assert await count(usage, tenant) == 15
    assert await count(usage_on(logs, clock), tenant) == 15


async def test_an_append_whose_answer_was_lost_counts_once(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant), times=3)
    await usage.calls(tenant)
    counter = usage._counters[tenant]
    await UsageLog(logs).append([(counter.month, counter.send())])

    await call(usage, caller(tenant), times=2)
    await usage.flush()
    await usage.flush()

    assert await count(usage, tenant) == 5
    assert await count(usage_on(logs, clock), tenant) == 5


async def test_a_reader_needs_only_the_end_of_a_stream(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    for _ in range(20):
        await call(usage, caller(tenant), times=2)
        await usage.flush()

    last = await UsageLog(logs).last(Month(tenant, MONTH))

    assert last is not None
    assert (last.calls, last.through, last.total) == (2, 18, 38)


async def test_a_process_reads_only_the_end_of_a_stream(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    before = usage_on(logs, clock)
    for _ in range(20):
        await call(before, caller(tenant), times=2)
        await before.flush()
    log = WatchedLog(logs)
    after = Usage(log, UsageMetrics(CollectorRegistry()), clock)

    assert await count(after, tenant) == 40
    assert log.read_after == [18]


class WatchedLog(UsageLog):
    """Notes from where it is read."""

    def __init__(self, logs: OwnLogs) -> None:
        super().__init__(logs)
        self.read_after: list[int] = []

    async def after(self, month: Month, revision: int) -> list[tuple[int, Counted]]:
        self.read_after.append(revision)
        return await super().after(month, revision)


async def test_what_is_read_by_two_at_once_counts_once(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    before = usage_on(logs, clock)
    for _ in range(3):
        await call(before, caller(tenant), times=2)
        await before.flush()
    after = usage_on(logs, clock)

    await call(after, caller(tenant))
    await asyncio.gather(after.flush(), after.flush(), after.calls(tenant))

    assert await count(after, tenant) == 7


async def test_while_the_event_store_is_away_calls_pass_and_are_told_later(
    event_store: tuple[Process, str], authority: Authority, clock: Clock, tenant: str
) -> None:
    process, address = event_store
    async with own_logs(address, authority) as logs:
        usage = usage_on(logs, clock)
        process.kill()
        let_through = await call(usage, caller(tenant, calls=10), times=4)
        flushed = await usage.flush()

        process.start()
        process.wait_ready()
        while not await usage.flush():  # noqa: ASYNC110 - what is waited for is another process
            await asyncio.sleep(0.05)

        assert (let_through, flushed) == (4, False)
        assert await count(usage_on(logs, clock), tenant) == 4


async def test_a_plan_is_enforced_while_the_event_store_is_away(
    nowhere: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(nowhere, clock)

    assert await call(usage, caller(tenant, calls=10), times=25) == 10


async def test_a_new_month_begins_at_nothing_and_the_old_one_is_still_told(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant, calls=5), times=9)
    clock.turn(26 * 86_400)

    let_through = await call(usage, caller(tenant, calls=5), times=9)
    await usage.flush()

    assert let_through == 5
    assert (await usage.calls(tenant)).month == "2026-12"
    november = await recorded(logs, TENANT, f"usage-{tenant}-{MONTH}")
    assert sum(payload["calls"] for _, payload in november) == 5


async def test_tenants_are_counted_apart(logs: OwnLogs, clock: Clock, tenant: str) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant), times=3)
    await call(usage, caller(f"{tenant}-other"), times=2)
    await usage.flush()

    assert [await count(usage, name) for name in (tenant, f"{tenant}-other")] == [3, 2]


@pytest.mark.parametrize("route", ["/auth/whoami", "/auth/password"])
async def test_what_has_to_do_with_logging_in_is_not_counted(
    logs: OwnLogs, clock: Clock, tenant: str, route: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant, calls=1))

    assert await call(usage, caller(tenant, calls=1), times=5, route=route) == 5
    assert await count(usage, tenant) == 1


async def test_services_and_operators_are_not_counted(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)

    await call(usage, caller(tenant, calls=1, service="gateway.girih"), times=5)

    assert await count(usage, tenant) == 0


async def test_no_more_tenants_are_kept_than_there_is_room_for(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock, tenant_count_max=10)
    for n in range(40):
        await call(usage, caller(f"{tenant}-{n}"))
        await usage.flush()

    assert len(usage._counters) <= 10
    assert await count(usage, f"{tenant}-0") == 1


async def test_counts_that_were_not_told_yet_are_never_forgotten_for_others(
    nowhere: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(nowhere, clock, tenant_count_max=10)

    for n in range(40):
        await call(usage, caller(f"{tenant}-{n}"))

    assert sorted(usage._counters) == sorted(f"{tenant}-{n}" for n in range(10))


async def test_a_record_that_cannot_be_read_counts_for_nothing(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage = usage_on(logs, clock)
    await call(usage, caller(tenant), times=3)
    await usage.flush()
    odd = NewEvent(stream=f"usage-{tenant}-{MONTH}", type="usage.counted", json="[1]")
    await logs.of(TENANT).append([odd])

    assert await count(usage_on(logs, clock), tenant) == 3


@asynccontextmanager
async def following(usage: Usage) -> AsyncIterator[None]:
    """As its owner runs it."""
    task = asyncio.create_task(usage.keep_following())
    try:
        yield
        assert not task.done(), "following has ended"
    finally:
        task.cancel()
        await asyncio.wait([task])


async def eventually_counted(usage: Usage, tenant: str, expected: int) -> None:
    async def is_counted() -> bool:
        return await count(usage, tenant) == expected

    await eventually(is_counted, within_s=60)


async def test_what_others_record_counts_at_once(logs: OwnLogs, clock: Clock, tenant: str) -> None:
    mine, others = usage_on(logs, clock), usage_on(logs, clock)
    async with following(mine), following(others):
        await call(mine, caller(tenant), times=1)
        assert await count(mine, tenant) == 1
        await call(others, caller(tenant), times=8)
        await others.flush()

        await eventually_counted(mine, tenant, 9)
        assert await call(mine, caller(tenant, calls=10), times=5) == 1
        await mine.flush()
        await eventually_counted(others, tenant, 10)
        await others.flush()

        assert [await count(usage, tenant) for usage in (mine, others)] == [10, 10]


async def test_a_count_that_came_while_reading_is_read_afterwards(
    logs: OwnLogs, clock: Clock, tenant: str
) -> None:
    usage, others = usage_on(logs, clock), usage_on(logs, clock)
    await call(others, caller(tenant), times=3)
    await count(usage, tenant)
    await others.flush()

    usage._follow(Month(tenant, MONTH), 1, Counted("some id", 0, 0, 3))

    assert await count(usage, tenant) == 3


@pytest.mark.parametrize(
    ("stream", "month"),
    [
        ("usage-a-b-2026-11", Month("a-b", "2026-11")),
        ("usage-a2026-11", None),
        ("other-a-2026-11", None),
        ("usage-", None),
    ],
)
def test_a_stream_names_its_month(stream: str, month: Month | None) -> None:
    assert Month.of(stream) == month
