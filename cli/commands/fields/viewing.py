"""What pictures show of lattices: the options of every command that draws."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.lattices import numbers

if TYPE_CHECKING:
    from cli.client.rest import Json


class ColorMap(StrEnum):
    """Colours for numbers."""

    viridis = "viridis"
    plasma = "plasma"
    inferno = "inferno"
    magma = "magma"
    cividis = "cividis"
    grey = "grey"
    coolwarm = "coolwarm"


class Projection(StrEnum):
    """What is shown of the other axes."""

    slice = "slice"
    min = "min"
    max = "max"
    mean = "mean"
    sum = "sum"


At = Annotated[str | None, typer.Option(help="The place to show of the other axes.")]
Rows = Annotated[int | None, typer.Option(min=0, help="The axis that goes down.")]
Columns = Annotated[int | None, typer.Option(min=0, help="The axis that goes to the right.")]
Shown = Annotated[Projection, typer.Option(help="What is shown of the other axes.")]
Colors = Annotated[ColorMap, typer.Option(help="Colours for numbers.")]
Low = Annotated[float | None, typer.Option(help="The number with the first colour.")]
High = Annotated[float | None, typer.Option(help="The number with the last colour.")]
Pixels = Annotated[int, typer.Option(min=16, max=4_096, help="Of the longer side, at most.")]
FewPixels = Annotated[int, typer.Option(min=16, max=2_048, help="Of the longer side, at most.")]


def view(
    at: str | None,
    rows: int | None,
    columns: int | None,
    projection: Projection,
    colors: ColorMap,
    low: float | None,
    high: float | None,
    pixels: int,
) -> "dict[str, Json]":
    """The same as the contract says it."""
    return {
        "rowAxis": rows,
        "columnAxis": columns,
        "at": None if at is None else {"coordinates": numbers(at, "--at")},
        "projection": f"PROJECTION_{projection.name.upper()}",
        "colorMap": f"COLOR_MAP_{colors.name.upper()}",
        "low": low,
        "high": high,
        "pixelsMax": pixels,
    }
