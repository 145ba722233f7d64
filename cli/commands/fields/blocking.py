"""`girih lattices preview`, `transform-blocked`, `write-blocked` and `block-by-field`."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.fields import changes, viewing
from cli.commands.fields.changes import (
    ExpectedRevision,
    RequestId,
    blocked_pairs,
    invertible,
    reported,
    request_of,
    step_of,
)
from cli.commands.fields.commands import Name
from cli.commands.fields.viewing import ColorMap, Projection
from cli.commands.lattices import BitOrder, LatticeId, numbers, segment
from cli.terminal import options, output
from cli.terminal.formats import Format

if TYPE_CHECKING:
    from cli.client.rest import Json

app = changes.app

ChainSteps = Annotated[
    list[str],
    typer.Argument(metavar="STEP...", help="Each as JSON, as docs/how-to/transforms.md has them."),
]
Grid = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Text of . for free and # for blocked sites, a published .map, a PNG, or a .npy of"
        " booleans, as `lattices create --blocked` takes them.",
    ),
]


@app.verb(
    examples="""
    girih lattices preview 3f2a9c1e height '{"median": {"lengths": [3, 3]}}'
    girih lattices preview 3f2a9c1e height '{"laplacian": {}}' --output-file laplacian.png
    """
)
def preview(
    lattice_id: LatticeId,
    name: Name,
    steps: ChainSteps,
    file: Annotated[
        Path,
        typer.Option("--output-file", metavar="FILE", dir_okay=False, help="Where to write it."),
    ] = Path("preview.png"),
    at: viewing.At = None,
    rows: viewing.Rows = None,
    columns: viewing.Columns = None,
    projection: viewing.Shown = Projection.slice,
    colors: viewing.Colors = ColorMap.viridis,
    low: viewing.Low = None,
    high: viewing.High = None,
    pixels: viewing.FewPixels = 1_024,
    url: options.Url = None,
) -> None:
    """Draw what a chain of transforms would make of a field, as a PNG. Nothing is changed."""
    body: dict[str, Json] = {
        "transforms": [step_of(text) for text in steps],
        "view": viewing.view(at, rows, columns, projection, colors, low, high, pixels),
    }
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}/fields/{options.segment(name)}"
        answer = gateway.post(f"{route}:preview", body)
    file.write_bytes(base64.b64decode(answer["png"]))
    output.message(f"Wrote {file}. It could be undone: {invertible(answer)}.")


@app.verb(
    examples="""
    girih lattices transform-blocked 3f2a9c1e '{"dilate": {"radius": 1}}'
    girih lattices transform-blocked 3f2a9c1e '{"reflect": {"axes": [0]}}' --expected-revision 4
    """
)
def transform_blocked(
    lattice_id: LatticeId,
    steps: ChainSteps,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Apply a chain of transforms to which sites are blocked, as one event."""
    body: dict[str, Json] = {
        "transforms": [step_of(text) for text in steps],
        **request_of(request_id, expected_revision),
    }
    with options.gateway(url) as gateway:
        answer = gateway.post(f"/v1/lattices/{segment(gateway, lattice_id)}:transform", body)
    pairs = [
        *blocked_pairs(answer["state"]),
        ("before", answer["beforeDigest"]),
        ("invertible", invertible(answer)),
        *reported(answer),
    ]
    output.thing(answer, output_format, name=lattice_id, pairs=pairs)


@app.verb(
    examples="""
    girih lattices write-blocked 3f2a9c1e wall.txt --origin 10,20
    girih lattices write-blocked 3f2a9c1e patch.npy --where chosen.npy
    """
)
def write_blocked(
    lattice_id: LatticeId,
    file: Grid,
    origin: Annotated[
        str | None,
        typer.Option(help="The lowest corner of what is written, as in 0,0. The first site else."),
    ] = None,
    where: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="As FILE: only its blocked sites are written, the others stay as they are.",
        ),
    ] = None,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Block and free sites of a lattice in place, as one event."""
    from cli.grids import files
    from girih.client.lattices.arrays import packed

    shape, blocked = packed(files.read(file))
    corner = [0] * len(shape) if origin is None else numbers(origin, "--origin")
    body: dict[str, Json] = {
        "region": {"origin": {"coordinates": corner}, "shape": list(shape)},
        "blocked": base64.b64encode(blocked).decode(),
        "bitOrder": BitOrder.little.wire,
        **request_of(request_id, expected_revision),
    }
    if where is not None:
        where_shape, written = packed(files.read(where))
        if where_shape != shape:
            raise typer.BadParameter(f"must have the shape {shape}", param_hint="--where")
        body["written"] = base64.b64encode(written).decode()
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}:writeBlocked"
        answer = gateway.post(
            route, body, {"region": "--origin", "expectedRevision": "--expected-revision"}
        )
    pairs = [*blocked_pairs(answer["state"]), ("before", answer["beforeDigest"])]
    output.thing(answer, output_format, name=lattice_id, pairs=pairs)


@app.verb(
    examples="""
    girih lattices put 3f2a9c1e walls walls.npy
    girih lattices block-by-field 3f2a9c1e walls
    """
)
def block_by_field(
    lattice_id: LatticeId,
    name: Name,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Block the sites where a field is not zero, and free the others, as one event."""
    body: dict[str, Json] = {"name": name, **request_of(request_id, expected_revision)}
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}:blockByField"
        answer = gateway.post(route, body, {"expectedRevision": "--expected-revision"})
    pairs = [*blocked_pairs(answer["state"]), ("before", answer["beforeDigest"])]
    output.thing(answer, output_format, name=lattice_id, pairs=pairs)
