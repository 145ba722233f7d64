"""`girih lattices`: made, listed, looked at and deleted."""

import base64
import json
import math
import re
import uuid
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import asking, ids, options, output, progress
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from cli.client.rest import Gateway, Json

app = Commands("Lattices: made, listed, looked at and deleted.")

LatticeId = Annotated[str, typer.Argument(metavar="LATTICE", help="Its id, or how that begins.")]


OutputFile = Annotated[
    Path | None,
    typer.Option("--output-file", metavar="FILE", dir_okay=False, help="Where to write it."),
]

CostField = Annotated[
    str | None,
    typer.Option("--costs", metavar="FIELD", help="The field that says what each site costs."),
]
CostRule = Annotated[
    bool,
    typer.Option("--mean", help="A step costs the mean of both sites, not what the second costs."),
]

_PRINTED_SITES_MAX = 1_000_000
_BITMAP_BYTES_MAX = 2**22  # what the contract takes


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
    girih lattices create --from-image maze.png --moore
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
            "--blocked",
            "--from-map",
            "--from-image",
            "--from-npy",
            exists=True,
            dir_okay=False,
            help="A file with the blocked sites, as large as the lattice: text of . for free and"
            " # for blocked ones, a published .map, a PNG whose dark pixels are blocked, or a"
            " .npy of booleans, or of integers that are 0 or 1.",
        ),
    ] = None,
    bit_order: Annotated[
        BitOrder | None,
        typer.Option(
            help="--blocked is a bitmap, one bit per site in C order, a set bit blocks it, and this"
            " bit of each byte comes first: little is the lowest, big the highest, which is what"
            " numpy.packbits writes unless it is told otherwise.",
        ),
    ] = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Make a lattice and print its id; stderr tells the rest of it.

    Costs nothing per site when no site is blocked.
    """
    body: dict[str, Json] = {
        "boundaries": _boundaries(boundary, is_periodic=periodic),
        # Sent again by whatever repeats the call, it makes no second lattice.
        "requestId": str(uuid.uuid4()),
    }
    if moore:
        body["neighbourhood"] = "NEIGHBOURHOOD_MOORE"
    if cutting:
        body["cornerRule"] = "CORNER_RULE_CUTTING"
    large = _large(blocked) if blocked is not None and bit_order is None else None
    if blocked is not None and large is not None:
        _check_own(dimensions, size, shape, large.shape)
        lattice = _streamed(url, blocked, large, body)
    else:
        body |= _sites(dimensions, size, shape, blocked, bit_order)
        with options.gateway(url) as gateway:
            lattice = gateway.post("/v1/lattices", body, _OPTIONS)
    if output_format.is_document:
        output.document(lattice, output_format)
        return
    if output_format.is_for_people:
        output.record(pairs(lattice)[1:], beside=True)
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


@app.verb(
    "blocked",
    examples="""
    girih lattices blocked 3f2a9c1e
    girih lattices blocked 3f2a9c1e --output-file maze.npy
    """,
)
def blocked_(
    lattice_id: LatticeId,
    file: OutputFile = None,
    url: options.Url = None,
) -> None:
    """Print which sites are blocked, # beside . for free ones, or write it to a file.

    `lattices create --blocked` takes both. What is printed has one axis or two, and at most
    a million sites.
    """
    from cli.grids import files
    from girih.client.lattices.arrays import unpacked

    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        lattice = gateway.get(route)
        shape = [int(length) for length in lattice["shape"]]
        if file is not None and file.suffix == ".npy":
            _write_blocked(gateway, route, lattice, file)
            return
        sites_max = _PRINTED_SITES_MAX if file is None else files.SITES_MAX
        if len(shape) > 2 or math.prod(shape) > sites_max:
            raise Failed(_too_much(shape), exit_codes.USAGE)
        bitmap = gateway.content(f"{route}/blocked", bitOrder=BitOrder.little.wire)
    sites = files.lines(unpacked(bitmap, shape))
    if file is None:
        output.print_lines(sites, pager=False)
    else:
        file.write_text("".join(f"{line}\n" for line in sites))


def _write_blocked(gateway: "Gateway", route: str, lattice: "Json", file: Path) -> None:
    from cli.client import transfers
    from cli.grids import files
    from girih.client.lattices import arrays

    shape = [int(length) for length in lattice["shape"]]
    count = math.prod(shape)
    if count > files.SITES_MAX and not int(lattice.get("blockedSites", 0)):
        raise Failed(f"none of its {count:,} sites is blocked", exit_codes.DATAERR)
    order = {"bitOrder": BitOrder.little.wire}
    pieces = transfers.received(gateway, f"{route}/blocked", order, -(-count // 8))
    with arrays.replaced(file) as beside, beside.open("wb") as stream:
        files.write_blocked(pieces, shape, stream)


@app.verb(
    examples="""
    girih lattices distances 3f2a9c1e --from 0,0 --to 9,9 --to 5,0
    girih lattices distances 3f2a9c1e --from 0,0 --output-file field.npy
    girih lattices distances 3f2a9c1e --from 0,0 --to 9,9 --costs height
    """
)
def distances(
    lattice_id: LatticeId,
    sources: Annotated[
        list[str],
        typer.Option("--from", metavar="SITE", help="As in 0,0,0; of several the nearest counts."),
    ],
    targets: Annotated[
        list[str] | None,
        typer.Option("--to", metavar="SITE", help="The distance of this site; may be repeated."),
    ] = None,
    file: OutputFile = None,
    costs: CostField = None,
    mean: CostRule = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Tell how far sites are from others, in lattice spacings, or what the way there costs.

    Of the sites of --to as a list, or of all sites as an array of numpy in --output-file, with
    inf where no path leads.
    """
    if bool(targets) == (file is not None):
        raise typer.BadParameter("say --to, or --output-file for all sites")
    body = {
        "sources": [{"coordinates": numbers(site, "--from")} for site in sources],
        "targets": [{"coordinates": numbers(site, "--to")} for site in targets or ()],
        **site_costs(costs, is_mean=mean),
    }
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        answers = _distances(gateway, route, body)
        if file is not None:
            _write_field(gateway.get(route)["shape"], answers, file)
            return
        lengths = (distance for _, part in answers for distance in part)
        rows = (
            {"site": site["coordinates"], "distance": None if distance < 0 else distance}
            for site, distance in zip(body["targets"], lengths, strict=True)
        )
        listing(rows, _DISTANCES, output_format, pager=False)


