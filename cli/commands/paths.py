"""`girih paths`: shortest paths between the sites of a lattice, one or a file of them."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer

from cli import exit_codes
from cli.commands.lattices import CostField, CostRule, LatticeId, numbers, segment, site_costs
from cli.terminal import options, output, progress
from cli.terminal.formats import Format
from cli.terminal.help import Commands

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = Commands("Shortest paths.")

_QUERIES_MAX = 10_000  # of one call
_OPTIONS = {
    "start.coordinates": "--from",
    "goal.coordinates": "--to",
    "sitesMax": "--sites",
    "costs.field": "--costs",
}
_RUNS_SHOWN = 12


@app.verb(
    examples="""
    girih paths find 3f2a9c1e --from 0,0,0 --to 9,9,9
    girih paths find 3f2a9c1e --from 0,0 --to 9,9 --costs height
    girih paths find 3f2a9c1e --file queries.txt -o jsonl | jq .length
    """
)
def find(
    lattice_id: LatticeId,
    start: Annotated[
        str | None, typer.Option("--from", help="The site it begins at, as in 0,0,0.")
    ] = None,
    goal: Annotated[str | None, typer.Option("--to", help="The site it ends at.")] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            allow_dash=True,
            # In a Path typer does not find the dash, so what comes is a str.
            path_type=str,
            help="Many queries instead, one a line: two sites, as in `0,0,0 9,9,9`. - is stdin.",
        ),
    ] = None,
    sites_max: Annotated[
        int, typer.Option("--sites", min=0, max=100_000, help="The most sites of a path to list.")
    ] = 0,
    costs: CostField = None,
    mean: CostRule = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Find a shortest path, or one for each line of a file.

    That there is no path is an answer, and no failure. A file's answers have
    their `query` each, counted from 0.
    """
    query = _query(start, goal) if start is not None and goal is not None else None
    if (query is None) == (file is None) or (file and (start or goal)):
        raise typer.BadParameter("say --from and --to, or --file")
    asked = {"sitesMax": sites_max, **site_costs(costs, is_mean=mean)}
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        if file is not None:
            _find_all(gateway, f"{route}:findPaths", Path(file), asked, output_format)
        elif query is not None:
            answer = gateway.post(f"{route}:findPath", {**query, **asked}, _OPTIONS)
            output.thing(answer, output_format, name="", pairs=_pairs(answer))


def _find_all(
    gateway: "Gateway", route: str, file: Path, asked: "Json", output_format: Format
) -> None:
    with _opened(file) as lines, progress.counted("paths") as answered:
        paths = _answers(gateway, route, _queries(lines, file), asked, answered)
        if output_format.is_document:
            shown = output.documents(map(output.dumped, paths), output_format)
        else:
            shown = map(_line, paths)
        output.print_lines(shown, pager=False)


def _answers(
    gateway: "Gateway",
    route: str,
    queries: Iterator["Json"],
    asked: "Json",
    answered: Callable[[int], None],
) -> Iterator["Json"]:
    """The path of each query, with its number, as they come."""
    first = 0
    while chunk := list(islice(queries, _QUERIES_MAX)):
        body = json.dumps({"queries": chunk, **asked}).encode()
        for line in gateway.lines("POST", route, content=body):
            answer = json.loads(line)
            at = first + answer.get("firstQuery", 0)
            for index, path in enumerate(answer["paths"], start=at):
                yield {"query": index, **path}
            answered(len(answer["paths"]))
        first += len(chunk)


def _line(path: "Json") -> str:
    if not path.get("found"):
        return f"{path['query']:>6}  no path"
    steps = f"{int(path.get('steps', 0)):>8,} steps"
    return f"{path['query']:>6}  length {path['length']:>12g}  {steps}"


def _pairs(answer: "Json") -> list[tuple[str, str]]:
    path, computation = answer["path"], answer["computation"]
    runs = path.get("runs", [])
    steps = [f"{int(run['count']):,} x ({', '.join(map(str, run['step']))})" for run in runs]
    more = [f"and {len(runs) - _RUNS_SHOWN:,} more runs"] if len(runs) > _RUNS_SHOWN else []
    sites = map(",".join, path.get("sites", []))
    return [
        ("path", "found" if path.get("found") else "there is none"),
        ("length", _length(path, computation)),
        ("moves", f"{int(path['steps']):,} steps" if path.get("found") else ""),
        ("runs", ", ".join(steps[:_RUNS_SHOWN] + more)),
        ("sites", " ".join(sites)),
        ("method", output.word(computation.get("method", ""))),
        ("took", f"{int(computation.get('elapsedNs', 0)) / 1e6:,.3f} ms"),
        ("looked at", f"{int(computation.get('sitesExpanded', 0)):,} sites"),
        ("costs", computation.get("costsDigest", "")),
    ]


def _length(path: "Json", computation: "Json") -> str:
    if not path.get("found"):
        return ""
    unit = "" if computation.get("costsDigest") else " lattice spacings"
    return f"{path['length']:g}{unit}"


def _query(start: str, goal: str) -> "Json":
    return {
        "start": {"coordinates": numbers(start, "--from")},
        "goal": {"coordinates": numbers(goal, "--to")},
    }


def _queries(lines: BinaryIO, file: Path) -> Iterator["Json"]:
    """The queries of a file; blank lines and those that begin with # are none."""
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            start, goal = (word.decode() for word in words)
            yield _query(start, goal)
        except (ValueError, typer.BadParameter):
            _refuse_line(file, number)


def _refuse_line(file: Path, number: int) -> NoReturn:
    from cli.failure import Failed

    message = f"{file}: line {number}: must be two sites, as in `0,0,0 9,9,9`"
    raise Failed(message, exit_codes.DATAERR)


@contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
    else:
        with file.open("rb") as lines:
            yield lines
