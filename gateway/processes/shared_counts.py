"""Counters that the processes of one gateway share: kept by the parent, asked for by each.

Where there is a Redis they are kept there, and these are not used.
"""

from typing import Any, Final

from limits.aio.storage import Storage

from gateway.admission.counts import MemoryCounts
from gateway.processes.channel import ParentChannel

COUNTERS: Final = "count"
"""What requests begin with that are about counters."""

_TIMEOUT_S: Final = 0.5
"""A call waits for it: where the parent is stopped, or has no core, its process counts alone."""


class KeptCounts:
    """All counters of a gateway, by group. A group has its own bound, so that calls do not push
    out what guesses were counted."""

    def __init__(self) -> None:
        self._groups: dict[str, MemoryCounts] = {}

    async def answer(self, group: str, method: str, arguments: list[Any]) -> int | float | None:
        """What a process asks by way of `ParentCounts`."""
        storage = self._groups.setdefault(group, MemoryCounts())
        match method:
            case "incr":
                return await storage.incr(*arguments)
            case "get":
                return await storage.get(*arguments)
            case "get_expiry":
                return await storage.get_expiry(*arguments)
            case "clear":
                await storage.clear(*arguments)
                return None
            case _:
                raise ValueError(f"no counter does {method}")


class ParentCounts(Storage):
    """A group of counters as a process has it. Raises OSError when the parent does not answer."""

    STORAGE_SCHEME = None

    def __init__(self, channel: ParentChannel, group: str) -> None:
        super().__init__()
        self._channel = channel
        self._group = group

    @property
    def base_exceptions(self) -> type[Exception]:
        return OSError

    async def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        return int(await self._ask("incr", key, expiry, amount))

    async def get(self, key: str) -> int:
        return int(await self._ask("get", key))

    async def get_expiry(self, key: str) -> float:
        return float(await self._ask("get_expiry", key))

    async def clear(self, key: str) -> None:
        await self._ask("clear", key)

    async def check(self) -> bool:
        return True

    async def reset(self) -> int | None:
        raise NotImplementedError("no process forgets what all have counted")

    async def _ask(self, method: str, *arguments: str | int) -> Any:  # noqa: ANN401 - a number
        return await self._channel.ask(
            COUNTERS, self._group, method, *arguments, timeout_s=_TIMEOUT_S
        )