def _distances(
    gateway: "Gateway", route: str, body: "Json"
) -> Iterator[tuple[int, Sequence[float]]]:
    """Parts of the answer: the index of the first distance, and the distances."""
    from cli.client.rest import Refused

    content = json.dumps(body).encode()
    try:
        for line in gateway.lines("POST", f"{route}:distances", content=content):
            answer = json.loads(line)
            yield int(answer.get("firstIndex", 0)), answer.get("distances", [])
    except Refused as refused:
        raise refused.naming(
            {"sources": "--from", "targets": "--to", "costs.field": "--costs"}
        ) from None


def _write_field(
    shape: Sequence[str], answers: Iterator[tuple[int, Sequence[float]]], file: Path
) -> None:
    from cli.grids import files
    from girih.client.lattices import arrays

    lengths = [int(length) for length in shape]
    if math.prod(lengths) > files.SITES_MAX:
        message = f"must be of a lattice of at most {files.SITES_MAX:,} sites; say --to"
        raise Failed(f"--output-file: {message}", exit_codes.DATAERR)
    field = arrays.empty_distances(math.prod(lengths))
    with progress.counted("sites", math.prod(lengths)) as advance:
        for first, part in answers:
            arrays.put_distances(field, first, part)
            advance(len(part))
    with file.open("wb") as stream:
        files.write(arrays.finished_distances(field, lengths), stream)


