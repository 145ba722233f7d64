"""A process that stands still is told of in time, and nobody has to help when it goes on."""

import asyncio
import os
import signal

import pytest

from tests.chaos.trouble.asking import Asker
from tests.processes import System

pytestmark = pytest.mark.e2e


async def test_an_event_store_that_stands_still_is_told_of_and_goes_on_by_itself(
    system: System,
) -> None:
    asker = await asyncio.to_thread(Asker.settle, system.url, ["stream", "lattice_id"])
    os.kill(system.events.pid, signal.SIGSTOP)
    try:
        answers = await asker.ask(asker.main_calls())
        asker.judge(answers)
    finally:
        os.kill(system.events.pid, signal.SIGCONT)

    assert not answers.broken
    assert answers.reasons.keys() & {"DEADLINE_EXCEEDED", "EVENTS_UNAVAILABLE"}
    for _ in range(60):
        again = await asker.ask(asker.main_calls())
        if again.good_count == len(again.answers):
            break
        await asyncio.sleep(0.5)
    assert [one for one in again.answers if not one.is_good] == []
