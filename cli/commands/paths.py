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
from cli.commands.lattices import LatticeId, numbers
from cli.terminal import options, output

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = typer.Typer(help="Shortest paths.", no_args_is_help=True)

_QUERIES_MAX = 10_000  # of one call
_OPTIONS = {"start.coordinates": "--from", "goal.coordinates": "--to", "sitesMax": "--sites"}
_RUNS_SHOWN = 12


@app.callback()
def paths() -> None:
    """Shortest paths."""


@app.command()
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
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Find a shortest path, or one for each line of a file.

    That there is no path is an answer, and no failure. With --json a file's answers are lines,
    each with its `query`, counted from 0.
    """
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{options.segment(lattice_id)}"
        if start is not None and goal is not None and file is None:
            query = _query(start, goal)
            answer = gateway.post(f"{route}:findPath", {**query, "sitesMax": sites_max}, _OPTIONS)
            output.document(answer) if as_json else _show(answer)
        elif file is not None and start is None and goal is None:
            _find_all(gateway, f"{route}:findPaths", Path(file), sites_max, is_json=as_json)
        else:
            raise typer.BadParameter("say --from and --to, or --file")


def _find_all(gateway: "Gateway", route: str, file: Path, sites_max: int, *, is_json: bool) -> None:
    with _opened(file) as lines, _progress() as answered:
        first = 0
        queries = _queries(lines, file)
        while chunk := list(islice(queries, _QUERIES_MAX)):
            body = json.dumps({"queries": chunk, "sitesMax": sites_max}).encode()
            for line in gateway.lines("POST", route, content=body):
                answer = json.loads(line)
                at = first + answer.get("firstQuery", 0)
                for index, path in enumerate(answer["paths"], start=at):
                    _print_path(index, path, is_json=is_json)
                answered(len(answer["paths"]))
            first += len(chunk)


def _print_path(index: int, path: "Json", *, is_json: bool) -> None:
    if is_json:
        print(json.dumps({"query": index, **path}))
    elif path.get("found"):
        print(f"{index:>6}  {path['length']:>12g}  {int(path.get('steps', 0)):>8,} steps")
    else:
        print(f"{index:>6}  no path")


def _show(answer: "Json") -> None:
    path, computation = answer["path"], answer["computation"]
    runs = path.get("runs", [])
    steps = [f"{int(run['count']):,} x ({', '.join(map(str, run['step']))})" for run in runs]
    more = [f"and {len(runs) - _RUNS_SHOWN:,} more runs"] if len(runs) > _RUNS_SHOWN else []
    sites = map(",".join, path.get("sites", []))
    output.record(
        [
            ("path", "found" if path.get("found") else "there is none"),
            ("length", f"{path['length']:g}" if path.get("found") else ""),
            ("steps", f"{int(path['steps']):,}" if path.get("found") else ""),
            ("runs", ", ".join(steps[:_RUNS_SHOWN] + more)),
            ("sites", " ".join(sites)),
            ("method", output.word(computation.get("method", ""))),
            ("took", f"{int(computation.get('elapsedNs', 0)) / 1e6:,.3f} ms"),
            ("looked at", f"{int(computation.get('sitesExpanded', 0)):,} sites"),
        ]
    )


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


@contextmanager
def _progress() -> Iterator[Callable[[int], None]]:
    """Called with the number of answers that have come; shown where somebody looks."""
    if not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.completed:,} paths"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda count: bar.update(task, advance=count)
