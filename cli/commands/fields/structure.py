"""`girih lattices components` and `centrality`: what a lattice is like as a graph."""

import json
import math
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands.fields import commands
from cli.commands.lattices import LatticeId, OutputFile, numbers, segment
from cli.failure import Failed
from cli.terminal import options, output, progress
from cli.terminal.formats import Format
from cli.terminal.output import Listing, listing
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = commands.app

_SHOWN = 20


class Measure(StrEnum):
    """What makes a site central."""

    degree = "degree"
    closeness = "closeness"
    harmonic = "harmonic"
    betweenness = "betweenness"
    eigenvector = "eigenvector"
    pagerank = "pagerank"
    katz = "katz"


@app.verb(
    examples="""
    girih lattices components 3f2a9c1e
    girih lattices components 3f2a9c1e -o json | jq .count
    girih lattices components 3f2a9c1e --output-file labels.npy
    """
)
def components(
    lattice_id: LatticeId,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many to show, the largest first.")
    ] = _SHOWN,
    file: OutputFile = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Tell the connected components: how many, how large, and which lead across or around.

    Or write the number of each site's component into a file of numpy: -1 where blocked.
    """
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        if file is not None:
            answers = _parts(gateway, f"{route}:componentLabels", {}, "labels")
            _write(gateway, route, answers, "int32", file)
            return
        with progress.counted("components"):
            answer = gateway.post(f"{route}:components", {"componentsMax": limit})
    if output_format.is_document:
        output.document(answer, output_format)
        return
    if output_format.is_for_people:
        output.record(_summary(answer), beside=True)
    listing(iter(answer["components"]), _COMPONENTS, output_format, pager=False)


@app.verb(
    examples="""
    girih lattices centrality 3f2a9c1e betweenness
    girih lattices centrality 3f2a9c1e pagerank --top 100 -o jsonl
    girih lattices centrality 3f2a9c1e closeness --site 0,0,0 --site 9,9,9
    girih lattices centrality 3f2a9c1e closeness --output-file closeness.npy
    """
)
def centrality(
    lattice_id: LatticeId,
    measure: Annotated[
        Measure, typer.Argument(metavar="MEASURE", help="What makes a site central.")
    ],
    top: Annotated[
        int | None,
        typer.Option(min=1, max=10_000, help="How many to show, the most central first."),
    ] = None,
    sites: Annotated[
        list[str] | None,
        typer.Option("--site", metavar="SITE", help="Tell of this site; may be repeated."),
    ] = None,
    damping: Annotated[
        float | None,
        typer.Option(help="Of pagerank, 0.85 unless given, and of katz, which needs one."),
    ] = None,
    file: OutputFile = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Tell which sites are the most central, how central some are, or all into a file of numpy."""
    if sum(one is not None for one in (top, sites or None, file)) > 1:
        raise typer.BadParameter("say one of --top, --site and --output-file")
    body: dict[str, Json] = {"measure": f"MEASURE_{measure.name.upper()}"}
    if damping is not None:
        body["damping"] = damping
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        if file is not None:
            answers = _parts(gateway, f"{route}:centrality", body, "values")
            _write(gateway, route, answers, "float64", file)
            return
        if sites:
            body["targets"] = [{"coordinates": numbers(site, "--site")} for site in sites]
        else:
            body["topK"] = top or _SHOWN
        listing(
            _central(gateway, f"{route}:centrality", body), _CENTRAL, output_format, pager=False
        )


def _central(gateway: "Gateway", route: str, body: "dict[str, Json]") -> Iterator["Json"]:
    """Sites with their values, in the order of the answer."""
    targets = [target["coordinates"] for target in body.get("targets", ())]
    with progress.counted("sites") as advance:
        for answer in _lines(gateway, route, body):
            values = answer.get("values", [])
            first = int(answer.get("firstIndex", 0))
            sites = answer.get("sites") or targets[first : first + len(values)]
            advance(len(values))
            for site, value in zip(sites, values, strict=True):
                yield {"site": [int(at) for at in site], "value": value}


def _parts(
    gateway: "Gateway", route: str, body: "dict[str, Json]", name: str
) -> Iterator[tuple[int, Sequence[float]]]:
    """Parts of a streamed answer: the index of the first number, and the numbers."""
    for answer in _lines(gateway, route, body):
        yield int(answer.get("firstIndex", 0)), answer.get(name, [])


def _lines(gateway: "Gateway", route: str, body: "dict[str, Json]") -> Iterator["Json"]:
    from cli.client.rest import Refused

    content = json.dumps(body).encode()
    try:
        for line in gateway.lines("POST", route, content=content):
            yield json.loads(line)
    except Refused as refused:
        names = {"targets": "--site", "topK": "--top", "damping": "--damping"}
        raise refused.naming(names) from None


def _write(
    gateway: "Gateway",
    route: str,
    answers: Iterator[tuple[int, Sequence[float]]],
    dtype: str,
    file: Path,
) -> None:
    from cli.grids import files
    from girih.client.lattices import arrays

    shape = [int(length) for length in gateway.get(route)["shape"]]
    count = math.prod(shape)
    if count > files.SITES_MAX:
        message = f"must be of a lattice of at most {files.SITES_MAX:,} sites"
        raise Failed(f"--output-file: {message}", exit_codes.DATAERR)
    array = arrays.filled(count, dtype, 0)
    with progress.counted("sites", count) as advance:
        for first, part in answers:
            arrays.put(array, first, part)
            advance(len(part))
    with file.open("wb") as stream:
        files.write(array.reshape(shape), stream)


def _summary(answer: "Json") -> list[tuple[str, str]]:
    axes = answer["axes"]
    return [
        ("components", f"{int(answer['count']):,}"),
        ("leading across", _along(axes, "spanning")),
        ("leading around", _along(axes, "wrapping")),
        ("method", output.word(answer["computation"]["method"])),
        ("took", f"{int(answer['computation']['elapsedNs']) / 1e6:,.3f} ms"),
    ]


def _along(axes: "Sequence[Json]", name: str) -> str:
    """How many along each axis."""
    return ", ".join(f"{int(axis[name]):,}" for axis in axes)


def _site(site: "Sequence[Json]") -> str:
    return ",".join(map(str, site))


def _axes(component: "Json", name: str) -> str:
    return ",".join(str(axis) for axis, is_so in enumerate(component[name]) if is_so)


_COMPONENTS = Listing(
    name=lambda one: str(one["label"]),
    columns=(
        Column(title="label", cell=lambda one: str(one["label"]), is_number=True),
        Column(title="sites", cell=lambda one: f"{int(one['size']):,}", is_number=True),
        Column(title="first site", cell=lambda one: _site(one["first"])),
        Column(title="across axes", cell=lambda one: _axes(one, "spanning"), rank=1),
        Column(title="around axes", cell=lambda one: _axes(one, "wrapping"), rank=2),
    ),
    nothing="The lattice has no component: all of its sites are blocked.",
)
_CENTRAL = Listing(
    name=lambda one: _site(one["site"]),
    columns=(
        Column(title="site", cell=lambda one: _site(one["site"]), is_text=True),
        Column(title="value", cell=lambda one: f"{one['value']:.12g}", is_number=True),
    ),
)
