"""`girih down`, `status`, `logs` and `restart`: the `girih up` of a folder, seen from outside."""

import os
import sys
import time
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.local.background import Status

_POLL_S = 0.1

_NAMES = ["postgres", "events", "lattice", "projections", "gateway"]

Processes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PROCESS",
        help="Of postgres, events, lattice, projections and gateway; all if none.",
        autocompletion=lambda: _NAMES,
    ),
]


def add_to(app: Commands, panel: str) -> None:
    """Make these commands part of `girih`, under a heading of its help."""
    for command, examples in (
        (down, "girih down\ngirih down --data /var/lib/girih"),
        (status, "girih status\ngirih status -o json | jq -r .state"),
        (restart, "girih restart\ngirih restart lattice gateway"),
        (probe, "girih probe 127.0.0.1:50051\ngirih probe http://127.0.0.1:8000/health/live"),
    ):
        app.verb(panel=panel, examples=examples)(command)


def probe(
    where: Annotated[
        str,
        typer.Argument(
            metavar="WHERE", help="A service as host:port, or a URL that answers 200 to who asks."
        ),
    ],
) -> None:
    """Tell whether one process serves: for what looks after containers and asks nobody else.

    A service is asked by grpc.health.v1, encrypted as GIRIH_TRANSPORT says. Ends with 0 when it
    serves, and with 69 when it does not.
    """
    from cli.local import health

    is_url = where.startswith(("http://", "https://"))
    problem = health.http_problem(where) if is_url else health.grpc_problem(where, os.environ)
    if problem is not None:
        raise Failed(f"{where} {problem}", exit_codes.UNAVAILABLE)


def down(data_dir: options.DataDir = options.DATA_DIR) -> None:
    """Stop the girih of this folder, wherever it runs, and what a killed one left behind.

    Ends none but its own processes. Its data stays.
    """
    from cli.local import background

    background.stop(_existing(data_dir), output.message)


def status(
    data_dir: options.DataDir = options.DATA_DIR,
    output_format: options.Output = Format.table,
) -> None:
    """Tell whether the girih of this folder runs, and how each of its processes is.

    Ends with 0 when all are healthy, with 69 when it does not run, and with 1 otherwise.
    """
    from cli.local import background

    state = background.look(_existing(data_dir), os.environ)
    if output_format.is_document:
        output.document(state.document(), output_format)
    else:
        _show(state, output_format)
    if not state.is_well:
        is_off = state.word in {"stopped", "killed"}
        raise typer.Exit(exit_codes.UNAVAILABLE if is_off else exit_codes.FAILED)


def _show(state: "Status", output_format: Format) -> None:
    if output_format.is_for_people:
        output.sentence(_sentence(state))
    output.listing(state.processes, _PROCESSES, output_format, pager=False)
    for one in state.processes:
        if one.problem and state.run and state.word not in {"stopping", "killed"}:
            output.message(f"{one.name} {one.problem}; see girih logs {one.name}")


_PROCESSES = Listing(
    name=attrgetter("name"),
    columns=(
        Column(title="process", cell=attrgetter("name")),
        Column(title="state", cell=attrgetter("state")),
        Column(title="pid", cell=lambda one: str(one.pid or ""), is_number=True, rank=1),
        Column(title="where", cell=attrgetter("address"), is_text=True),
    ),
)


def _sentence(state: "Status") -> str:
    if state.word == "stopped":
        return f"girih is not running here ({state.data_dir}); start it: girih up"
    if state.word == "killed":
        left = (
            "this is left over, girih down ends it" if state.processes else "nothing is left of it"
        )
        return f"girih was killed here ({state.data_dir}); {left}. Start it: girih up"
    if state.run is None:
        return f"girih is starting on {state.data_dir}."
    since = datetime.fromtimestamp(state.run.began_at_s, UTC).astimezone()
    where = "in the background" if state.run.is_detached else "in a terminal"
    return (
        f"girih is {state.word} {where} on {state.data_dir}, process {state.run.supervisor.pid},"
        f" since {since:%Y-%m-%d %H:%M:%S %Z}."
    )


def logs(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="PROCESS",
            help="Of up (what `girih up -d` said), postgres, events, lattice, projections and"
            " gateway. None means all.",
            autocompletion=lambda: [*_NAMES, "up"],
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what is written, until Ctrl-C.")
    ] = False,
    line_count: Annotated[
        int, typer.Option("--tail", "-n", min=0, help="How many of the last lines of each.")
    ] = 100,
    data_dir: options.DataDir = options.DATA_DIR,
) -> None:
    """Show the logs of the girih of this folder, also after it has stopped.

    Several are shown in the order of their times, each line behind the name of its process.
    """
    from cli.local import logs as files
    from girih import servers

    paths = _logs(_existing(data_dir), names or [])
    followers = {name: files.Follower(path) for name, path in paths.items()}
    width = max(map(len, paths)) if len(paths) > 1 else 0
    before = {name: follower.last_lines(line_count) for name, follower in followers.items()}
    for name, line in files.merged(before):
        _print_line(name, line, width)
    while follow:
        is_up = servers.is_up(data_dir)
        for name, follower in followers.items():
            for line in follower.new_lines():
                _print_line(name, line, width)
        if not is_up:
            output.message(f"girih is not running here ({data_dir}).")
            return
        sys.stdout.flush()
        time.sleep(_POLL_S)


def _logs(data_dir: Path, names: list[str]) -> dict[str, Path]:
    """The log files by process. Raises Failed for one that has none."""
    paths = {path.stem: path for path in sorted((data_dir / "logs").glob("*.log"))}
    if unknown := [name for name in names if name not in paths]:
        message = f"there is no log of {', '.join(unknown)}; there are {', '.join(paths) or 'none'}"
        raise Failed(message, exit_codes.NOINPUT)
    return {name: paths[name] for name in names} if names else paths


def _print_line(name: str, line: str, width: int) -> None:
    print(f"{name:<{width}} | {line}" if width else line)


def restart(names: Processes = None, data_dir: options.DataDir = options.DATA_DIR) -> None:
    """Restart processes in order, the last first, and wait until they are healthy.

    Whoever runs `girih up` keeps running, with the settings that it was started with: to change
    those, `girih down` and `girih up -d`.
    """
    from cli.local import background

    background.restart(_existing(data_dir), names or [], output.message)


def _existing(data_dir: Path) -> Path:
    if data_dir.is_dir():
        return data_dir
    message = f"girih has never been up here: there is no {data_dir}; start it: girih up"
    raise Failed(message, exit_codes.UNAVAILABLE)
