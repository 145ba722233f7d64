"""One projection of one tenant: each event once, whatever happens meanwhile."""

import asyncio

import pytest

from girih.client import EventStoreClient
from girih.ids import Position
from girih.projection import PoisonPolicy
from services.plumbing.postgres.leases import LeaseLost
from services.projections.domain import Checkpoint, StopCause
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.running.turns import Turns
from tests.projections.running import (
    SHOP,
    Shop,
    digest,
    expected,
    run_of,
    running,
    sales,
    state,
    until,
)


async def test_holds_what_a_fold_of_the_log_makes(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales(range(1, 500))
    await log.append(events)

    async with running(run_of(store, log, Shop())):
        await until(store, 499)

    assert await digest(store) == expected(events)


async def test_follows_what_is_appended_later_and_passes_over_what_it_does_not_want(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    first, later = sales([1, 2, 3]), sales([4, 5, 6, 7])
    await log.append(first)

    async with running(run_of(store, log, Shop())):
        await until(store, 3)
        await log.append(later)
        await until(store, 7)

    assert await digest(store) == expected([*first, *later])


async def test_a_place_is_given_up_at_the_end_of_the_log_while_others_wait(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    turns = Turns(1, turn_s=3_600)
    run = run_of(store, log, Shop(), event_count_max=10, idle_s=3_600, turns=turns)
    await log.append(sales(range(1, 151)))
    await run.log_moved(Position(150))

    async with running(run):
        await until(store, 1)
        async with asyncio.timeout(60), turns.turn():
            assert (await state(store)).active.checkpoint.position == 150
            await log.append(sales([151]))
            await run.log_moved(Position(151))
        assert (await until(store, 151)).active.checkpoint.position == 151


async def test_goes_on_from_its_checkpoint(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales(range(200))
    await log.append(events[:100])
    async with running(run_of(store, log, Shop(), event_count_max=7)):
        await until(store, 50)
    await log.append(events[100:])

    async with running(run_of(store, log, Shop(), event_count_max=7)):
        await until(store, 200)

    assert await digest(store) == expected(events)


async def test_whose_lease_another_has_writes_nothing_any_more(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append(sales([1, 2, 3]))
    async with running(run_of(store, log, Shop(), fence=1)) as paused:
        await until(store, 3)
        await store.begin(SHOP, "1", fence=2)
        await log.append(sales([4]))

        with pytest.raises(LeaseLost):
            await asyncio.wait_for(paused, 30)

    assert (await state(store)).active.checkpoint.position == 3


async def test_one_with_a_lower_token_cannot_begin(store: PostgresProjectionStore) -> None:
    await store.begin(SHOP, "1", fence=2)

    with pytest.raises(LeaseLost):
        await store.begin(SHOP, "1", fence=1)


async def test_what_was_written_before_an_error_is_not_kept(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    begun = await store.begin(SHOP, "1", fence=1)
    before = await digest(store)
    await log.append(sales([1]))
    events = [event async for event in log.read()]

    async def fail_at_the_end() -> None:
        async with store.transaction(begun.active.checkpoint) as transaction:
            await Shop().apply(events, transaction)
            await transaction.move(events[0].position, "", 1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_at_the_end()

    assert await digest(store) == before
    assert (await state(store)).active.checkpoint == begun.active.checkpoint


async def test_stops_before_an_event_that_it_cannot_apply(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales([1, 2, 3, 4, 666, 5])
    await log.append(events)
    shop = Shop()
    shop.poison = {666}

    async with running(run_of(store, log, shop)):
        stopped = await until(store, 6)

    assert stopped.active.stop is not None
    assert stopped.active.stop.cause is StopCause.POISON
    assert (stopped.active.failed_position, stopped.active.attempt_count) == (5, 2)
    assert "cannot sell 666" in stopped.active.problem
    assert await digest(store) == expected(events[:4])


async def test_puts_the_rest_of_a_stream_aside_behind_an_event_that_it_cannot_apply(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales([1, 666, 2, 9, 3, 4, 5, 9, 6])
    await log.append(events)
    shop = Shop(PoisonPolicy.QUARANTINE)
    shop.poison = {666}

    async with running(run_of(store, log, shop)):
        status = await until(store, 9)

    assert status.active.stop is None
    assert status.active.quarantined_count == 2
    others = [event for event in events if event.stream != "till-1"]
    assert await digest(store) == expected(others)


async def test_an_error_whose_words_cannot_be_kept_as_they_are_is_told_all_the_same(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append(sales([666]))
    shop = Shop()
    shop.poison = {666}
    shop.words = "cannot\0 sell \ud800"

    async with running(run_of(store, log, shop)):
        stopped = await until(store, 1)

    assert stopped.active.problem == "ValueError: cannot\N{REPLACEMENT CHARACTER} sell ? 666"


async def test_another_version_is_built_anew_beside_what_is_read(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales(range(100))
    await log.append(events)
    async with running(run_of(store, log, Shop(version="1"))):
        await until(store, 100)

    async with running(run_of(store, log, Shop(version="2"))):
        async with asyncio.timeout(30):
            while (await state(store)).active.checkpoint.version != "2":
                assert await digest(store) == expected(events)
                await asyncio.sleep(0.005)

    assert await digest(store) == expected(events)


async def test_checkpoints_are_of_one_generation(store: PostgresProjectionStore) -> None:
    begun = await store.begin(SHOP, "1", fence=1)
    wrong = Checkpoint(key=SHOP, generation=7, fence=1, version="1")

    with pytest.raises(LeaseLost):
        async with store.transaction(wrong):
            pass

    assert (await state(store)).active == begun.active
