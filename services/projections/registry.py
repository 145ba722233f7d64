"""Which projections there are: girih's own, and those that others plug in by entry points."""

import re
from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from girih.projection import ENTRY_POINTS, Projection
from services.plumbing.logging import get_logger
from services.projections.errors import WrongProjection

_is_name: Final = re.compile(r"[a-z][a-z0-9_]{0,39}").fullmatch

_log = get_logger("projections")


def all_projections(
    own: Iterable[Projection], plugged_in: Iterable[EntryPoint] | None = None
) -> Mapping[str, Projection]:
    """By name. Raises WrongProjection for two of one name, and for what is no projection."""
    points = entry_points(group=ENTRY_POINTS) if plugged_in is None else plugged_in
    projections: dict[str, Projection] = {}
    for projection in (*own, *map(_load, points)):
        if not _is_name(projection.name):
            raise WrongProjection(f"{projection.name!r} cannot name a projection")
        if projection.name in projections:
            raise WrongProjection(f"there are two projections called {projection.name}")
        projections[projection.name] = projection
    return projections


def _load(point: EntryPoint) -> Projection:
    try:
        made = point.load()()
    except Exception as error:
        raise WrongProjection(f"{point.value} cannot be loaded: {error}") from error
    if not isinstance(made, Projection):
        raise WrongProjection(f"{point.value} is no girih.projection.Projection")
    _log.info("plugged in", projection=made.name, source=point.value)
    return made
