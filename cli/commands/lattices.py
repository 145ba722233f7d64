"""`girih lattices`: made, listed, looked at and deleted."""

import base64
import re
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import options, output

if TYPE_CHECKING:
    from cli.client.rest import Json

app = typer.Typer(help="Lattices.", no_args_is_help=True)

LatticeId = Annotated[str, typer.Argument(metavar="LATTICE", help="Its id.")]


class BitOrder(StrEnum):
    """Which bit of a byte belongs to the first of its eight sites."""

    little = "little"
    big = "big"

    @property
    def wire(self) -> str:
        return f"BIT_ORDER_{self.name.upper()}"


class Boundary(StrEnum):
    """What lies beyond the last site of an axis."""

    open = "open"
    periodic = "periodic"

    @property
    def wire(self) -> str:
        return f"BOUNDARY_{self.name.upper()}"


@app.command()
def create(
    dimensions: Annotated[
        int | None, typer.Option("--dimensions", "-d", min=1, help="How many axes, with --size.")
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", "-n", min=1, help="How many sites along each axis.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option(help="The sites along each axis instead, as in 200,300 or 4x4x9.")
    ] = None,
    periodic: Annotated[bool, typer.Option("--periodic", help="Every axis is a ring.")] = False,
    boundary: Annotated[
        list[Boundary] | None, typer.Option(help="Or say it for each axis, in their order.")
    ] = None,
    moore: Annotated[
        bool, typer.Option("--moore", help="Diagonal steps, too, of their real length.")
    ] = False,
    cutting: Annotated[
        bool, typer.Option("--cutting", help="Diagonal steps may cut the corners of blocked sites.")
    ] = False,
    blocked: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="A file with one bit per site in C order: a set bit blocks the site.",
        ),
    ] = None,
    bit_order: Annotated[
        BitOrder | None,
        typer.Option(
            help="Which bit of each byte of --blocked comes first: little is the lowest, big the"
            " highest, which is what numpy.packbits writes unless it is told otherwise.",
        ),
    ] = None,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a lattice and print its id; stderr tells the rest of it.

    Costs nothing per site when no site is blocked.
    """
    body: dict[str, Json] = {
        **_shape(dimensions, size, shape),
        "boundaries": _boundaries(boundary, is_periodic=periodic),
        # Sent again by whatever repeats the call, it makes no second lattice.
        "requestId": str(uuid.uuid4()),
    }
    if moore:
        body["neighbourhood"] = "NEIGHBOURHOOD_MOORE"
    if cutting:
        body["cornerRule"] = "CORNER_RULE_CUTTING"
    if (blocked is None) != (bit_order is None):
        raise typer.BadParameter("say both --blocked and --bit-order, or neither")
    if blocked is not None and bit_order is not None:
        body["bitOrder"] = bit_order.wire
        body["blocked"] = base64.b64encode(blocked.read_bytes()).decode()
    with options.gateway(url) as gateway:
        lattice = gateway.post("/v1/lattices", body, _OPTIONS)
    if as_json:
        output.document(lattice)
    else:
        _show(lattice, beside=True)
        print(lattice["latticeId"])


@app.command(name="list")
def list_(url: options.Url = None, as_json: options.AsJson = False) -> None:
    """List the lattices in the order of their creation."""
    with options.gateway(url) as gateway:
        rows = list(gateway.pages("/v1/lattices", "lattices"))
    if as_json:
        output.document({"lattices": rows})
        return
    output.table(
        ("lattice", "shape", "vertices>", "edges>", "blocked>", "bytes held>", "created"),
        [
            (
                one["latticeId"],
                _shape_text(one),
                *(f"{int(one.get(name, 0)):,}" for name in _COUNTS),
                output.moment(one.get("createdAt", "")),
            )
            for one in rows
        ],
        nothing="There are no lattices.",
    )


_OPTIONS = {
    "shape": "--shape",
    "dimensions": "--dimensions",
    "size": "--size",
    "boundaries": "--boundary",
    "blocked": "--blocked",
    "bitOrder": "--bit-order",
}
_COUNTS = ("vertices", "edges", "blockedSites", "bytesHeld")


@app.command()
def get(lattice_id: LatticeId, url: options.Url = None, as_json: options.AsJson = False) -> None:
    """Show a lattice."""
    with options.gateway(url) as gateway:
        lattice = gateway.get(f"/v1/lattices/{options.segment(lattice_id)}")
    if as_json:
        output.document(lattice)
    else:
        _show(lattice)


@app.command()
def delete(lattice_id: LatticeId, url: options.Url = None) -> None:
    """Delete a lattice. Its events stay."""
    with options.gateway(url) as gateway:
        gateway.delete(f"/v1/lattices/{options.segment(lattice_id)}")
    output.message(f"Deleted {lattice_id}.")


def _shape(dimensions: int | None, size: int | None, shape: str | None) -> "Json":
    if shape is not None and dimensions is None and size is None:
        return {"shape": numbers(shape, "--shape")}
    if shape is None and dimensions is not None and size is not None:
        return {"dimensions": dimensions, "size": size}
    raise typer.BadParameter("say --shape, or both --dimensions and --size")


def numbers(text: str, option: str) -> list[int]:
    """Integers between commas, or as in 4x4x9."""
    try:
        return [int(part) for part in re.split(r"\s*[,x]\s*", text.strip())]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not as in 9,9,9", param_hint=option) from error


def _boundaries(boundary: list[Boundary] | None, *, is_periodic: bool) -> list[str]:
    if is_periodic and boundary:
        raise typer.BadParameter("say --periodic or --boundary")
    return [Boundary.periodic.wire] if is_periodic else [each.wire for each in boundary or ()]


def _show(lattice: "Json", *, beside: bool = False) -> None:
    output.record(
        [
            ("lattice", "" if beside else lattice["latticeId"]),
            ("shape", _shape_text(lattice)),
            ("boundaries", ", ".join(map(output.word, lattice.get("boundaries", [])))),
            ("neighbourhood", output.word(lattice.get("neighbourhood", ""))),
            ("corner rule", output.word(lattice.get("cornerRule", "").removeprefix("CORNER_"))),
            *((name, f"{int(lattice.get(field, 0)):,}") for name, field in _SHOWN),
            ("created", output.moment(lattice.get("createdAt", ""))),
        ],
        beside=beside,
    )


_SHOWN = (
    ("vertices", "vertices"),
    ("edges", "edges"),
    ("blocked sites", "blockedSites"),
    ("bytes held", "bytesHeld"),
    ("as a graph", "bytesAsGraph"),
    ("as a matrix", "bytesAsMatrix"),
)


def _shape_text(lattice: "Json") -> str:
    return " x ".join(f"{int(length):,}" for length in lattice.get("shape", []))
