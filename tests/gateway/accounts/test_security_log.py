"""Security events: in the tenant's own log, each once, and never in anybody's way."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from gateway.audit.security_log import (
    EVENT_COUNT_MAX,
    KINDS,
    TENANT_EVENT_COUNT_MAX,
    WINDOW_S,
    SecurityLog,
    SecurityMetrics,
)
from gateway.own_calls import OwnLogs
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.errors import EventsUnavailable
from tests.authority import Authority
from tests.gateway.accounts.own import own_logs, recorded
from tests.gateway.counting import Clock
from tests.processes import Process


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
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def tenant() -> str:
    return f"test-{secrets.token_hex(8)}"


@pytest.fixture
def log(logs: OwnLogs, registry: CollectorRegistry, clock: Clock) -> SecurityLog:
    return SecurityLog(logs, SecurityMetrics(registry), clock)


@asynccontextmanager
async def writing(log: SecurityLog) -> AsyncIterator[None]:
    """As its owner runs it, and ends it with the block."""
    task = asyncio.create_task(log.keep_writing())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await log.close()


async def written(logs: OwnLogs, tenant: str) -> list[tuple[str, dict[str, Any]]]:
    """Type and payload of every security event, without the time."""
    result = await recorded(logs, tenant, "$security")
    return [
        (event.type, {name: payload[name] for name in payload if name != "at"})
        for event, payload in result
    ]


async def eventually_written(logs: OwnLogs, tenant: str, count: int) -> None:
    async with asyncio.timeout(60):
        while not await _are_written(logs, tenant, count):  # noqa: ASYNC110 - by another process
            await asyncio.sleep(0.02)


async def _are_written(logs: OwnLogs, tenant: str, count: int) -> bool:
    try:
        return len(await written(logs, tenant)) >= count
    except EventsUnavailable:
        return False


async def test_what_happens_is_soon_in_the_tenants_own_log(
    log: SecurityLog, logs: OwnLogs, tenant: str
) -> None:
    async with writing(log):
        log.record(tenant, "key-created", subject="user:ada", key="k1", address="192.0.2.1")
        await eventually_written(logs, tenant, 1)

    assert await written(logs, tenant) == [
        ("security.key-created", {"subject": "user:ada", "key": "k1", "address": "192.0.2.1"})
    ]


async def test_an_event_carries_the_correlation_id_of_the_call_it_happened_in(
    log: SecurityLog, logs: OwnLogs, tenant: str
) -> None:
    async with writing(log):
        for name in ("one", "two", "two"):
            with correlation.bind(Call(f"call-{name}")):
                log.record(tenant, "logged-out", subject="user:ada")

    events = [event for event, _ in await recorded(logs, tenant, "$security")]
    ids = [event.correlation_id for event in events]
    assert ids == ["call-one", "call-two", "call-two"]


async def test_what_repeats_itself_becomes_one_more_event_with_a_count(
    log: SecurityLog, logs: OwnLogs, tenant: str, clock: Clock
) -> None:
    async with writing(log):
        for _ in range(1_000):
            log.record(tenant, "login-failed", subject="user:ada", reason="PASSWORD")

    assert await written(logs, tenant) == [
        ("security.login-failed", {"subject": "user:ada", "reason": "PASSWORD"}),
        ("security.login-failed", {"subject": "user:ada", "reason": "PASSWORD", "count": 999}),
    ]


async def test_the_count_is_written_when_the_window_is_over(
    log: SecurityLog, logs: OwnLogs, tenant: str, clock: Clock
) -> None:
    async with writing(log):
        for _ in range(3):
            log.record(tenant, "call-refused", subject="user:ada", reason="SCOPE_MISSING")
        clock.turn(WINDOW_S)
        log.record(tenant, "call-refused", subject="user:ada", reason="SCOPE_MISSING")
        await eventually_written(logs, tenant, 3)

    counts = [payload.get("count") for _, payload in await written(logs, tenant)]
    assert counts == [None, 2, None]


async def test_what_differs_in_subject_reason_or_tenant_is_not_taken_together(
    log: SecurityLog, logs: OwnLogs, tenant: str
) -> None:
    other = f"{tenant}-other"
    async with writing(log):
        log.record(tenant, "call-refused", subject="user:ada", reason="SCOPE_MISSING")
        log.record(tenant, "call-refused", subject="user:ada", reason="RATE_LIMITED")
        log.record(tenant, "call-refused", subject="user:omar", reason="SCOPE_MISSING")
        log.record(other, "call-refused", subject="user:ada", reason="SCOPE_MISSING")

    assert [len(await written(logs, name)) for name in (tenant, other)] == [3, 1]


async def test_administrative_acts_are_never_taken_together(
    log: SecurityLog, logs: OwnLogs, tenant: str
) -> None:
    async with writing(log):
        for key in ("k1", "k2", "k3"):
            log.record(tenant, "key-created", subject="user:ada", key=key)

    keys = [payload["key"] for _, payload in await written(logs, tenant)]
    assert keys == ["k1", "k2", "k3"]


async def test_what_is_proven_of_no_tenant_is_written_in_no_log(
    log: SecurityLog, logs: OwnLogs, registry: CollectorRegistry
) -> None:
    async with writing(log):
        log.record("", "call-refused", reason="TOKEN_INVALID", address="192.0.2.1")

    answer = registry.get_sample_value("gateway_security_events_total", {"kind": "call-refused"})
    assert (answer, log._queues) == (1, {})


async def test_what_happens_while_the_event_store_is_away_is_written_when_it_is_back(
    event_store: tuple[Process, str],
    log: SecurityLog,
    logs: OwnLogs,
    tenant: str,
    registry: CollectorRegistry,
) -> None:
    process, _ = event_store
    async with writing(log):
        process.kill()
        for n in range(5):
            log.record(tenant, "key-created", subject="user:ada", key=f"k{n}")
        await asyncio.sleep(0.2)
        process.start()
        process.wait_ready()
        await eventually_written(logs, tenant, 5)

    keys = [payload["key"] for _, payload in await written(logs, tenant)]
    assert keys == [f"k{n}" for n in range(5)]
    assert registry.get_sample_value("gateway_security_events_dropped_total") == 0


async def test_an_append_whose_answer_was_lost_is_written_once(
    log: SecurityLog, logs: OwnLogs, tenant: str
) -> None:
    log.record(tenant, "key-created", subject="user:ada", key="k1")
    await log._append(tenant, list(log._queues[tenant]))

    await log.close()

    assert len(await written(logs, tenant)) == 1


async def test_a_noisy_tenant_leaves_room_for_the_others_and_what_is_lost_is_counted(
    nowhere: OwnLogs, registry: CollectorRegistry
) -> None:
    log = SecurityLog(nowhere, SecurityMetrics(registry))
    for n in range(5_000):
        log.record("noisy", "key-created", key=f"k{n}")
    log.record("quiet", "key-created", key="k")

    waiting = registry.get_sample_value("gateway_security_events_waiting")
    dropped = registry.get_sample_value("gateway_security_events_dropped_total")
    assert (waiting, dropped) == (TENANT_EVENT_COUNT_MAX + 1, 5_000 - TENANT_EVENT_COUNT_MAX)


async def test_no_more_is_kept_than_there_is_room_for_whatever_comes(
    nowhere: OwnLogs, registry: CollectorRegistry
) -> None:
    log = SecurityLog(nowhere, SecurityMetrics(registry))
    for n in range(EVENT_COUNT_MAX + 1_000):
        log.record(f"tenant-{n}", "call-refused", subject=f"user:{n}", reason="SCOPE_MISSING")

    assert registry.get_sample_value("gateway_security_events_waiting") == EVENT_COUNT_MAX
    assert len(log._windows) == EVENT_COUNT_MAX


async def test_closing_does_not_wait_for_an_event_store_that_is_away(
    nowhere: OwnLogs, registry: CollectorRegistry
) -> None:
    log = SecurityLog(nowhere, SecurityMetrics(registry))
    log.record("tenant", "key-created", key="k")

    async with asyncio.timeout(60):
        await log.close(timeout_s=1)

    assert registry.get_sample_value("gateway_security_events_dropped_total") == 1


def test_every_kind_has_a_number_from_the_start_and_no_caller_makes_another(
    registry: CollectorRegistry,
) -> None:
    metrics = SecurityMetrics(registry)
    for n in range(100):
        metrics.count(f"made-up-{n}")

    kinds = [
        sample.labels["kind"]
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "gateway_security_events_total"
    ]
    assert sorted(kinds) == sorted({*KINDS, "other"})
