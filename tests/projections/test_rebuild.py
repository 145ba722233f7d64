"""What is read while a projection is built anew is always whole, and in the end the same."""

import asyncio
import hashlib
from collections.abc import Sequence

import pytest

from girih.client import EventStoreClient, NewEvent
from girih.ids import NO_POSITION
from girih.projection import ReplacedPolicy
from services.projections.domain import RebuildCause, StopCause
from services.projections.postgres.control import PostgresControl
from services.projections.postgres.store import PostgresProjectionStore
from tests.events.serving import eventually
from tests.projections.running import (
    SHOP,
    TENANT,
    Shop,
    digest,
    expected,
    run_of,
    running,
    sales,
    state,
    until,
)

READER_COUNT = 50

# In one statement, hence of one moment.
_READ = """
SELECT
    (
        SELECT position
        FROM projections.states
        JOIN projections.checkpoints
            ON checkpoints.tenant = states.tenant
            AND checkpoints.projection = states.projection
            AND checkpoints.generation = states.active_generation
        WHERE states.projection = 'shop'
    ) AS position,
    coalesce(array_agg((stream, total, history)::text ORDER BY stream), '{}') AS rows
FROM projection_shop.shop
"""


def states_by_position(events: Sequence[NewEvent]) -> dict[int, set[str]]:
    """The streams' states after each position, as what a reader sees is compared."""
    seen: dict[int, set[str]] = {NO_POSITION: set()}
    folded: dict[str, tuple[int, str]] = {}
    for position, event in enumerate(events, start=1):
        if event.type == "sold":
            amount = int((event.json or "").partition(":")[2].rstrip("}"))
            total, history = folded.get(event.stream, (0, ""))
            mixed = hashlib.md5(f"{history}{amount}".encode()).hexdigest() if history else ""
            folded[event.stream] = (total + amount, mixed or str(amount))
        seen[position] = {f"({stream},{one[0]},{one[1]})" for stream, one in folded.items()}
    return seen


async def test_fifty_readers_see_only_whole_states_while_it_is_rebuilt_under_load(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales([number % 97 for number in range(800)], streams=9)
    whole = states_by_position(events)
    is_over = asyncio.Event()
    wrong: list[int] = []
    read_count = 0

    async def read() -> None:
        nonlocal read_count
        while not is_over.is_set():
            async with store.for_tenant(TENANT) as connection:
                row = await connection.fetchrow(_READ)
            assert row is not None
            read_count += 1
            if set(row["rows"]) != whole[row["position"]]:
                wrong.append(row["position"])
            # There are connections for ten of them.
            await asyncio.sleep(0.01)

    await log.append(events[:400])
    run = run_of(store, log, Shop(), event_count_max=40)
    async with running(run), asyncio.TaskGroup() as tasks:
        before = await until(store, 400)
        for _ in range(READER_COUNT):
            tasks.create_task(read())
        await PostgresControl(store).begin_rebuild(SHOP, "1")
        run.look_again()
        for start in range(400, 800, 40):
            await log.append(events[start : start + 40])
        async with asyncio.timeout(180):
            after = await state(store)
            while after.building is not None or after.active.checkpoint.position < 800:
                await asyncio.sleep(0.02)
                after = await state(store)
        is_over.set()

    assert wrong == []
    assert read_count > READER_COUNT
    assert after.active.checkpoint.generation > before.active.checkpoint.generation
    assert await digest(store) == expected(events)


async def test_what_was_read_before_is_deleted_behind_a_rebuild(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append(sales(range(50)))
    run = run_of(store, log, Shop())
    async with running(run):
        await until(store, 50)
        await PostgresControl(store).begin_rebuild(SHOP, "1")
        run.look_again()
        await eventually(lambda: _holds_only(store, 2))

    assert (await state(store)).building is None


async def test_an_empty_log_can_be_rebuilt(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    run = run_of(store, log, Shop())
    await store.begin(SHOP, "1", fence=0)
    await PostgresControl(store).begin_rebuild(SHOP, "1")

    async with running(run):
        await eventually(lambda: _is_built(store))

    assert (await state(store)).active.checkpoint.generation == 2


async def test_a_replaced_log_is_projected_anew(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales(range(50))
    await _project_another_log(store, log, events)

    async with running(run_of(store, log, Shop())), asyncio.timeout(60):
        while (status := await state(store)).active.checkpoint.generation == 1:
            assert status.rebuild_cause in (None, RebuildCause.LOG_REPLACED)
            await asyncio.sleep(0.02)

    assert await digest(store) == expected(events)


async def test_a_replaced_log_stops_it_by_policy(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await _project_another_log(store, log, sales(range(50)))
    shop = Shop()
    shop.replaced_policy = ReplacedPolicy.STOP

    async with running(run_of(store, log, shop)):
        status = await until(store, 10**6)

    assert status.active.stop is not None
    assert status.active.stop.cause is StopCause.LOG_REPLACED
    assert status.building is None


async def _project_another_log(
    store: PostgresProjectionStore, log: EventStoreClient, events: Sequence[NewEvent]
) -> None:
    """What is there is said to be of another incarnation of the log."""
    await log.append(events)
    async with running(run_of(store, log, Shop())):
        await until(store, len(events))
    async with store.for_tenant(TENANT) as connection:
        await connection.execute(
            "UPDATE projections.checkpoints SET incarnation = '0123456789abcdef'"
        )


async def _is_built(store: PostgresProjectionStore) -> bool:
    return (await state(store)).building is None


async def _holds_only(store: PostgresProjectionStore, generation: int) -> bool:
    async with store.for_tenant(TENANT) as connection:
        rows = await connection.fetch(
            "SELECT DISTINCT generation FROM projection_shop.sales ORDER BY generation"
        )
    return [row["generation"] for row in rows] == [generation]


pytestmark = pytest.mark.timeout(240)