def _too_much(shape: Sequence[int]) -> str:
    return f"a grid of {' x '.join(map(str, shape))} sites is for a file: --output-file FILE.npy"


def segment(gateway: "Gateway", lattice_id: str) -> str:
    """The id that was meant, as a part of a path."""
    return options.segment(ids.whole([lattice_id], lambda: map(_LATTICES.name, _all(gateway)))[0])


def site_costs(field: str | None, *, is_mean: bool) -> "dict[str, Json]":
    """What sites cost, as a part of a body."""
    if field is None:
        if is_mean:
            raise typer.BadParameter("say --costs beside --mean")
        return {}
    rule = "COST_RULE_MEAN" if is_mean else "COST_RULE_ENTERING"
    return {"costs": {"field": field, "rule": rule}}


def _all(gateway: "Gateway") -> Iterator["Json"]:
    return gateway.pages("/v1/lattices", "lattices")


def _sites(
    dimensions: int | None,
    size: int | None,
    shape: str | None,
    blocked: Path | None,
    bit_order: BitOrder | None,
) -> "Json":
    """The shape, and the blocked sites, of which all but a bitmap tell the shape themselves."""
    if blocked is None:
        if bit_order is not None:
            raise typer.BadParameter("say --blocked beside --bit-order")
        return _shape(dimensions, size, shape)
    if bit_order is not None:
        bitmap = base64.b64encode(_bitmap(blocked)).decode()
        return {
            **_shape(dimensions, size, shape),
            "bitOrder": bit_order.wire,
            "blocked": bitmap,
        }
    from cli.grids import files
    from girih.client.lattices.arrays import packed

    own_shape, packed_sites = packed(files.read(blocked))
    _check_own(dimensions, size, shape, own_shape)
    return {
        "shape": list(own_shape),
        "bitOrder": BitOrder.little.wire,
        "blocked": base64.b64encode(packed_sites).decode(),
    }


def _check_own(
    dimensions: int | None, size: int | None, shape: str | None, own_shape: Sequence[int]
) -> None:
    """Raise BadParameter where another shape is given than that of --blocked."""
    if dimensions is not None or size is not None:
        raise typer.BadParameter("the size is that of --blocked")
    if shape is not None and numbers(shape, "--shape") != list(own_shape):
        own = "x".join(map(str, own_shape))
        raise typer.BadParameter(f"must be {own} as --blocked is", param_hint="--shape")


def _large(file: Path) -> "NDArray[np.generic] | None":
    """An array of numpy of more sites than one message has bits for."""
    from cli.grids import files

    return files.large(file)


def _streamed(
    url: str | None, file: Path, array: "NDArray[np.generic]", body: "dict[str, Json]"
) -> "Json":
    """A lattice with the blocked sites of an array of any size."""
    from cli.client import transfers
    from cli.grids import files

    params = {**body, "shape": list(array.shape), "bitOrder": BitOrder.little.wire}
    with options.gateway(url) as gateway:
        # Called just before: the token that the upload goes with is good.
        gateway.get("/v1/lattices", pageSize=1)
        bitmap = partial(files.bitmap, file, array)
        return transfers.create_from(gateway, file.name, bitmap, -(-array.size // 8), params)


def _bitmap(file: Path) -> bytes:
    if file.stat().st_size > _BITMAP_BYTES_MAX:
        message = f"--blocked: {file}: must be at most {_BITMAP_BYTES_MAX:,} bytes"
        raise Failed(message, exit_codes.DATAERR)
    return file.read_bytes()


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


def pairs(lattice: "Json") -> list[tuple[str, str]]:
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
_DISTANCES = Listing(
    name=lambda one: ",".join(map(str, one["site"])),
    columns=(
        Column(title="site", cell=lambda one: ",".join(map(str, one["site"])), is_text=True),
        Column(
            title="distance",
            cell=lambda one: "no path" if one["distance"] is None else f"{one['distance']:.12g}",
            is_number=True,
        ),
    ),
)
