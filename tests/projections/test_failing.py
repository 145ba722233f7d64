"""An event that fails holds up what is behind it for no longer than it may still be applied."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import pytest

from girih.client import EventStoreClient, NewEvent, RecordedEvent
from girih.ids import Position
from girih.projection import PoisonPolicy, ProjectionTransaction
from services.plumbing.postgres.failures import DatabaseBusy
from services.projections.domain import ProjectionKey, StopCause
from services.projections.postgres.control import PostgresControl
from services.projections.postgres.store import PostgresProjectionStore
from services.projections.running.applying import FailureLimits
from services.projections.running.turns import Turns
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

LONG_PAUSES = FailureLimits(attempt_count_max=5, pause_s_min=600.0, pause_s_max=600.0)
"""A test in which there is a pause does not end."""


class FailingShop(Shop):
    """Fails at amounts of 666 and more, with the next of its errors."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__(PoisonPolicy.QUARANTINE)
        self.errors = list(errors)
        self.attempt_count = 0

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        await super().apply(events, transaction)
        if any(event.data["amount"] >= 666 for event in events) and self.errors:
            self.attempt_count += 1
            raise self.errors.pop(0)


class OtherShop(Shop):
    """Another projection, which keeps nothing."""

    name: ClassVar = "other"

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None: ...


class DividingShop(Shop):
    """Divides by what is left of 666."""

    async def apply(
        self, events: Sequence[RecordedEvent], transaction: ProjectionTransaction
    ) -> None:
        for event in events:
            await transaction.fetch("SELECT 1 / (666 - $1::int)", event.data["amount"])
        await super().apply(events, transaction)


async def test_data_that_the_database_refuses_is_put_aside_at_once(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales([1, 2, 666])
    await log.append(events)

    async with running(
        run_of(store, log, DividingShop(PoisonPolicy.QUARANTINE), failures=LONG_PAUSES)
    ):
        await until(store, 3)

    (aside,) = (await PostgresControl(store).quarantine(SHOP, Position(0), 10)).events
    assert (aside.position, aside.attempt_count) == (3, 1)
    assert await digest(store) == expected(events[:2])


async def test_what_fails_alike_twice_stops_without_a_pause(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append(sales([666]))
    shop = Shop()
    shop.poison = {666}

    async with running(run_of(store, log, shop, failures=LONG_PAUSES)):
        stopped = await until(store, 1)

    assert stopped.active.stop is not None
    assert stopped.active.stop.cause is StopCause.POISON
    assert stopped.active.attempt_count == 2


async def test_what_is_of_the_world_outside_is_tried_as_often_as_it_may(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = sales([1, 666])
    await log.append(events)
    limits = FailureLimits(attempt_count_max=5, pause_s_min=0.001, pause_s_max=0.001)
    shop = FailingShop(*[ConnectionRefusedError("the mail server")] * 5)

    async with running(run_of(store, log, shop, failures=limits)):
        status = await until(store, 2)

    # Once with the one before it.
    assert shop.attempt_count == 5
    assert status.active.quarantined_count == 0
    assert await digest(store) == expected(events)


async def test_what_is_tried_again_later_keeps_no_place_from_others(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append(sales([1, 666]))
    turns = Turns(1)
    failing = run_of(
        store, log, FailingShop(*[OSError("away")] * 9), failures=LONG_PAUSES, turns=turns
    )

    async with running(failing):
        await until_problem(store)
        async with running(run_of(store, log, OtherShop(), turns=turns)):
            await until(store, 2, ProjectionKey(TENANT, "other"))

    assert (await state(store)).active.checkpoint.position == 1


async def test_much_that_fails_keeps_no_place_from_others(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append([NewEvent.with_data(f"till-{n}", "sold", {"amount": 666}) for n in range(50)])
    shop = Shop(PoisonPolicy.QUARANTINE)
    shop.poison = {666}
    turns = Turns(1, turn_s=0.01)

    async with running(run_of(store, log, shop, turns=turns)):
        async with running(run_of(store, log, OtherShop(), turns=turns)):
            await until(store, 50, ProjectionKey(TENANT, "other"))
            then = await state(store)
        status = await until(store, 50)

    assert then.active.checkpoint.position < 50
    assert status.active.quarantined_count == 50


async def test_one_that_the_database_is_too_busy_for_stays_aside_and_holds_up_nothing(
    store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    events = [NewEvent.with_data("slow", "sold", {"amount": 666}), *sales([1, 2])]
    await log.append(events[:1])
    busy = DatabaseBusy("the database is too busy")
    shop = FailingShop(*[ValueError("not now")] * 2, busy, busy)

    async with running(run_of(store, log, shop)) as run:
        await until(store, 1)
        await PostgresControl(store).ask_replay(SHOP, "")
        await log.append(events[1:])
    assert run.cancelled()
    async with running(run_of(store, log, shop)):
        await until(store, 3)

    (aside,) = (await PostgresControl(store).quarantine(SHOP, Position(0), 10)).events
    assert "too busy" in aside.problem
    assert not aside.is_pending


@pytest.mark.parametrize("error", [TimeoutError("no answer"), FileNotFoundError("no table")])
async def test_an_error_of_a_projection_is_not_taken_for_one_of_the_database(
    error: OSError, store: PostgresProjectionStore, log: EventStoreClient
) -> None:
    await log.append(sales([666]))

    async with running(run_of(store, log, FailingShop(error, error))):
        status = await until(store, 1)

    assert status.active.quarantined_count == 1


async def until_problem(store: PostgresProjectionStore) -> None:
    """Return once the shop has noted that something failed."""
    async with asyncio.timeout(30):
        while True:
            await until(store, 0)
            if (await state(store)).active.problem:
                return
            await asyncio.sleep(0.01)
