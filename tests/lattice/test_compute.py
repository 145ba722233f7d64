"""How much runs and waits at once, and that nothing goes on for a caller that left."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import pytest

from girih.ids import TenantId
from services.lattice.computing.compute import Compute, Stop
from services.lattice.computing.estimate import LOOKS_PER_S, Estimate
from services.lattice.errors import ComputeBusy
from services.plumbing.correlation import Call, bind

T = TypeVar("T")


class Gate:
    """Work that runs until it is let through or told to stop, or for a minute at most."""

    def __init__(self) -> None:
        self.begun = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self, stop: Stop) -> str:
        self.begun.release()
        deadline_s = time.monotonic() + 60
        while not self.open.wait(0.005):
            stop.check()
            assert time.monotonic() < deadline_s, "nobody told it to stop"
        return "done"

    async def until_begun(self) -> None:
        assert await asyncio.to_thread(self.begun.acquire, timeout=60)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells when a thread has ended
            await asyncio.sleep(0.001)


def computing(*, threads: int, long_bytes: int, waiting_max: int) -> Compute:
    """With so many bytes for long work."""
    return Compute(threads=threads, bytes_max=long_bytes * 8 // 7, waiting_max=waiting_max)


def long(size_bytes: int) -> Estimate:
    return Estimate(size_bytes=size_bytes, looks=LOOKS_PER_S)


def short(size_bytes: int) -> Estimate:
    return Estimate(size_bytes=size_bytes, looks=1)


def run_of(
    tenant: str, compute: Compute, size_bytes: int, work: Callable[[Stop], T]
) -> asyncio.Task[T]:
    """A call of a tenant, begun."""
    with bind(Call(correlation_id="x", tenant=TenantId(tenant))):
        return asyncio.create_task(compute.run(long(size_bytes), work))


async def test_work_is_refused_with_a_delay_when_too_much_waits() -> None:
    compute, gate = computing(threads=1, long_bytes=100, waiting_max=2), Gate()
    running = [run_of(tenant, compute, 4, gate) for tenant in "aabb"]
    await until(lambda: compute.waiting == 2)

    with pytest.raises(ComputeBusy) as busy:
        await run_of("c", compute, 1, gate)
    gate.open.set()

    assert busy.value.retry_after_s
    assert await asyncio.gather(*running) == ["done"] * 4
    await compute.close()


async def test_work_whose_turn_does_not_come_in_half_its_time_is_refused_with_a_delay() -> None:
    compute, gate = computing(threads=1, long_bytes=100, waiting_max=10), Gate()
    running = run_of("a", compute, 4, gate)
    await gate.until_begun()

    hurried = Call(correlation_id="x", tenant=TenantId("a"), deadline_s=time.monotonic() + 0.1)
    with bind(hurried), pytest.raises(ComputeBusy) as busy:
        await compute.run(long(4), gate)
    gate.open.set()

    assert busy.value.retry_after_s
    assert compute.waiting == 0
    assert await running == "done"
    await compute.close()


@pytest.mark.parametrize("threads", [1, 3])
async def test_short_work_does_not_wait_for_long_work_of_its_tenant(threads: int) -> None:
    compute, gate = computing(threads=threads, long_bytes=100, waiting_max=50), Gate()
    calls = [run_of("a", compute, 40, gate) for _ in range(20)]
    await gate.until_begun()

    with bind(Call(correlation_id="x", tenant=TenantId("a"))):
        assert await compute.run(short(1), lambda _: "computed") == "computed"

    gate.open.set()
    await asyncio.gather(*calls)
    await compute.close()


async def order_of(first: Estimate, then: Estimate, wait_s: float) -> list[str]:
    """In which order work of one tenant is done that asks while another keeps the thread."""
    compute, gate = computing(threads=1, long_bytes=1 << 40, waiting_max=10), Gate()
    order: list[str] = []
    with bind(Call(correlation_id="x", tenant=TenantId("a"))):
        tasks = [asyncio.create_task(compute.run(long(1), gate))]
        await gate.until_begun()
        tasks += [asyncio.create_task(compute.run(first, noting(order, "first")))]
        await until(lambda: compute.waiting == 1)
        asked_s = time.monotonic()
        await until(lambda: time.monotonic() - asked_s >= wait_s)
        tasks += [asyncio.create_task(compute.run(then, noting(order, "then")))]
        await until(lambda: compute.waiting == 2)
    gate.open.set()
    await asyncio.gather(*tasks)
    await compute.close()
    return order


_MILLISECOND = LOOKS_PER_S // 1_000


async def test_shorter_work_overtakes_longer_of_its_tenant() -> None:
    longer = Estimate(size_bytes=1 << 30, looks=10**6 * _MILLISECOND)
    shorter = Estimate(size_bytes=1 << 30, looks=0)

    assert await order_of(longer, shorter, 0) == ["then", "first"]


async def test_work_that_has_waited_is_overtaken_no_more() -> None:
    longer = Estimate(size_bytes=1 << 30, looks=_MILLISECOND)
    shorter = Estimate(size_bytes=1 << 30, looks=0)

    assert await order_of(longer, shorter, 0.01) == ["first", "then"]


async def test_no_more_bytes_are_lent_than_there_are() -> None:
    compute = computing(threads=8, long_bytes=100, waiting_max=1_000)
    held = [0]
    most = [0]
    lock = threading.Lock()

    def work(_: Stop) -> None:
        with lock:
            held[0] += 30
            most[0] = max(most[0], held[0])
        time.sleep(0.001)
        with lock:
            held[0] -= 30

    await asyncio.gather(*(run_of(f"t{n % 6}", compute, 30, work) for n in range(60)))

    assert most[0] == 90
    await until(lambda: compute.bytes_lent == 0)
    await compute.close()


async def test_a_large_reservation_is_not_overtaken_for_ever_by_small_ones() -> None:
    compute, gate = computing(threads=4, long_bytes=10, waiting_max=100), Gate()
    order: list[str] = []
    first = run_of("a", compute, 5, gate)
    await gate.until_begun()

    rest = [run_of("b", compute, 8, noting(order, "large"))]
    rest += [run_of("c", compute, 1, noting(order, "small"))]
    await until(lambda: compute.waiting == 2)
    gate.open.set()
    await asyncio.gather(first, *rest)

    assert order == ["large", "small"]
    await compute.close()


def noting(order: list[str], name: str) -> Callable[[Stop], str]:
    """Work that does nothing but note that it was done."""

    def work(_: Stop) -> str:
        order.append(name)
        return name

    return work


async def test_a_tenant_leaves_half_of_the_bytes_to_others() -> None:
    compute, gate = computing(threads=9, long_bytes=10, waiting_max=100), Gate()

    calls = [run_of("greedy", compute, 2, gate) for _ in range(5)]
    await until(lambda: compute.waiting == 3)

    assert await run_of("other", compute, 5, lambda _: "computed") == "computed"
    gate.open.set()
    assert await asyncio.gather(*calls) == ["done"] * 5
    await until(lambda: compute.bytes_lent == 0)
    await compute.close()


async def test_a_tenant_with_a_large_call_gets_it_computed_alone() -> None:
    compute, gate = computing(threads=9, long_bytes=10, waiting_max=100), Gate()
    order: list[str] = []
    small = run_of("t", compute, 1, gate)
    await gate.until_begun()

    rest = [run_of("t", compute, 9, noting(order, "large"))]
    rest += [run_of("t", compute, 1, noting(order, "small"))]
    await until(lambda: compute.waiting == 2)
    gate.open.set()
    await asyncio.gather(small, *rest)

    assert order == ["large", "small"]
    await compute.close()


async def test_a_tenant_leaves_half_of_the_line_to_others() -> None:
    compute, gate = computing(threads=1, long_bytes=100, waiting_max=4), Gate()
    calls = [run_of("greedy", compute, 1, gate) for _ in range(3)]
    await until(lambda: compute.waiting == 2)

    with pytest.raises(ComputeBusy):
        await run_of("greedy", compute, 1, gate)
    calls += [run_of("other", compute, 1, gate) for _ in range(2)]
    gate.open.set()

    assert await asyncio.gather(*calls) == ["done"] * 5
    await compute.close()


@pytest.mark.parametrize("threads", [1, 2, 5])
async def test_a_tenant_is_computed_at_once_however_much_another_computes(threads: int) -> None:
    compute, gate = computing(threads=threads, long_bytes=10_000, waiting_max=1_000), Gate()
    calls = [run_of("greedy", compute, 1, gate) for _ in range(500)]
    await until(lambda: compute.waiting == 500 - threads)

    assert await run_of("other", compute, 1, lambda _: "computed") == "computed"
    assert compute.running == threads
    gate.open.set()
    assert await asyncio.gather(*calls) == ["done"] * 500
    await compute.close()


async def test_a_cancelled_call_frees_its_thread_and_its_bytes() -> None:
    compute, gate = computing(threads=1, long_bytes=10, waiting_max=10), Gate()
    task = asyncio.create_task(compute.run(long(10), gate))
    await gate.until_begun()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert await compute.run(long(10), lambda _: "next") == "next"
    await compute.close()


async def test_bytes_stay_lent_until_the_thread_has_let_go_of_them() -> None:
    compute = computing(threads=1, long_bytes=10, waiting_max=10)
    begun, release = threading.Event(), threading.Event()

    def deaf(_: Stop) -> None:
        begun.set()
        release.wait(60)

    task = asyncio.create_task(compute.run(long(10), deaf))
    await asyncio.to_thread(begun.wait, 60)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert compute.bytes_lent == 10
    release.set()
    await until(lambda: compute.bytes_lent == 0)
    await compute.close()


async def test_how_long_stopped_work_went_on_is_told_once_and_of_no_other() -> None:
    stopped_s: list[float] = []
    compute, gate = (
        Compute(threads=1, bytes_max=80, waiting_max=9, on_stopped=stopped_s.append),
        Gate(),
    )
    assert await compute.run(long(10), lambda _: "done") == "done"
    task = asyncio.create_task(compute.run(long(10), gate))
    await gate.until_begun()

    task.cancel()
    await until(lambda: len(stopped_s) > 0)

    assert len(stopped_s) == 1
    assert stopped_s[0] >= 0
    await compute.close()


async def test_a_caller_that_leaves_the_line_takes_no_bytes() -> None:
    compute, gate = computing(threads=1, long_bytes=10, waiting_max=10), Gate()
    running = asyncio.create_task(compute.run(long(10), gate))
    await gate.until_begun()
    waiting = asyncio.create_task(compute.run(long(10), gate))
    await until(lambda: compute.waiting == 1)

    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    gate.open.set()
    await running

    await until(lambda: compute.bytes_lent == 0)
    assert compute.waiting == 0
    await compute.close()


async def test_closing_stops_what_runs() -> None:
    compute, gate = computing(threads=2, long_bytes=10, waiting_max=10), Gate()
    tasks = [asyncio.create_task(compute.run(long(1), gate)) for _ in range(2)]
    await gate.until_begun()
    await gate.until_begun()

    async with asyncio.timeout(60):
        await compute.close()

    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, Exception) for result in results)


async def test_a_failure_of_work_is_that_of_its_call() -> None:
    compute = computing(threads=1, long_bytes=10, waiting_max=10)

    def fail(_: Stop) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await compute.run(long(10), fail)

    await until(lambda: compute.bytes_lent == 0)
    await compute.close()


async def test_the_loop_goes_on_while_work_runs() -> None:
    compute, gate = computing(threads=1, long_bytes=10, waiting_max=10), Gate()
    task = asyncio.create_task(compute.run(long(1), gate))
    await gate.until_begun()

    await asyncio.sleep(0)

    assert not task.done()
    gate.open.set()
    await task
    await compute.close()
