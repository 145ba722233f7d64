"""Shows Prometheus what indicators come to, for the tenants that this process runs them for.

Read from the tables again and again, and only of tenants whose projection has moved: so what is
shown is what readers see, also behind a rebuild, and a scrape waits for nothing.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from girih.ids import TenantId
from services.plumbing.errors import ServiceError
from services.plumbing.logging import get_logger
from services.plumbing.postgres.failures import refusals_translated
from services.projections.domain import ReadPlace
from services.projections.shipped.indicators.definitions import Indicator
from services.projections.shipped.indicators.exact import add
from services.projections.shipped.indicators.reading import IndicatorReader, Totals

_INTERVAL_S: Final = 5.0

_log = get_logger("indicators")


class IndicatorMetrics(Collector):
    """The totals of indicators, of tenants named in their file each, and of all others together."""

    def __init__(
        self, reader: IndicatorReader, places: Callable[[], Mapping[TenantId, ReadPlace]]
    ) -> None:
        """`places` tells what is read of each tenant that the projection is run for here."""
        self._reader = reader
        self._places = places
        self._known: dict[TenantId, tuple[ReadPlace, Totals]] = {}

    async def run(self, interval_s: float = _INTERVAL_S) -> None:
        """Keep the totals for ever: the work of a task."""
        while True:
            try:
                await self.look()
            except ServiceError as error:
                _log.warning("totals of indicators grow old", problem=str(error))
            await asyncio.sleep(interval_s)

    async def look(self) -> None:
        """Read the totals of each tenant whose projection has moved."""
        places = self._places()
        for tenant in self._known.keys() - places.keys():
            del self._known[tenant]
        for tenant, place in places.items():
            if tenant not in self._known or self._known[tenant][0] != place:
                with refusals_translated():
                    self._known[tenant] = (place, await self._reader.totals(tenant))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called from another thread."""
        known = [(tenant, totals) for tenant, (_, totals) in [*self._known.items()]]
        for indicator in self._reader.definitions.indicators:
            sums: dict[tuple[str, ...], Decimal] = {}
            for tenant, totals in known:
                for labels, value in totals.of(indicator).items():
                    key = (self._shown(tenant), *labels)
                    sums[key] = add(sums.get(key, Decimal(0)), value)
            yield _family(indicator, sums)

    def _shown(self, tenant: TenantId) -> str:
        return tenant if tenant in self._reader.definitions.tenants else ""


def _family(indicator: Indicator, sums: Mapping[tuple[str, ...], Decimal]) -> GaugeMetricFamily:
    names = ["tenant", *(label.name for label in indicator.labels)]
    family = GaugeMetricFamily(
        f"indicator_{indicator.name}", indicator.help or "Declared without a help.", labels=names
    )
    for labels, value in sorted(sums.items()):
        family.add_metric(list(labels), float(value))
    return family
