"""`girih lattices get`, `put`, `fields`, `stats` and `render`: a lattice and its fields."""

import math
import sys
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands import lattices
from cli.commands.fields import viewing
from cli.commands.fields.viewing import ColorMap, Projection
from cli.commands.lattices import LatticeId, numbers, segment
from cli.failure import Failed
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json
    from cli.client.transfers import Source

app = lattices.app

Name = Annotated[str, typer.Argument(metavar="FIELD", help="The name of the field.")]
Origin = Annotated[
    str | None, typer.Option("--origin", help="The lowest corner of the region, as in 0,0,0.")
]
Shape = Annotated[str | None, typer.Option("--shape", help="How many sites of it along each axis.")]
Steps = Annotated[
    str | None, typer.Option("--steps", help="Every how many sites, along each axis.")
]


class NumberType(StrEnum):
    """The types of numbers."""

    uint8 = "uint8"
    uint16 = "uint16"
    int16 = "int16"
    int32 = "int32"
    int64 = "int64"
    float32 = "float32"
    float64 = "float64"

    @property
    def wire(self) -> str:
        return f"NUMBER_TYPE_{self.name.upper()}"

    @property
    def size_bytes(self) -> int:
        """Of one number."""
        return int(self.name.strip("uintfloa")) // 8


@app.verb(
    examples="""
    girih lattices put 3f2a9c1e height heights.npy
    girih lattices put 3f2a9c1e height heights.raw --type float32
    girih lattices put 3f2a9c1e height patch.npy --origin 10,10 --shape 5,5
    girih lattices put 3f2a9c1e height heights.raw --type float32 --resumable
    """
)
def put(
    lattice_id: LatticeId,
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, help="A .npy file, or little-endian numbers in C order."
        ),
    ],
    number_type: Annotated[
        NumberType | None, typer.Option("--type", help="Of raw numbers, where there is no field.")
    ] = None,
    origin: Origin = None,
    shape: Shape = None,
    steps: Steps = None,
    resumable: Annotated[
        bool,
        typer.Option("--resumable", help="Print an id that --resume goes on with. Raw files only."),
    ] = False,
    resume: Annotated[
        str | None, typer.Option(metavar="UPLOAD", help="Go on with an upload that was cut off.")
    ] = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Write a field, or a region of one, from a file of any size.

    What is sent is checked by its digest. A write that is cut off changes nothing.
    """
    from cli.client import transfers

    params = _region(origin, shape, steps)
    if number_type is not None:
        params["numberType"] = number_type.wire
    with options.gateway(url) as gateway:
        route = _route(gateway, lattice_id, name)
        source = transfers.Source.of(file)
        if not (resumable or resume):
            answer = transfers.send(gateway, f"{route}/values", source, params)
        else:
            upload = _upload(gateway, route, resume, number_type, source)
            answer = transfers.send_in_parts(gateway, f"{route}/values", source, upload)
            if "upload" in answer:
                message = f"{file}: ended too early; go on with {_going_on(upload)}"
                raise Failed(message, exit_codes.DATAERR)
    field = answer.get("field", answer)
    output.thing(field, output_format, name=name, pairs=_pairs(field))


@app.verb(
    examples="""
    girih lattices get 3f2a9c1e
    girih lattices get 3f2a9c1e -o json | jq .edges
    girih lattices get 3f2a9c1e height
    girih lattices get 3f2a9c1e height --output-file heights.npy
    girih lattices get 3f2a9c1e height --output-file thin.npy --steps 10,10
    """
)
def get(
    lattice_id: LatticeId,
    name: Annotated[
        str | None, typer.Argument(metavar="[FIELD]", help="A field of it, by its name.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output-file",
            metavar="FILE",
            dir_okay=False,
            help="Write the numbers of the field there: raw ones, or a file of numpy where it ends"
            " in .npy.",
        ),
    ] = None,
    origin: Origin = None,
    shape: Shape = None,
    steps: Steps = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Show a lattice, or a field of it, or write the numbers of one into a file."""
    if name is None and (file or origin or shape or steps):
        raise typer.BadParameter("say which FIELD to write")
    with options.gateway(url) as gateway:
        if name is None:
            lattice = gateway.get(f"/v1/lattices/{segment(gateway, lattice_id)}")
            pairs = lattices.pairs(lattice)
            output.thing(lattice, output_format, name=lattice["latticeId"], pairs=pairs)
            return
        route = _route(gateway, lattice_id, name)
        field = gateway.get(route)
        if file is None:
            output.thing(field, output_format, name=name, pairs=_pairs(field))
            return
        _receive(gateway, route, _region(origin, shape, steps), file, int(field["sizeBytes"]))


def _receive(
    gateway: "Gateway", route: str, region: "dict[str, Json]", file: Path, size_bytes: int
) -> None:
    from cli.client import transfers

    kind = "ARRAY_FORMAT_NPY" if file.suffix == ".npy" else "ARRAY_FORMAT_RAW"
    # Beside, so that what is cut off is not taken for all of it.
    beside = file.with_name(f"{file.name}.part")
    with beside.open("wb") as stream:
        transfers.receive(
            gateway, f"{route}/values", {"format": kind, **region}, stream, size_bytes
        )
    beside.replace(file)


