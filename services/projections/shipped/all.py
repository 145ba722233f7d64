"""The projections that come with girih."""

from collections.abc import Sequence

from girih.projection import Projection
from services.projections.shipped.documents.projection import Documents
from services.projections.shipped.event_types.projection import EventTypes
from services.projections.shipped.indicators.definitions import Definitions
from services.projections.shipped.indicators.projection import Indicators
from services.projections.shipped.lattices.projection import Lattices


def shipped(indicators: Definitions | None = None) -> Sequence[Projection]:
    """One of each, made anew: that of indicators where some are declared, or that is not known."""
    projections: list[Projection] = [Documents(), EventTypes(), Lattices()]
    if indicators is None or indicators.indicators:
        projections.append(Indicators(indicators or Definitions()))
    return projections
