"""How many calls a minute an address, a user and a tenant may make.

Windows are fixed: a minute per caller, beginning at a second that depends on the caller, so
that not all come back at once. One count answers everything, also how much is left and
until when, which costs one round trip to Redis where a sliding window costs two. The price
is that a caller may use two windows' calls around the moment where they meet. These limits
keep the door from being blocked; what a tenant has paid for is counted in `accounts.usage`.

Headers are those of draft-ietf-httpapi-ratelimit-headers-06, the last one with a header per
number, which is what clients read.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from prometheus_client import CollectorRegistry, Counter

from gateway.admission.counts import Counts
from gateway.admission.limit_settings import LimitSettings
from gateway.http.caller import network_of
from services.plumbing.errors import ResourceExhausted
from services.plumbing.identity import Principal

WINDOW_S: Final = 60

Headers = tuple[tuple[bytes, bytes], ...]


class RateLimited(ResourceExhausted):
    """Too many calls: retry after `retry_after_s`."""

    reason = "RATE_LIMITED"


@dataclass(frozen=True, slots=True)
class Policy:
    """So many calls a minute."""

    per: str
    """Whose: address, user or tenant."""
    calls_max: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a caller stands with the tightest of the policies that apply."""

    policy: Policy | None = None
    """None when nothing is limited."""
    remaining: int = 0
    reset_s: int = 0
    told: bytes = b""
    """All policies that apply."""
    refused: RateLimited | None = None

    @property
    def headers(self) -> Headers:
        """For the answer, whichever it is. `Retry-After` comes with the refusal."""
        if self.policy is None:
            return ()
        return (
            (b"ratelimit-limit", b"%d" % self.policy.calls_max),
            (b"ratelimit-remaining", b"%d" % self.remaining),
            (b"ratelimit-reset", b"%d" % self.reset_s),
            (b"ratelimit-policy", self.told),
        )


class Limits:
    """Counts calls, and says which are too many.

    A refused call counts against the policy that refused it and against none after it: a
    user who is refused uses up nothing of the tenant's.
    """

    def __init__(
        self,
        settings: LimitSettings,
        counts: Counts,
        metrics: "LimitMetrics",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._address = Policy("address", settings.address_calls_per_minute)
        self._user = Policy("user", settings.user_calls_per_minute)
        self._tenant = Policy("tenant", settings.tenant_calls_per_minute)
        self._told_to_strangers = _told(self._address)
        self._told_to_callers = _told(self._address, self._user, self._tenant)
        self._counts = counts
        self._metrics = metrics
        self._clock = clock

    async def check_address(self, address: str) -> Verdict:
        """To be asked first, before it costs anything to find out who calls."""
        start = Verdict(told=self._told_to_strangers)
        return await self._count(self._address, network_of(address), start)

    async def check_caller(self, principal: Principal, so_far: Verdict) -> Verdict:
        """To be asked once it is known who calls, with what `check_address` answered."""
        if so_far.told is self._told_to_strangers:
            so_far = Verdict(so_far.policy, so_far.remaining, so_far.reset_s, self._told_to_callers)
        verdict = await self._count(self._user, principal.subject, so_far)
        if verdict.refused is not None:
            return verdict
        return await self._count(self._tenant, principal.tenant, verdict)

    async def _count(self, policy: Policy, who: str, so_far: Verdict) -> Verdict:
        if not policy.calls_max or not who:
            return so_far
        now_s = int(self._clock()) + crc32(who.encode()) % WINDOW_S
        key = f"calls:{policy.per}:{who}:{now_s // WINDOW_S}"
        remaining = policy.calls_max - await self._counts.add(key, WINDOW_S)
        reset_s = WINDOW_S - now_s % WINDOW_S
        if remaining < 0:
            return self._refusal(policy, reset_s, so_far.told)
        if so_far.policy is not None and so_far.remaining <= remaining:
            return so_far
        return Verdict(policy, remaining, reset_s, so_far.told)

    def _refusal(self, policy: Policy, reset_s: int, told: bytes) -> Verdict:
        self._metrics.refused[policy.per].inc()
        refused = RateLimited(
            f"more than {policy.calls_max} calls within a minute from one {policy.per}",
            retry_after_s=float(reset_s),
            limit=policy.calls_max,
            per=policy.per,
        )
        return Verdict(policy, 0, reset_s, told, refused)


class LimitMetrics:
    """What the limits refuse."""

    def __init__(self, registry: CollectorRegistry) -> None:
        refused = Counter(
            "gateway_calls_limited",
            "Calls refused because there were too many, by whose they were.",
            ("per",),
            registry=registry,
        )
        self.refused = {per: refused.labels(per) for per in ("address", "user", "tenant")}


def _told(*policies: Policy) -> bytes:
    return ", ".join(
        f'{policy.calls_max};w={WINDOW_S};comment="{policy.per}"'
        for policy in policies
        if policy.calls_max
    ).encode()
