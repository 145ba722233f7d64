"""Between the messages of PictureService and the values of pictures. Decides nothing."""

from girih.lattice.v1 import pictures_pb2 as pb
from services.lattice.geometry import Run
from services.lattice.pictures.drawing import Style
from services.lattice.pictures.projecting import Projection
from services.lattice.pictures.view import PIXELS_DEFAULT, Asked, DrawnPath

_PROJECTIONS = {
    pb.PROJECTION_UNSPECIFIED: Projection.SLICE,
    pb.PROJECTION_SLICE: Projection.SLICE,
    pb.PROJECTION_MIN: Projection.MIN,
    pb.PROJECTION_MAX: Projection.MAX,
    pb.PROJECTION_MEAN: Projection.MEAN,
    pb.PROJECTION_SUM: Projection.SUM,
}
_COLOR_MAPS = {
    pb.COLOR_MAP_UNSPECIFIED: "viridis",
    pb.COLOR_MAP_VIRIDIS: "viridis",
    pb.COLOR_MAP_PLASMA: "plasma",
    pb.COLOR_MAP_INFERNO: "inferno",
    pb.COLOR_MAP_MAGMA: "magma",
    pb.COLOR_MAP_CIVIDIS: "cividis",
    pb.COLOR_MAP_GREY: "grey",
    pb.COLOR_MAP_COOLWARM: "coolwarm",
}

_BAR_FROM_PIXELS = 200
"""In a smaller picture there is no room for a bar."""


def asked(request: pb.RenderRequest | pb.PictureView, *, has_numbers: bool) -> Asked:
    pixels_max = request.pixels_max or PIXELS_DEFAULT
    has_bar = has_numbers and not request.without_color_bar
    return Asked(
        row_axis=request.row_axis if request.HasField("row_axis") else None,
        column_axis=request.column_axis if request.HasField("column_axis") else None,
        at=request.at.coordinates,
        projection=_PROJECTIONS[request.projection],
        origin=request.origin,
        shape=request.shape,
        pixels_max=pixels_max,
        has_bar=has_bar and pixels_max >= _BAR_FROM_PIXELS,
    )


def style(request: pb.RenderRequest | pb.PictureView) -> Style:
    return Style(
        color_map=_COLOR_MAPS[request.color_map],
        low=request.low if request.HasField("low") else None,
        high=request.high if request.HasField("high") else None,
    )


def drawn_path(request: pb.RenderRequest) -> DrawnPath | None:
    if not request.HasField("path"):
        return None
    runs = [Run(tuple(run.step), run.count) for run in request.path.runs]
    return DrawnPath(start=tuple(request.path.start.coordinates), runs=runs)
