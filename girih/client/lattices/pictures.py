"""Pictures of lattices, of what chains would make, and of what jobs have computed so far.

Knows no call.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.api.httpbody_pb2 import HttpBody

from girih.client.lattices.fields import dtype_of
from girih.client.lattices.messages import id_of
from girih.client.lattices.questions import Asked
from girih.client.lattices.transforms import Chain, invertibility_of, steps_of
from girih.client.lattices.values import Lattice, Site
from girih.lattice.v1 import lattice_pb2
from girih.lattice.v1 import pictures_pb2 as pb


class Projection(StrEnum):
    """What is shown of the axes that a picture does not have."""

    SLICE = "slice"
    """The place `View.at`."""
    MIN = "min"
    MAX = "max"
    MEAN = "mean"
    SUM = "sum"


class ColorMap(StrEnum):
    """Colours for numbers, from the least to the greatest, as Matplotlib has them."""

    VIRIDIS = "viridis"
    PLASMA = "plasma"
    INFERNO = "inferno"
    MAGMA = "magma"
    CIVIDIS = "cividis"
    GREY = "grey"
    COOLWARM = "coolwarm"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What a picture shows: two axes of a lattice, by default the last two, at its first site."""

    row_axis: int | None = None
    """The axis that goes down."""
    column_axis: int | None = None
    """The axis that goes to the right."""
    at: Site | None = None
    """The place to show, of which the axes count that are not shown."""
    projection: Projection | str = Projection.SLICE
    origin: Sequence[int] = ()
    """The first row and the first column to show."""
    shape: Sequence[int] = ()
    """How many rows and columns to show."""
    color_map: ColorMap | str = ColorMap.VIRIDIS
    low: float | None = None
    """The number with the first colour; None is the least that is shown."""
    high: float | None = None
    """The number with the last colour; None is the greatest that is shown."""
    pixels_max: int = 1_024
    """On the longer side, from 16."""
    has_color_bar: bool = True


FIRST_SLICE = View()


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a chain would make of a field."""

    png: bytes
    dtype: str
    """The type that its numbers would have, by numpy's name for it."""
    invertibility: str
    """Whether the whole chain could be undone from its result alone: `EXACT`, `WITHIN_ERROR` or
    `NONE`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPicture:
    """What a job has computed so far."""

    png: bytes
    steps_done: int


class Drawing:
    """A PNG that comes in parts."""

    is_done = False

    def __init__(
        self,
        lattice: Lattice | str,
        name: str,
        view: View,
        *,
        at_revision: int | None,
        minus_revision: int | None,
    ) -> None:
        """Raises ValueError for a view that makes no sense on any lattice."""
        self._request = pb.RenderRequest(
            lattice_id=id_of(lattice),
            name=name,
            at_revision=at_revision,
            minus_revision=minus_revision,
            **_view_fields(view),
        )
        self._parts: list[bytes] = []

    def begin(self) -> pb.RenderRequest:
        self._parts = []
        return self._request

    def take(self, response: HttpBody) -> None:
        self._parts.append(response.data)

    def result(self) -> bytes:
        return b"".join(self._parts)


def preview(lattice: Lattice | str, name: str, chain: Chain, view: View) -> Asked[Preview]:
    """Raises ValueError for steps that are none of the contract's."""
    request = pb.PreviewTransformRequest(
        lattice_id=id_of(lattice),
        name=name,
        transforms=steps_of(chain),
        view=pb.PictureView(**_view_fields(view)),
    )
    return Asked("PreviewTransform", request, _preview)


def job(job_id: str, view: View) -> Asked[JobPicture]:
    request = pb.RenderJobRequest(job_id=job_id, view=pb.PictureView(**_view_fields(view)))
    return Asked(
        "RenderJob",
        request,
        lambda response: JobPicture(png=response.png, steps_done=response.steps_done),
    )


def _preview(response: pb.PreviewTransformResponse) -> Preview:
    return Preview(
        png=response.png,
        dtype=dtype_of(response.number_type),
        invertibility=invertibility_of(response.invertibility),
    )


def _view_fields(view: View) -> dict[str, Any]:
    return {
        "row_axis": view.row_axis,
        "column_axis": view.column_axis,
        "at": None if view.at is None else lattice_pb2.Site(coordinates=tuple(map(int, view.at))),
        "projection": f"PROJECTION_{Projection(view.projection).name}",
        "origin": view.origin,
        "shape": view.shape,
        "color_map": f"COLOR_MAP_{ColorMap(view.color_map).name}",
        "low": view.low,
        "high": view.high,
        "pixels_max": view.pixels_max,
        "without_color_bar": not view.has_color_bar,
    }
