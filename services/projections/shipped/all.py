"""The projections that come with girih."""

from collections.abc import Sequence

from girih.projection import Projection
from services.projections.shipped.documents.projection import Documents
from services.projections.shipped.event_types.projection import EventTypes


def shipped() -> Sequence[Projection]:
    """One of each, made anew."""
    return [Documents(), EventTypes()]
