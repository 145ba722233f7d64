"""Tells the processes on one database what tenants want of their projections. Knows no tables.

Texts only make things quick, and may be lost: whoever listens again looks at everything.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from girih.ids import TenantId
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger
from services.projections.domain import ProjectionKey

_RECONNECT_DELAY_S: Final = 1.0

_log = get_logger("projections")


class Channel(Protocol):
    """Who passes texts between the processes on one database."""

    async def notify(self, texts: Sequence[str]) -> None:
        """Pass texts to all processes, this one included."""

    async def listen(self, received: Callable[[str], None], connected: Callable[[], None]) -> None:
        """Call `received` for every text told after `connected` was called, until the
        connection is lost, which raises `Unavailable`.
        """


class Changes:
    """What was changed, for those who run it."""

    def __init__(
        self, channel: Channel, changed: Callable[[ProjectionKey], None], lost: Callable[[], None]
    ) -> None:
        """`lost` is called when any change may have been missed."""
        self._channel = channel
        self._changed = changed
        self._lost = lost

    async def notify(self, key: ProjectionKey) -> None:
        """Something of a projection was changed, and is committed."""
        await self._channel.notify([f"{key.tenant} {key.projection}"])

    async def listen(self) -> None:
        """Hear of changes for ever: the work of a task."""
        while True:
            try:
                await self._channel.listen(self._received, self._lost)
            except ServiceError as error:
                _log.warning("changes are not heard of", problem=str(error))
            await asyncio.sleep(_RECONNECT_DELAY_S)

    def _received(self, text: str) -> None:
        tenant, _, projection = text.partition(" ")
        self._changed(ProjectionKey(TenantId(tenant), projection))
