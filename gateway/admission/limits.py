"""How many calls a minute an address, a user and a tenant may make.

Windows are fixed: a minute per caller, beginning at a second that depends on the caller, so
that not all come back at once. One count answers everything, also how much is left and
until when, which costs one round trip to Redis where a sliding window costs two. The price
is that a caller may use two windows' calls around the moment where they meet. These limits
keep the gateway from being blocked; what a tenant has paid for is counted in `accounts.usage`.

Headers are those of draft-ietf-httpapi-ratelimit-headers-06, the last one with a header per
number, which is what clients read.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple, Self
from zlib import crc32

from prometheus_client import CollectorRegistry, Counter

from gateway.admission.counts import Counts
from gateway.admission.limit_settings import LimitSettings
from gateway.http.caller import network_of
from gateway.http.exchange import Headers
from services.plumbing.errors import ResourceExhausted
from services.plumbing.identity import Principal

WINDOW_S: Final = 60
_RESET_HEADERS: Final = tuple(
    (b"ratelimit-reset", b"%d" % reset_s) for reset_s in range(WINDOW_S + 1)
)


class RateLimited(ResourceExhausted):
    """Too many calls: retry after `retry_after_s`."""

    reason = "RATE_LIMITED"


@dataclass(frozen=True, slots=True)
class RatePolicy:
    """So many calls a minute."""

    per: str
    """Whose: address, user or tenant."""
    calls_max: int
    header: tuple[bytes, bytes]
    """What answers tell of it."""

    @classmethod
    def of(cls, per: str, calls_max: int) -> Self:
        return cls(per, calls_max, (b"ratelimit-limit", b"%d" % calls_max))


class RateStatus(NamedTuple):
    """How a caller stands with the tightest of the policies that apply."""

    policy: RatePolicy | None = None
    """None when nothing is limited."""
    remaining: int = 0
    reset_s: int = 0
    policies: bytes = b""
    """All policies that apply."""
    refused: RateLimited | None = None

    @property
    def headers(self) -> Headers:
        """For the answer, whichever it is. `Retry-After` comes with the refusal."""
        if self.policy is None:
            return ()
        return (
            self.policy.header,
            (b"ratelimit-remaining", b"%d" % self.remaining),
            _RESET_HEADERS[self.reset_s],
            (b"ratelimit-policy", self.policies),
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
        self._address = RatePolicy.of("address", settings.address_calls_per_minute)
        self._user = RatePolicy.of("user", settings.user_calls_per_minute)
        self._tenant = RatePolicy.of("tenant", settings.tenant_calls_per_minute)
        self._address_policies = _policy_header(self._address)
        self._caller_policies = _policy_header(self._address, self._user, self._tenant)
        self._start = RateStatus(policies=self._address_policies)
        self._counts = counts
        self._metrics = metrics
        self._clock = clock

    async def check_address(self, address: str) -> RateStatus:
        """To be asked first, before it costs anything to find out who calls."""
        return await self._count(self._address, network_of(address), self._start)

    async def check_caller(self, principal: Principal, status: RateStatus) -> RateStatus:
        """To be asked once it is known who calls, with what `check_address` answered."""
        if status.policies is self._address_policies:
            policy, remaining, reset_s, _, refused = status
            status = RateStatus(policy, remaining, reset_s, self._caller_policies, refused)
        status = await self._count(self._user, principal.subject, status)
        if status.refused is not None:
            return status
        return await self._count(self._tenant, principal.tenant, status)

    async def _count(self, policy: RatePolicy, caller: str, status: RateStatus) -> RateStatus:
        if not policy.calls_max or not caller:
            return status
        now_s = int(self._clock()) + crc32(caller.encode()) % WINDOW_S
        key = f"calls:{policy.per}:{caller}:{now_s // WINDOW_S}"
        count = self._counts.add_here(key, WINDOW_S)
        if count is None:
            count = await self._counts.add(key, WINDOW_S)
        remaining = policy.calls_max - count
        reset_s = WINDOW_S - now_s % WINDOW_S
        if remaining < 0:
            return self._refusal(policy, reset_s, status.policies)
        if status.policy is not None and status.remaining <= remaining:
            return status
        return RateStatus(policy, remaining, reset_s, status.policies)

    def _refusal(self, policy: RatePolicy, reset_s: int, policies: bytes) -> RateStatus:
        self._metrics.refused[policy.per].inc()
        refused = RateLimited(
            f"more than {policy.calls_max} calls within a minute from one {policy.per}",
            retry_after_s=float(reset_s),
            limit=policy.calls_max,
            per=policy.per,
        )
        return RateStatus(policy, 0, reset_s, policies, refused)


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


def _policy_header(*policies: RatePolicy) -> bytes:
    return ", ".join(
        f'{policy.calls_max};w={WINDOW_S};comment="{policy.per}"'
        for policy in policies
        if policy.calls_max
    ).encode()