@app.verb("fields", examples="girih lattices fields 3f2a9c1e")
def fields_(
    lattice_id: LatticeId,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the fields of a lattice."""
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}/fields"
        listing(iter(gateway.get(route)["fields"]), _FIELDS, output_format, pager=False)


@app.verb(
    examples="""
    girih lattices stats 3f2a9c1e height
    girih lattices stats 3f2a9c1e height --bins 20 -o json | jq .histogram
    """
)
def stats(
    lattice_id: LatticeId,
    name: Name,
    bins: Annotated[int, typer.Option(min=0, max=10_000, help="Of a histogram.")] = 0,
    origin: Origin = None,
    shape: Shape = None,
    steps: Steps = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Tell least, greatest, mean and variance of a field's numbers, and their digest."""
    with options.gateway(url) as gateway:
        route = _route(gateway, lattice_id, name)
        params = {"bins": bins or None, **_region(origin, shape, steps)}
        statistics = gateway.get(f"{route}/statistics", **params)
    pairs = [(label, str(statistics[key])) for label, key in _STATISTICS if key in statistics]
    output.thing(statistics, output_format, name=name, pairs=pairs)


@app.verb(
    examples="""
    girih lattices render 3f2a9c1e height --output-file height.png
    girih lattices render 3f2a9c1e --at 0,0,25 --rows 0 --columns 1 --output-file slice.png
    girih lattices render 3f2a9c1e height --projection max --colors magma --output-file max.png
    girih lattices render 3f2a9c1e --from 0,0 --to 9,9 --output-file path.png
    """
)
def render(
    lattice_id: LatticeId,
    name: Annotated[
        str, typer.Argument(metavar="[FIELD]", help="Without one, which sites are blocked.")
    ] = "",
    file: Annotated[
        Path,
        typer.Option("--output-file", metavar="FILE", dir_okay=False, help="Where to write it."),
    ] = Path("lattice.png"),
    at: viewing.At = None,
    rows: viewing.Rows = None,
    columns: viewing.Columns = None,
    projection: viewing.Shown = Projection.slice,
    colors: viewing.Colors = ColorMap.viridis,
    low: viewing.Low = None,
    high: viewing.High = None,
    pixels: viewing.Pixels = 1_024,
    start: Annotated[
        str | None, typer.Option("--from", help="Draw a shortest path from here, with --to.")
    ] = None,
    goal: Annotated[str | None, typer.Option("--to", help="Where the path ends.")] = None,
    url: options.Url = None,
) -> None:
    """Draw two axes of a lattice, or of a field, as a PNG."""
    if (start is None) != (goal is None):
        raise typer.BadParameter("say both --from and --to, or neither")
    view = viewing.view(at, rows, columns, projection, colors, low, high, pixels)
    body: dict[str, Json] = {"name": name, **view}
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        if start is not None and goal is not None:
            body["path"] = _path(gateway, route, start, goal)
        file.write_bytes(gateway.posted_content(f"{route}:render", body))
    output.message(f"Wrote {file}.")


def _path(gateway: "Gateway", route: str, start: str, goal: str) -> "Json":
    """A shortest path as it is drawn."""
    ends = {
        "start": {"coordinates": numbers(start, "--from")},
        "goal": {"coordinates": numbers(goal, "--to")},
        "sitesMax": 0,
    }
    path = gateway.post(f"{route}:findPath", ends)["path"]
    return {"start": ends["start"], "runs": path["runs"]}


def _upload(
    gateway: "Gateway",
    route: str,
    upload_id: str | None,
    number_type: NumberType | None,
    source: "Source",
) -> "Json":
    """The upload to go on with, or a new one, whose id stderr tells. Neither where the file is not
    as long as the field: a new one would keep the digest of what is no field."""
    if upload_id is not None:
        upload = gateway.get(f"{route}/uploads/{options.segment(upload_id)}")
        source.check_size(int(upload["sizeBytes"]), _going_on(upload))
        return upload
    if number_type is None:
        raise typer.BadParameter("say --type with --resumable")
    shape = gateway.get(route.partition("/fields/")[0])["shape"]
    source.check_size(number_type.size_bytes * math.prod(map(int, shape)))
    body = {"numberType": number_type.wire, "contentDigest": source.digest()}
    upload = gateway.post(f"{route}/uploads", body)
    print(f"If this is cut off: {_going_on(upload)}", file=sys.stderr)
    return upload


def _going_on(upload: "Json") -> str:
    return f"--resume {upload['uploadId']}"


def _route(gateway: "Gateway", lattice_id: str, name: str) -> str:
    return f"/v1/lattices/{segment(gateway, lattice_id)}/fields/{options.segment(name)}"


def _region(origin: str | None, shape: str | None, steps: str | None) -> "dict[str, Json]":
    options = {"origin": origin, "shape": shape, "steps": steps}
    return {name: numbers(text, f"--{name}") for name, text in options.items() if text is not None}


def _pairs(field: "Json") -> list[tuple[str, str]]:
    return [
        ("field", field["name"]),
        ("numbers", _type(field)),
        ("shape", " x ".join(field["shape"])),
        ("bytes", field["sizeBytes"]),
        ("digest", field["digest"]),
        ("array", field["array"] or "(in the event)"),
    ]


def _type(field: "Json") -> str:
    text: str = field["numberType"]
    return text.removeprefix("NUMBER_TYPE_").lower()


_STATISTICS = (
    ("sites", "sites"),
    ("NaN", "nanCount"),
    ("least", "low"),
    ("greatest", "high"),
    ("mean", "mean"),
    ("variance", "variance"),
    ("SHA-256", "contentDigest"),
    ("digest", "digest"),
)

_FIELDS = Listing(
    name=itemgetter("name"),
    columns=(
        Column(title="field", cell=itemgetter("name"), is_text=True),
        Column(title="numbers", cell=_type),
        Column(title="size", cell=lambda one: output.size(int(one["sizeBytes"])), is_number=True),
        Column(title="written", cell=lambda one: moment(one["writtenAt"]), rank=1),
        Column(title="digest", cell=lambda one: one["digest"][:16], rank=2),
    ),
    nothing="The lattice has no fields. Write one with `girih lattices put`.",
)
