"""How often a password may be guessed, and by whom. Knows no passwords and no accounts.

A guess takes its place before the password is looked at and gives it back when it was
right, so that a thousand at once are no more than a thousand one after another. Whether an
account exists makes no difference: what is counted is the address that was typed.

Nobody can lock a user out from outside: a network from which the account was logged into
before is judged by what fails there, whatever fails elsewhere. In a row, an account never
stands more than 100 failures (NIST SP 800-63B): 80 from new networks and 20 from known ones.

This holds as long as the counters do: those in the process end with it, those in Redis
are shared by all replicas and outlive them.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from prometheus_client import CollectorRegistry, Counter

from gateway.admission.counts import Counts
from gateway.http.caller import network_of
from services.plumbing.errors import ResourceExhausted
from services.plumbing.logging import get_logger

_log = get_logger("security")

_MINUTE_S: Final = 60
_HOUR_S: Final = 60 * _MINUTE_S
_DAY_S: Final = 24 * _HOUR_S


class LoginThrottled(ResourceExhausted):
    """Too many attempts failed: retry after `retry_after_s`."""

    reason = "LOGIN_THROTTLED"


@dataclass(frozen=True, slots=True)
class FailureLimit:
    """So many failures, or registrations, within so long."""

    name: str
    failures_max: int
    window_s: int


PAIR = FailureLimit("pair", 5, 15 * _MINUTE_S)
"""One account from one network, known or not."""
ACCOUNT = FailureLimit("account", 20, _HOUR_S)
"""One account from all networks it was never logged into from."""
STREAK = FailureLimit("streak", 80, 30 * _DAY_S)
"""The same since the last login that succeeded."""
KNOWN_STREAK = FailureLimit("known-streak", 20, 30 * _DAY_S)
"""One account from networks it was logged into from, since the last login that succeeded.
Beyond it they are new ones."""
ADDRESS = FailureLimit("address", 50, _HOUR_S)
"""All accounts from one network that is new to them."""

_KNOWN_S = 90 * _DAY_S
_GLOBAL_WINDOW_S = 10 * _MINUTE_S


class RegistrationThrottled(ResourceExhausted):
    """Too many users registered from here: retry after `retry_after_s`."""

    reason = "REGISTRATION_THROTTLED"


@dataclass(frozen=True, slots=True)
class _Slot:
    """One counter that a guess takes a place in."""

    limit: FailureLimit
    key: str


class Throttle:
    """Counts guesses. `email_key` is any name of the account that does not tell the address."""

    def __init__(
        self,
        counts: Counts,
        metrics: "ThrottleMetrics",
        global_failures_max: int,
        clock: Callable[[], float] = time.time,
        *,
        registrations_max: int = 0,
        network_failures_max: int = ADDRESS.failures_max,
    ) -> None:
        self._counts = counts
        self._metrics = metrics
        self._global = FailureLimit("global", global_failures_max, _GLOBAL_WINDOW_S)
        self._address = replace(ADDRESS, failures_max=network_failures_max)
        self._registrations = FailureLimit("registration", registrations_max, _HOUR_S)
        self._clock = clock
        self._alarmed_until_s = 0.0

    async def registering(self, address: str) -> None:
        """Count a registration; raises RegistrationThrottled beyond what a network may.

        Each brings a tenant with what the free plan gives away.
        """
        limit = self._registrations
        if not limit.failures_max:
            return
        slot = _Slot(limit, f"registration:{_hidden(network_of(address))}")
        if await self._take(slot) > limit.failures_max:
            await _release(self._counts, [slot])
            self._metrics.throttled[limit.name].inc()
            left_s = await self._counts.ends_at(slot.key) - self._clock()
            raise RegistrationThrottled(
                "too many users registered from this network", retry_after_s=max(1.0, left_s)
            )

    async def check(self, email_key: str, address: str) -> "Guess":
        """Take a place for one guess; raises LoginThrottled when there is none.

        A process that dies before the guess is judged leaves it counted as a failure.
        """
        names = _Names(email_key, address)
        taken: list[_Slot] = []
        for slot in await self._slots(names):
            if await self._take(slot) > slot.limit.failures_max:
                await _release(self._counts, [*taken, slot])
                raise await self._throttled(slot)
            taken.append(slot)
        return Guess(self._counts, self._metrics, names, taken)

    async def _slots(self, names: "_Names") -> list[_Slot]:
        """Where a guess is counted.

        The widest come first: what strangers type makes no counters any longer, some of which
        would last for a month, once too many of their guesses were wrong.
        """
        pair = _Slot(PAIR, names.pair)
        if await self._is_known(names):
            return [pair, _Slot(KNOWN_STREAK, names.of_account(KNOWN_STREAK))]
        slots = [
            _Slot(self._address, names.address),
            pair,
            _Slot(ACCOUNT, names.of_account(ACCOUNT)),
            _Slot(STREAK, names.of_account(STREAK)),
        ]
        return [self._global_slot(), *slots] if self._global.failures_max else slots

    async def _is_known(self, names: "_Names") -> bool:
        if not await self._counts.read(names.known):
            return False
        failures = await self._counts.read(names.of_account(KNOWN_STREAK))
        return failures < KNOWN_STREAK.failures_max

    def _global_slot(self) -> _Slot:
        return _Slot(self._global, "login:global")

    async def _take(self, slot: _Slot) -> int:
        return await self._counts.add(slot.key, slot.limit.window_s)

    async def _throttled(self, slot: _Slot) -> LoginThrottled:
        self._metrics.throttled[slot.limit.name].inc()
        left_s = await self._counts.ends_at(slot.key) - self._clock()
        if slot.limit is self._global:
            self._alarm(left_s)
        # Which rule it was is not told: that would tell what is known of an account.
        return LoginThrottled("too many attempts failed", retry_after_s=max(1.0, left_s))

    def _alarm(self, left_s: float) -> None:
        """Somebody tries many accounts from many addresses: say so, once a window."""
        if self._clock() < self._alarmed_until_s:
            return
        self._alarmed_until_s = self._clock() + left_s
        _log.error(
            "so many logins fail that only known networks may still try",
            failures_max=self._global.failures_max,
            window_s=self._global.window_s,
        )


class Guess:
    """A guess that was let through, and the places that it took: exactly one method follows."""

    def __init__(
        self, counts: Counts, metrics: "ThrottleMetrics", names: "_Names", slots: list[_Slot]
    ) -> None:
        self._counts = counts
        self._metrics = metrics
        self._names = names
        self._slots = slots

    async def failed(self) -> None:
        """It was wrong: its places stay taken."""
        self._metrics.failed.inc()

    async def succeeded(self) -> None:
        """It was right: this ends the account's streaks, and makes the network known."""
        self._metrics.succeeded.inc()
        await _release(self._counts, self._slots)
        for limit in (STREAK, KNOWN_STREAK):
            await self._counts.forget(self._names.of_account(limit))
        await self._counts.forget(self._names.pair)
        await self._counts.add(self._names.known, _KNOWN_S)

    async def released(self) -> None:
        """It was never judged: its places are free again."""
        await _release(self._counts, self._slots)


