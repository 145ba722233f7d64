"""Tells the processes on one database which logs have moved and which groups have changed.

Knows no records.

They only make things quick, and may be lost: whoever follows a log looks by itself as well.
Notifications go out beside the appends and never inside them, where PostgreSQL would
serialise all commits of the database behind each other; what moves while one is on its way
is told together in the next.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from girih.ids import Position, TenantId
from services.events.lanes.group import GroupName
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger

_SPACING_S = 0.01
"""Between two notifications: a hundred a second tell what a thousand would."""

_NOTIFIED_COUNT_MAX = 1_000
_RECONNECT_DELAY_S = 1.0
_GROUP = "group"
_GROUP_PARTS = 2
"""Behind that: its tenant and its name."""

_log = get_logger("wakeups")


class NotificationChannel(Protocol):
    """Who passes texts between the processes on one database."""

    async def notify(self, texts: Sequence[str]) -> None:
        """Pass texts to all processes, this one included."""

    async def listen(self, received: Callable[[str], None], connected: Callable[[], None]) -> None:
        """Call `received` for every text told after `connected` was called, until the
        connection is lost, which raises `Unavailable`.
        """


class Follows(Protocol):
    """Who is woken."""

    def moved(self, tenant: TenantId, head: Position) -> None:
        """A log has been seen to end at `head`."""

    def look(self) -> None:
        """Any log may have moved unnoticed."""


class Groups(Protocol):
    """Who consumes groups here."""

    def wake_all(self, tenant: TenantId, group: GroupName) -> None:
        """A group has changed, or lanes of it are free."""


class NotificationInstruments(Protocol):
    """Where it is shown whether notifications come."""

    def listening(self, *, is_connected: bool) -> None:
        """Whether this process receives the notifications of others."""


class Notifications:
    """Notifies other processes of this one's commits, and receives what they notify of."""

    def __init__(
        self,
        exchange: NotificationChannel,
        follows: Follows,
        instruments: NotificationInstruments,
        groups: Groups | None = None,
    ) -> None:
        self._exchange = exchange
        self._follows = follows
        self._instruments = instruments
        self._groups = groups
        self._moved: dict[TenantId, Position] = {}
        self._changed: dict[tuple[TenantId, GroupName], None] = {}
        self._has_moved = asyncio.Event()

    def committed(self, tenant: TenantId, head: Position) -> None:
        """This process has moved the head of a log. Never waits."""
        self._follows.moved(tenant, head)
        self._moved[tenant] = head
        self._has_moved.set()

    def group_changed(self, tenant: TenantId, group: GroupName) -> None:
        """Consumers of a group came or went here, or it was changed. Never waits."""
        self._changed[tenant, group] = None
        self._has_moved.set()

    async def notify(self) -> None:
        """Notify the others; runs for ever. What fails is not repeated."""
        while True:
            await self._has_moved.wait()
            texts = self._take()
            try:
                await self._exchange.notify(texts)
            except ServiceError as error:
                _log.debug("other processes were not notified", problem=str(error))
            await asyncio.sleep(_SPACING_S)

    async def listen(self) -> None:
        """Receive the notifications of others; runs for ever."""
        while True:
            try:
                await self._exchange.listen(self._received, self._connected)
            except ServiceError as error:
                _log.warning(
                    "notifications of other processes are not received", problem=str(error)
                )
            finally:
                self._instruments.listening(is_connected=False)
            await asyncio.sleep(_RECONNECT_DELAY_S)

    def _take(self) -> list[str]:
        tenants = list(self._moved)[:_NOTIFIED_COUNT_MAX]
        texts = [f"{tenant} {self._moved.pop(tenant)}" for tenant in tenants]
        groups = list(self._changed)[: _NOTIFIED_COUNT_MAX - len(texts)]
        for tenant, group in groups:
            del self._changed[tenant, group]
            # Processes that know no groups take it for a log that they do not follow.
            texts.append(f"{_GROUP} {tenant} {group}")
        if not self._moved and not self._changed:
            self._has_moved.clear()
        return texts

    def _connected(self) -> None:
        self._instruments.listening(is_connected=True)
        self._follows.look()

    def _received(self, text: str) -> None:
        what, *named = text.split(" ")
        if what == _GROUP and len(named) == _GROUP_PARTS:
            if self._groups is not None:
                self._groups.wake_all(TenantId(named[0]), GroupName(named[1]))
            return
        tenant, _, head = text.rpartition(" ")
        if head.isdecimal():
            self._follows.moved(TenantId(tenant), Position(int(head)))
