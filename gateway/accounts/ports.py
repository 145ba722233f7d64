"""What accounts need of the rest of the gateway, and what everything here shares."""

import time
from collections.abc import Callable
from typing import Protocol

Clock = Callable[[], int]
"""Milliseconds of the Unix epoch."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class SecurityEvents(Protocol):
    """Where acts are told that matter to a tenant's safety. Never waits and never fails."""

    def record(self, tenant: str, kind: str, **fields: str) -> None: ...


class Guess(Protocol):
    """A password that may be looked at. Exactly one of these follows."""

    async def failed(self) -> None: ...

    async def succeeded(self) -> None: ...

    async def released(self) -> None:
        """The guess was never judged."""


class Throttle(Protocol):
    """Bounds how often passwords are guessed, and users made."""

    async def registering(self, address: str) -> None:
        """Count a registration; raises RegistrationThrottled."""

    async def check(self, email_key: str, address: str) -> Guess:
        """Take a place for one guess; raises LoginThrottled."""
