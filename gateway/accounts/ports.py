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


class Throttle(Protocol):
    """Bounds how often passwords are guessed."""

    async def check(self, email_key: str, address: str) -> None:
        """Take a place for one guess; raises LoginThrottled. One of the others follows."""

    async def failed(self, email_key: str, address: str) -> None: ...

    async def succeeded(self, email_key: str, address: str) -> None: ...

    async def released(self, email_key: str, address: str) -> None:
        """The guess was never judged."""
