"""What the processes of one gateway have in common, and what they tell together."""

import asyncio
import socket
import sys
import threading
import time
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from gateway.processes import merged_metrics, parent
from gateway.processes.channel import answer_child, to_parent
from gateway.processes.merged_metrics import MergedMetrics
from gateway.processes.parent import ProcessFailed
from gateway.processes.shared_counts import COUNTERS, KeptCounts, ParentCounts
from gateway.settings import Settings
from services.plumbing.metrics import metrics_server
from services.plumbing.tasks import OwnedTasks, TaskDied
from tests.authority import Authority


async def test_what_processes_count_they_count_together() -> None:
    kept = KeptCounts()

    async def answer(request: list[Any]) -> Any:
        assert request[0] == COUNTERS
        return await kept.answer(request[1], request[2], request[3:])

    tasks = OwnedTasks()
    pairs = [socket.socketpair() for _ in range(2)]
    for ours, _ in pairs:
        tasks.start("answers", answer_child(ours, answer))
    async with to_parent(pairs[0][1].detach()) as one, to_parent(pairs[1][1].detach()) as other:
        running = [tasks.start("channel", channel.run()) for channel in (one, other)]
        first, second = ParentCounts(one, "calls"), ParentCounts(other, "calls")
        counted = [await first.incr("k", 60), await second.incr("k", 60, 3)]
        ends_at = await first.get_expiry("k")
        elsewhere = await ParentCounts(one, "guesses").get("k")
        await second.clear("k")

        assert counted == [1, 4]
        assert elsewhere == 0
        assert 0 < ends_at - time.time() <= 60
        assert await first.get("k") == 0
        assert not any(task.done() for task in running)
        await tasks.stop()


async def test_without_the_parent_a_process_ends_and_counts_alone_until_then() -> None:
    ours, theirs = socket.socketpair()
    tasks = OwnedTasks()
    async with to_parent(theirs.detach()) as channel:
        tasks.start("parent", channel.run())
        ours.close()
        await tasks.failed.wait()

        with pytest.raises(OSError, match="gone"):
            await ParentCounts(channel, "calls").incr("k", 60)
    assert isinstance(tasks.failure, TaskDied)


async def test_a_parent_that_is_stopped_holds_no_call_up() -> None:
    ours, theirs = socket.socketpair()
    with ours:
        async with to_parent(theirs.detach()) as channel:
            counts = ParentCounts(channel, "calls")

            async with asyncio.timeout(10.0):
                with pytest.raises(TimeoutError):
                    await counts.incr("k", 60)
            assert issubclass(TimeoutError, counts.base_exceptions)


def test_metrics_of_a_process_that_has_just_died_are_left_out() -> None:
    own, of_another = CollectorRegistry(), CollectorRegistry()
    for registry in (own, of_another):
        Counter("calls", "Calls.", registry=registry).inc()
    with socket.socket() as nobody, metrics_server(of_another, "127.0.0.1", 0) as port:
        nobody.bind(("127.0.0.1", 0))
        merged = MergedMetrics(own, lambda: {1: port, 2: nobody.getsockname()[1]})

        [family] = [one for one in merged.collect() if one.name == "calls"]

    totals = [one.labels for one in family.samples if one.name == "calls_total"]
    assert totals == [{"process": "0"}, {"process": "1"}]


def test_all_processes_are_asked_for_their_metrics_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    all_are_asked = threading.Barrier(3, timeout=10)

    def read(port: int) -> str:
        all_are_asked.wait()
        return f"# TYPE calls counter\ncalls_total {port}.0\n# EOF\n"

    monkeypatch.setattr(merged_metrics, "_read", read)
    merged = MergedMetrics(CollectorRegistry(), lambda: {1: 11, 2: 12, 3: 13})

    [family] = merged.collect()

    assert [one.value for one in family.samples] == [11.0, 12.0, 13.0]


async def test_processes_that_never_serve_end_it(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parent, "_WORKER", "gateway.processes.none_of_this_name")
    settings = _settings(authority, processes=2)

    with pytest.raises(ProcessFailed, match=r"process [12] ended with 1 before it served"):
        await parent.run(settings)


async def test_a_process_that_cannot_be_made_counts_as_one_that_died(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere")
    settings = _settings(authority, processes=1)

    with pytest.raises(ProcessFailed, match=r"process 1 ended with 71 before it served"):
        await parent.run(settings)


def _settings(authority: Authority, *, processes: int) -> Settings:
    here = {
        "GIRIH_ENVIRONMENT": "development",
        "GATEWAY_ADDRESS": "127.0.0.1:0",
        "GATEWAY_METRICS_PORT": "0",
        "GATEWAY_PROCESSES": str(processes),
    }
    return Settings.from_environ(authority.environ | here)