async def _release(counts: Counts, slots: Sequence[_Slot]) -> None:
    for slot in slots:
        if await counts.read(slot.key) > 0:
            await counts.add(slot.key, slot.limit.window_s, -1)


class _Names:
    """The keys of counters that concern one account and one network, none telling either."""

    def __init__(self, email_key: str, address: str) -> None:
        network = network_of(address)
        self._account = _hidden(email_key)
        pair = _hidden(f"{email_key}\n{network}")
        self.pair = f"login:{PAIR.name}:{pair}"
        self.known = f"login:known:{pair}"
        self.address = f"login:{ADDRESS.name}:{_hidden(network)}"

    def of_account(self, limit: FailureLimit) -> str:
        return f"login:{limit.name}:{self._account}"


class ThrottleMetrics:
    """How guesses end."""

    def __init__(self, registry: CollectorRegistry) -> None:
        judged = Counter(
            "gateway_logins", "Passwords judged, by outcome.", ("outcome",), registry=registry
        )
        throttled = Counter(
            "gateway_logins_throttled",
            "Guesses and registrations not let through, by the rule they came up against.",
            ("rule",),
            registry=registry,
        )
        self.failed = judged.labels("failed")
        self.succeeded = judged.labels("succeeded")
        limits = (PAIR, ACCOUNT, STREAK, KNOWN_STREAK, ADDRESS)
        names = (*(limit.name for limit in limits), "global", "registration")
        self.throttled = {name: throttled.labels(name) for name in names}


def _hidden(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
