"""Guessing passwords: how many guesses are let through, and who still gets in."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import cycle, islice

import pytest
from prometheus_client import CollectorRegistry

from gateway.admission.throttle import (
    ACCOUNT,
    ADDRESS,
    KNOWN_STREAK,
    PAIR,
    STREAK,
    LoginThrottled,
    RegistrationThrottled,
    Throttle,
    ThrottleMetrics,
)
from gateway.http.errors import from_service_error
from tests.gateway.counting import Clock, counts_at

GLOBAL_MAX = 600
OWN = "192.0.2.1"
AWAY = "198.51.100.1"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def throttle(clock: Clock, registry: CollectorRegistry) -> Throttle:
    return Throttle(counts_at(clock), ThrottleMetrics(registry), GLOBAL_MAX, clock)


async def is_let_try(throttle: Throttle, account: str, address: str) -> bool:
    """One wrong guess, or a refusal."""
    try:
        guess = await throttle.check(account, address)
    except LoginThrottled:
        return False
    await guess.failed()
    return True


async def log_in(throttle: Throttle, account: str, address: str) -> None:
    guess = await throttle.check(account, address)
    await guess.succeeded()


async def guesses_let_through(throttle: Throttle, account: str, addresses: list[str]) -> int:
    """Of one wrong guess from each of the addresses."""
    return sum([await is_let_try(throttle, account, address) for address in addresses])


def addresses(count: int) -> list[str]:
    return [f"10.{n // 65_536 % 256}.{n // 256 % 256}.{n % 256}" for n in range(count)]


async def test_an_address_may_try_an_account_so_often_and_no_more(throttle: Throttle) -> None:
    assert await guesses_let_through(throttle, "ada", [OWN] * 50) == PAIR.failures_max


async def test_an_ipv6_customer_gets_no_more_guesses_by_changing_its_address(
    throttle: Throttle,
) -> None:
    tried = [f"2001:db8:1:2::{n:x}" for n in range(50)]

    assert await guesses_let_through(throttle, "ada", tried) == PAIR.failures_max


async def test_guesses_made_at_once_are_no_more_than_one_after_another(
    throttle: Throttle,
) -> None:
    async def judged_late() -> bool:
        try:
            guess = await throttle.check("ada", OWN)
        except LoginThrottled:
            return False
        await asyncio.sleep(0)
        await guess.failed()
        return True

    tried = await asyncio.gather(*(judged_late() for _ in range(100)))

    assert sum(tried) == PAIR.failures_max


async def test_an_account_is_guessed_at_so_often_an_hour_from_whatever_addresses(
    throttle: Throttle,
) -> None:
    assert await guesses_let_through(throttle, "ada", addresses(300)) == ACCOUNT.failures_max


async def test_an_account_never_stands_a_hundred_failures_in_a_row(
    throttle: Throttle, clock: Clock
) -> None:
    await log_in(throttle, "ada", OWN)
    failures = 0
    for address in islice(cycle([OWN, *addresses(5_000)]), 10_000):
        failures += await is_let_try(throttle, "ada", address)
        clock.turn(120)

    assert failures <= STREAK.failures_max + KNOWN_STREAK.failures_max == 100


async def test_an_address_guesses_as_often_as_the_settings_let_it(
    clock: Clock, registry: CollectorRegistry
) -> None:
    metrics = ThrottleMetrics(registry)
    throttle = Throttle(counts_at(clock), metrics, GLOBAL_MAX, clock, network_failures_max=7)

    tried = [await is_let_try(throttle, f"user-{n}", OWN) for n in range(20)]

    assert sum(tried) == 7


async def test_an_address_guesses_at_so_many_accounts_an_hour_and_no_more(
    throttle: Throttle,
) -> None:
    tried = [await is_let_try(throttle, f"user-{n}", OWN) for n in range(500)]

    assert sum(tried) == ADDRESS.failures_max


async def test_ten_thousand_accounts_are_sprayed_in_vain_and_a_user_still_gets_in(
    throttle: Throttle, clock: Clock, registry: CollectorRegistry
) -> None:
    await log_in(throttle, "user-5000", OWN)
    started_s = clock.now_s
    let_through = dict.fromkeys(range(10_000), 0)
    for _password in range(3):
        for n, address in enumerate(addresses(10_000)):
            let_through[n] += await is_let_try(throttle, f"user-{n}", address)
            clock.turn(0.2)

    windows = (clock.now_s - started_s) // 600 + 1
    assert sum(let_through.values()) <= windows * GLOBAL_MAX
    assert max(let_through.values()) <= 3
    await log_in(throttle, "user-5000", OWN)
    assert registry.get_sample_value("gateway_logins_throttled_total", {"rule": "global"})


@pytest.mark.parametrize("attempts", [1_000, 20_000])
async def test_nobody_locks_a_user_out_of_an_address_that_was_logged_in_from(
    throttle: Throttle, clock: Clock, attempts: int
) -> None:
    await log_in(throttle, "ada", OWN)
    for address in addresses(attempts):
        await is_let_try(throttle, "ada", address)
        clock.turn(30)

    await log_in(throttle, "ada", OWN)


async def test_neighbours_who_guess_do_not_lock_out_whom_the_address_is_known_for(
    throttle: Throttle,
) -> None:
    await log_in(throttle, "ada", OWN)
    for n in range(500):
        await is_let_try(throttle, f"user-{n}", OWN)

    await log_in(throttle, "ada", OWN)


async def test_a_login_that_succeeds_ends_the_streak(throttle: Throttle, clock: Clock) -> None:
    await log_in(throttle, "ada", OWN)
    for address in addresses(1_000):
        await is_let_try(throttle, "ada", address)
        clock.turn(600)
    before = await is_let_try(throttle, "ada", AWAY)

    await log_in(throttle, "ada", OWN)

    assert (before, await is_let_try(throttle, "ada", AWAY)) == (False, True)


async def test_successes_take_no_place_that_a_failure_would(throttle: Throttle) -> None:
    for _ in range(200):
        await log_in(throttle, "ada", OWN)

    assert await guesses_let_through(throttle, "ada", [AWAY] * 10) == PAIR.failures_max


async def test_guesses_that_were_never_judged_take_no_place(throttle: Throttle) -> None:
    for _ in range(200):
        guess = await throttle.check("ada", OWN)
        await guess.released()

    assert await guesses_let_through(throttle, "ada", [OWN] * 10) == PAIR.failures_max


async def test_logins_made_at_once_from_a_new_network_take_no_place(throttle: Throttle) -> None:
    for n in range(ADDRESS.failures_max):
        guesses = [await throttle.check(f"user-{n}", OWN) for _ in range(2)]
        for guess in guesses:
            await guess.succeeded()

    assert await is_let_try(throttle, "ada", OWN)


async def test_refused_guesses_use_up_nothing(throttle: Throttle, clock: Clock) -> None:
    for _ in range(1_000):
        await is_let_try(throttle, "ada", OWN)

    others = await guesses_let_through(throttle, "ada", addresses(100))

    assert others == ACCOUNT.failures_max - PAIR.failures_max


async def test_guesses_refused_for_the_accounts_sake_use_up_nothing_of_the_addresss(
    throttle: Throttle,
) -> None:
    await guesses_let_through(throttle, "ada", addresses(100))
    refused = await guesses_let_through(throttle, "ada", [OWN] * 5)

    others = [await is_let_try(throttle, f"user-{n}", OWN) for n in range(100)]

    assert (refused, sum(others)) == (0, ADDRESS.failures_max)


async def test_a_known_network_with_many_failures_is_judged_as_a_new_one(
    throttle: Throttle, clock: Clock
) -> None:
    await log_in(throttle, "ada", OWN)
    for _ in range(KNOWN_STREAK.failures_max):
        assert await is_let_try(throttle, "ada", OWN)
        clock.turn(PAIR.window_s)

    is_let = await is_let_try(throttle, "ada", OWN)
    others = await guesses_let_through(throttle, "ada", addresses(100))

    assert (is_let, others) == (True, ACCOUNT.failures_max - 1)


async def test_a_refusal_says_when_to_come_back_and_then_it_is_true(
    throttle: Throttle, clock: Clock
) -> None:
    for _ in range(PAIR.failures_max):
        await is_let_try(throttle, "ada", OWN)
    with pytest.raises(LoginThrottled) as refused:
        await throttle.check("ada", OWN)
    assert refused.value.retry_after_s is not None

    clock.turn(refused.value.retry_after_s - 1)
    early = await is_let_try(throttle, "ada", OWN)
    clock.turn(1)
    late = await is_let_try(throttle, "ada", OWN)

    assert (early, late) == (False, True)


async def test_a_refusal_is_429_and_does_not_tell_which_rule_it_was(throttle: Throttle) -> None:
    async def refused(sequence: Callable[[], Awaitable[object]]) -> LoginThrottled:
        for _ in range(200):
            await sequence()
        raise AssertionError("never refused")

    with pytest.raises(LoginThrottled) as by_pair:
        await refused(lambda: throttle.check("ada", OWN))
    for n in range(ADDRESS.failures_max):
        await is_let_try(throttle, f"user-{n}", AWAY)
    with pytest.raises(LoginThrottled) as by_address:
        await throttle.check("ada", AWAY)

    answers = [from_service_error(error.value) for error in (by_pair, by_address)]
    assert [answer.status for answer in answers] == [429, 429]
    assert answers[0].message == answers[1].message
    assert answers[0].details.keys() == answers[1].details.keys()


async def test_the_counters_tell_no_account_and_no_address(clock: Clock) -> None:
    counts = counts_at(clock)
    throttle = Throttle(counts, ThrottleMetrics(CollectorRegistry()), GLOBAL_MAX, clock)
    await log_in(throttle, "ada@girih.dev", OWN)
    await is_let_try(throttle, "ada@girih.dev", AWAY)

    keys = repr(counts._local.__dict__)

    assert "login:" in keys
    assert not [response for response in ("ada", OWN, AWAY) if response in keys]


@pytest.mark.parametrize("address_count", [1, 1_000])
async def test_guesses_that_are_refused_push_no_counter_out(
    clock: Clock, address_count: int
) -> None:
    counts = counts_at(clock, key_count_max=1_300)
    throttle = Throttle(counts, ThrottleMetrics(CollectorRegistry()), 600, clock)
    tried = await guesses_let_through(throttle, "ada", addresses(50))

    sources = islice(cycle(addresses(address_count)), 5_000)
    for number, address in enumerate(sources):
        await is_let_try(throttle, f"user-{number}", address)
    clock.turn(600)

    assert tried == ACCOUNT.failures_max
    assert await guesses_let_through(throttle, "ada", addresses(50)) == 0


async def test_a_global_limit_of_zero_limits_nothing(
    clock: Clock, registry: CollectorRegistry
) -> None:
    throttle = Throttle(counts_at(clock), ThrottleMetrics(registry), 0, clock)

    tried = [await is_let_try(throttle, f"user-{n}", a) for n, a in enumerate(addresses(2_000))]

    assert all(tried)


async def test_a_network_registers_so_many_users_an_hour_and_no_more(clock: Clock) -> None:
    metrics = ThrottleMetrics(CollectorRegistry())
    throttle = Throttle(counts_at(clock), metrics, GLOBAL_MAX, clock, registrations_max=3)

    for _ in range(3):
        await throttle.registering("2001:db8::1")
    with pytest.raises(RegistrationThrottled) as caught:
        await throttle.registering("2001:db8::2")

    await throttle.registering(AWAY)
    assert caught.value.retry_after_s is not None
    clock.turn(caught.value.retry_after_s)
    await throttle.registering("2001:db8::1")
