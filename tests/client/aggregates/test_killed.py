"""The event store is killed between commands and in their middle: each is carried out once."""

import asyncio
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from girih.client import (
    AsyncRepository,
    EventStoreClient,
    RetryPolicy,
    RevisionConflict,
    Unavailable,
    uuid7,
)
from tests.authority import Authority
from tests.client.aggregates.permits import PermitAggregate
from tests.processes import Process, ending, events_process

PATIENT = RetryPolicy(timeout_s=60.0, attempt_timeout_s=20.0)
IMPATIENT = replace(PATIENT, attempt_count_max=1)
"""Gives up as soon as a call fails, so that its callers do not know what has happened."""


@pytest.fixture
def own_event_store(
    database_url: str, authority: Authority, tmp_path: Path
) -> Iterator[tuple[Process, str]]:
    """One that a test may kill."""
    process, address = events_process(database_url, tmp_path, **authority.environ)
    with ending(process):
        process.start()
        process.wait_ready()
        yield process, address


async def test_commands_are_carried_out_once_though_the_event_store_is_killed(
    own_event_store: tuple[Process, str], authority: Authority
) -> None:
    process, address = own_event_store
    tenant = f"test-{secrets.token_hex(8)}"
    done: list[str] = []
    unknown = 0
    is_over = asyncio.Event()

    def token() -> str:
        return authority.token(tenant)

    async def note_on(permits: AsyncRepository[PermitAggregate], permit: str) -> None:
        nonlocal unknown
        while not is_over.is_set():
            note = str(uuid7())
            while True:
                try:
                    await permits.execute(permit, lambda one: one.note(note), command_id=note)  # noqa: B023 - called at once
                except RevisionConflict:
                    continue
                except Unavailable:
                    unknown += 1
                    await asyncio.sleep(0.05)
                else:
                    break
            done.append(note)

    async with EventStoreClient.connect(address, token=token, retry=IMPATIENT) as events:
        permits = AsyncRepository(events, PermitAggregate)
        async with asyncio.TaskGroup() as tasks:
            for permit in ("1", "1", "2"):
                tasks.create_task(note_on(permits, permit))
            for _ in range(3):
                await _until_grown(lambda: len(done), 10)
                process.kill()
                await _until_grown(lambda: unknown, 3)
                process.start()
                await asyncio.to_thread(process.wait_ready)
            await _until_grown(lambda: len(done), 10)
            is_over.set()

        patient = AsyncRepository(events.acting(retry=PATIENT), PermitAggregate)
        notes = [note for permit in ("1", "2") for note in (await patient.load(permit)).state.notes]

    assert sorted(notes) == sorted(done)


async def _until_grown(count: Callable[[], int], by: int) -> None:
    wanted = count() + by
    async with asyncio.timeout(60):
        while count() < wanted:  # noqa: ASYNC110 - several count
            await asyncio.sleep(0.01)
