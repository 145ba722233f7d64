"""Removes arrays that no event speaks of: what was cut off, and what was written over.

It never removes what is in use, however many replicas there are and whenever one is killed. An
array is written once, and one event at most speaks of it: while its upload may go on it is left
alone, and its event may not come later than that (`FieldWriter.commit`). What has no event by
then, or has no field any more, will never have one. Then it stays for as long as somebody may
still read it who began before.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cachetools import LRUCache

from girih.ids import TenantId
from services.lattice.domain import LatticeId
from services.lattice.errors import LatticeNotFound, StorageUnavailable
from services.lattice.fields.states import FieldStates
from services.lattice.storage.arrays import ArrayPlace, ArrayStore
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.errors import EventsUnavailable, ServiceError
from services.plumbing.logging import get_logger

_TENANTS_MAX = 10_000
_MARGIN = 2
"""Clocks of replicas differ, and calls that are refused take their time."""
_UNFINISHED_S = 86_400.0

_log = get_logger("lattice")


class ArrayCollector:
    """Looks through what is kept, now and then, for the tenants that have called.

    Whose fields there are only their own log tells, and it is read in the name of who called
    last: arrays of a tenant that calls no more stay.
    """

    def __init__(
        self,
        arrays: ArrayStore,
        states: FieldStates,
        *,
        upload_s: float,
        replaced_s: float,
        history_s: float = 0.0,
        interval_s: float,
    ) -> None:
        """What is younger than `upload_s` may yet be spoken of; what nobody speaks of stays for
        `replaced_s` more. What callers sent that was written over stays for `history_s`."""
        self._arrays = arrays
        self._states = states
        self._upload_s = upload_s
        self._replaced_s = replaced_s
        self._history = timedelta(seconds=history_s)
        self._interval_s = interval_s
        self._callers: LRUCache[TenantId, Call] = LRUCache(_TENANTS_MAX)
        self._unspoken: dict[str, float] = {}
        """Since when an array is known to be spoken of by no event, by its folder."""
        self.removed = 0
        """How many arrays were removed."""

    def saw(self, call: Call) -> None:
        """Somebody of a tenant has called."""
        self._callers[call.tenant] = replace(call, deadline_s=None)

    async def run(self) -> None:
        """Look through everything for ever."""
        while True:
            await asyncio.sleep(self._interval_s)
            for call in list(self._callers.values()):
                try:
                    with correlation.bind(call):
                        await self.collect(call.tenant)
                except (EventsUnavailable, StorageUnavailable) as error:
                    _log.info("arrays are looked through later", problem=error.message)
                except ServiceError as error:
                    _log.warning("arrays cannot be looked through", problem=error.message)
            await self._arrays.objects.tidy(_UNFINISHED_S)

    async def collect(self, tenant: TenantId) -> None:
        """Remove what of one tenant is in nobody's use."""
        async for lattice_id in self._arrays.objects.folders(tenant):
            names = [name async for name in self._arrays.objects.folders(f"{tenant}/{lattice_id}")]
            places = [ArrayPlace(tenant, lattice_id, name) for name in names if _is_ours(name)]
            old = [place for place in places if self._is_old(place)]
            if old:
                await self._remove_unspoken(tenant, LatticeId(lattice_id), old)

    async def _remove_unspoken(
        self, tenant: TenantId, lattice_id: LatticeId, old: Iterable[ArrayPlace]
    ) -> None:
        in_use = await self._in_use(tenant, lattice_id)
        now_s = time.monotonic()
        for place in old:
            if place.array_id in in_use:
                self._unspoken.pop(place.folder, None)
                continue
            since_s = self._unspoken.setdefault(place.folder, now_s)
            if now_s - since_s >= self._replaced_s:
                await self._arrays.remove(place)
                del self._unspoken[place.folder]
                self.removed += 1

    async def _in_use(self, tenant: TenantId, lattice_id: LatticeId) -> frozenset[str]:
        """The arrays that the events of a lattice speak of, as they are now."""
        try:
            known = await self._states.confirmed(tenant, lattice_id)
            return known.arrays_since(datetime.now(UTC) - self._history)
        except LatticeNotFound:
            return frozenset()

    def _is_old(self, place: ArrayPlace) -> bool:
        return place.age_s > _MARGIN * self._upload_s


def _is_ours(name: str) -> bool:
    try:
        return UUID(name).version == 7
    except ValueError:
        return False
