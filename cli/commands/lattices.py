"""`girih lattices`: made, listed, looked at and deleted."""

import base64
import re
import uuid
from collections.abc import Iterator
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import asking, ids, options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = Commands("Lattices: made, listed, looked at and deleted.")

LatticeId = Annotated[str, typer.Argument(metavar="LATTICE", help="Its id, or how that begins.")]


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


@app.verb(
    examples="""
    girih lattices create --dimensions 3 --size 10
    girih lattices create --shape 200x300 --periodic --moore
    """
)
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
    output_format: options.Output = Format.table,
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
    if output_format.is_document:
        output.document(lattice, output_format)
        return
    if output_format.is_for_people:
        output.record(_pairs(lattice)[1:], beside=True)
    print(lattice["latticeId"])


@app.verb(
    "list",
    examples="""
    girih lattices list
    girih lattices list -o json | jq '.[] | select(.vertices > 1000) | .latticeId'
    """,
)
def list_(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the lattices in the order of their creation."""
    with options.gateway(url) as gateway:
        listing(_all(gateway), _LATTICES, output_format, limit=limit, pager=pager)


_OPTIONS = {
    "shape": "--shape",
    "dimensions": "--dimensions",
    "size": "--size",
    "boundaries": "--boundary",
    "blocked": "--blocked",
    "bitOrder": "--bit-order",
}


@app.verb(examples="girih lattices get 3f2a9c1e\ngirih lattices get 3f2a9c1e -o json | jq .edges")
def get(
    lattice_id: LatticeId,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Show a lattice."""
    with options.gateway(url) as gateway:
        lattice = gateway.get(f"/v1/lattices/{segment(gateway, lattice_id)}")
    pairs = _pairs(lattice)
    output.thing(lattice, output_format, name=lattice["latticeId"], pairs=pairs)


@app.verb(examples="girih lattices delete 3f2a9c1e 77b0d4c2\ngirih lattices delete 3f2a9c1e --yes")
def delete(
    lattice_ids: Annotated[
        list[str], typer.Argument(metavar="LATTICE", help="Their ids, or how they begin.")
    ],
    yes: options.Yes = False,
    url: options.Url = None,
) -> None:
    """Delete lattices. Their events stay."""
    with options.gateway(url) as gateway:
        whole = ids.whole(lattice_ids, lambda: map(_LATTICES.name, _all(gateway)))
        asking.confirm(f"Delete {' '.join(whole)}?", yes=yes)

        def delete_one(lattice_id: str) -> None:
            gateway.delete(f"/v1/lattices/{options.segment(lattice_id)}")
            output.message(f"Deleted {lattice_id}.")

        asking.each(whole, delete_one)


def segment(gateway: "Gateway", lattice_id: str) -> str:
    """The id that was meant, as a part of a path."""
    return options.segment(ids.whole([lattice_id], lambda: map(_LATTICES.name, _all(gateway)))[0])


def _all(gateway: "Gateway") -> Iterator["Json"]:
    return gateway.pages("/v1/lattices", "lattices")


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


def _pairs(lattice: "Json") -> list[tuple[str, str]]:
    """All of a lattice, for people."""
    return [
        ("lattice", lattice["latticeId"]),
        ("shape", f"{_shape_text(lattice)} sites"),
        ("boundaries", _boundaries_text(lattice)),
        ("neighbourhood", output.word(lattice.get("neighbourhood", ""))),
        ("corner rule", output.word(lattice.get("cornerRule", "").removeprefix("CORNER_"))),
        ("vertices", _count(lattice, "vertices")),
        ("edges", _count(lattice, "edges")),
        ("blocked", f"{_count(lattice, 'blockedSites')} sites"),
        ("held", _size(lattice, "bytesHeld")),
        ("as a graph", _size(lattice, "bytesAsGraph")),
        ("as a matrix", _size(lattice, "bytesAsMatrix")),
        ("created", moment(lattice.get("createdAt", ""))),
    ]


def _count(lattice: "Json", field: str) -> str:
    return f"{int(lattice.get(field, 0)):,}"


def _size(lattice: "Json", field: str) -> str:
    return output.size(int(lattice.get(field, 0)))


def _boundaries_text(lattice: "Json") -> str:
    return ", ".join(map(output.word, lattice.get("boundaries", [])))


def _shape_text(lattice: "Json") -> str:
    return " x ".join(f"{int(length):,}" for length in lattice.get("shape", []))


_LATTICES = Listing(
    name=itemgetter("latticeId"),
    columns=(
        Column(title="lattice", cell=itemgetter("latticeId"), is_id=True),
        Column(title="shape", cell=_shape_text, is_text=True),
        Column(title="vertices", cell=lambda one: _count(one, "vertices"), is_number=True, rank=1),
        Column(title="edges", cell=lambda one: _count(one, "edges"), is_number=True, rank=3),
        Column(
            title="blocked", cell=lambda one: _count(one, "blockedSites"), is_number=True, rank=4
        ),
        Column(title="held", cell=lambda one: _size(one, "bytesHeld"), is_number=True, rank=5),
        Column(title="created", cell=lambda one: moment(one.get("createdAt", "")), rank=2),
        Column(
            title="neighbourhood",
            cell=lambda one: output.word(one.get("neighbourhood", "")),
            is_wide=True,
        ),
        Column(title="boundaries", cell=_boundaries_text, is_wide=True),
    ),
    nothing="There are no lattices. Make one with `girih lattices create`.",
)
