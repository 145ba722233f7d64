"""The `girih` command. Knows words and exit codes; what they do is elsewhere, imported late."""

import os
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands import events, paths, running, schemas, signing_keys, streams
from cli.commands.accounts import account, keys, members, sessions, tenants
from cli.commands.accounts.usage import usage
from cli.commands.api import api
from cli.commands.fields import blocking as lattices
from cli.commands.keeping import backup, logs
from cli.commands.reacting import groups, projections
from cli.commands.simulating import jobs
from cli.failure import Failed
from cli.terminal import ending, options
from cli.terminal.completion import completion
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.options import DATA_DIR, DataDir, Output

if TYPE_CHECKING:
    from girih.servers import Server

app = Commands(
    "An event store and a lattice service, from one command.",
    epilog="Ends with "
    + ", ".join(f"{code} {meaning}" for code, meaning in exit_codes.MEANINGS.items())
    + ". GIRIH_API_KEY in the environment is used in place of a session.",
)

_ACCOUNTS, _DATA, _RUNNING = "Accounts", "Lattices and events", "Running girih"

EventsAddress = Annotated[
    str | None,
    typer.Option(
        "--events-address",
        envvar="EVENTS_ADDRESS",
        help="Where the events service listens, as host:port. Unset means the one that"
        " `girih up` started.",
    ),
]


def main() -> None:
    """Run the command line; ends the process."""
    sys.exit(ending.run(app, sys.argv[1:]))


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from girih import __version__

        print(f"girih {__version__}")
        raise typer.Exit


@app.callback()
def girih(
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Say which girih this is; `girih version` says what it stands on, too.",
        ),
    ] = False,
) -> None:
    """What stands before the command."""


@app.verb(
    panel=_RUNNING,
    examples="""
    girih up
    girih up --data /var/lib/girih --gateway-address 0.0.0.0:8000
    """,
)
def up(
    data_dir: DataDir = DATA_DIR,
    gateway_address: Annotated[
        str | None,
        typer.Option(
            envvar="GATEWAY_ADDRESS",
            help="Where REST is served, as host:port. What is chosen here and below is"
            " remembered; at first it is 127.0.0.1:8000.",
        ),
    ] = None,
    events_address: Annotated[
        str | None, typer.Option(envvar="EVENTS_ADDRESS", help="Where events serves gRPC.")
    ] = None,
    lattice_address: Annotated[
        str | None, typer.Option(envvar="LATTICE_ADDRESS", help="Where lattice serves gRPC.")
    ] = None,
    projections_address: Annotated[
        str | None,
        typer.Option(envvar="PROJECTIONS_ADDRESS", help="Where projections serves gRPC."),
    ] = None,
    gateway_metrics_port: Annotated[
        int | None, typer.Option(envvar="GATEWAY_METRICS_PORT", min=0, max=65_535)
    ] = None,
    events_metrics_port: Annotated[
        int | None, typer.Option(envvar="EVENTS_METRICS_PORT", min=0, max=65_535)
    ] = None,
    lattice_metrics_port: Annotated[
        int | None, typer.Option(envvar="LATTICE_METRICS_PORT", min=0, max=65_535)
    ] = None,
    projections_metrics_port: Annotated[
        int | None, typer.Option(envvar="PROJECTIONS_METRICS_PORT", min=0, max=65_535)
    ] = None,
    start_timeout_s: Annotated[
        float, typer.Option(min=1, help="How long everything may take to be ready, in seconds.")
    ] = 120.0,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show the logs of all processes here, too.")
    ] = False,
    exit_when_ready: Annotated[
        bool, typer.Option(help="Print how long the start took, and stop.")
    ] = False,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Run in the background, once it is ready.")
    ] = False,
    is_detached: Annotated[bool, typer.Option("--is-detached", hidden=True)] = False,
) -> None:
    """Start everything on this machine, and keep it running until Ctrl-C, or `girih down`.

    PostgreSQL comes along unless DATABASE_URL names another. A process that dies is started
    again. Runs as `development` unless GIRIH_ENVIRONMENT says otherwise.
    """
    from rich.console import Console

    from cli.local import addresses, background
    from cli.local.state import InUse, Unusable
    from cli.local.supervisor import GaveUp
    from cli.local.up import Obstructed, Plan
    from cli.local.up import up as run

    if detach and (verbose or exit_when_ready):
        raise typer.BadParameter(
            "--verbose and --exit-when-ready are for a terminal", param_hint="-d"
        )
    given = {
        "GATEWAY_ADDRESS": _address(gateway_address),
        "EVENTS_ADDRESS": _address(events_address),
        "LATTICE_ADDRESS": _address(lattice_address),
        "PROJECTIONS_ADDRESS": _address(projections_address),
        "GATEWAY_METRICS_PORT": _text(gateway_metrics_port),
        "EVENTS_METRICS_PORT": _text(events_metrics_port),
        "LATTICE_METRICS_PORT": _text(lattice_metrics_port),
        "PROJECTIONS_METRICS_PORT": _text(projections_metrics_port),
    }
    plan = Plan(
        data_dir=data_dir,
        addresses=addresses.chosen(data_dir, given),
        start_timeout_s=start_timeout_s,
        http_transport=os.environ.get("GATEWAY_HTTP_TRANSPORT", ""),
        storage=os.environ.get("LATTICE_STORAGE", ""),
    )
    console = Console(highlight=False)
    try:
        if detach:
            background.start(plan, console)
            return
        run(
            plan,
            os.environ,
            console,
            is_verbose=verbose,
            ends_when_ready=exit_when_ready,
            is_detached=is_detached,
        )
    except (InUse, Obstructed, Unusable) as error:
        raise Failed(str(error)) from error
    except GaveUp as error:
        raise Failed(str(error), error.exit_code) from error


# Where they stand in the help: behind the start of what they look after.
running.add_to(app, _RUNNING)


@app.verb(
    "import",
    panel=_DATA,
    examples="""
    girih import doors.jsonl
    zcat doors.jsonl.gz | girih import - --source doors
    """,
)
def import_(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            exists=True,
            dir_okay=False,
            readable=True,
            allow_dash=True,
            # In a Path typer does not find the dash, so what comes is a str.
            path_type=str,
            help="JSON lines; - is stdin.",
        ),
    ],
    stream_field: Annotated[str, typer.Option(help="The member that names the stream.")] = "stream",
    type_field: Annotated[
        str, typer.Option(help="The member that names the event's type.")
    ] = "type",
    source: Annotated[
        str | None,
        typer.Option(
            help="What the file is called in the events' ids. Unset means its own name without"
            " the folder. The same source and line give the same event."
        ),
    ] = None,
    namespace: Annotated[
        uuid.UUID | None, typer.Option(help="A UUID that sets these ids apart from other imports.")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=5_000, help="Events per call.")] = 500,
    retry_for: Annotated[
        float, typer.Option(min=0, help="How long the service may be away, in seconds.")
    ] = 60.0,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Pass over lines that are no event.")
    ] = False,
    events_address: EventsAddress = None,
    url: options.Url = None,
    output_format: Output = Format.table,
) -> None:
    """Append the lines of FILE as events, in the file's order, to the log of who is logged in.

    Each line is a JSON object: one member names the stream, one the type, the rest is the
    payload, kept as it was sent. Importing again appends only what is not stored yet, so an
    import that was interrupted is simply repeated.

    Ends with 65 at a bad line (and says which), with 69 when the service stayed away.
    """
    from cli.client.session import chosen
    from cli.importing.command import Request, run

    if str(file) == "-" and source is None:
        raise typer.BadParameter("stdin has no name: say --source", param_hint="FILE")
    path = Path(file)
    server = options.server(url)
    run(
        path,
        Request(
            address=events_address or _events_address(server),
            source=source or path.name,
            stream_field=stream_field,
            type_field=type_field,
            namespace=namespace,
            batch_count_max=batch,
            retry_for_s=retry_for,
            skips_bad=skip_bad,
            tokens=chosen(server, os.environ),
            output_format=output_format,
        ),
    )


@app.verb(panel=_DATA, examples="girih demo")
def demo(
    events_address: EventsAddress = None,
    url: options.Url = None,
    output_format: Output = Format.table,
) -> None:
    """Put something to look at into the tenant: a workshop's events, lattices and paths.

    A second time it appends nothing.
    """
    from cli.demo.command import run

    server = options.server(url)
    with options.gateway_of(server) as gateway:
        run(gateway, events_address or _events_address(server), output_format)


@app.verb(panel=_RUNNING, examples="girih doctor")
def doctor(data_dir: DataDir = DATA_DIR, output_format: Output = Format.table) -> None:
    """Look at settings, database and processes; say what is wrong and how to mend it.

    Ends with 0 when all is well and with 1 otherwise.
    """
    from cli.commands.doctor import run

    raise typer.Exit(run(data_dir, os.environ, output_format))


@app.verb(
    panel=_RUNNING,
    examples="""
    girih migrate
    DATABASE_URL=postgresql://girih@db/girih girih migrate
    """,
)
def migrate(
    data_dir: DataDir = DATA_DIR,
    timeout_s: Annotated[
        float, typer.Option(min=0, help="How long the database may take to answer, in seconds.")
    ] = 60.0,
) -> None:
    """Bring the database of DATABASE_URL, or the embedded one, up to this version's schema."""
    from cli.local.migrating import run

    run(data_dir, os.environ, timeout_s=timeout_s)


@app.verb(panel=_RUNNING, examples="girih version -o json")
def version(output_format: Output = Format.table) -> None:
    """Say which girih this is, and what it stands on."""
    from cli.commands.versions import show

    show(output_format)


app.verb(
    panel=_RUNNING,
    examples="""
    source <(girih completion bash)
    girih completion fish > ~/.config/fish/completions/girih.fish
    """,
)(completion)
app.verb(
    panel=_DATA,
    examples="""
    girih api GET /v1/log
    girih api GET /v1/events -f stream=permit-1 -F limit=10 | jq .event.type
    girih api POST /v1/lattices -F dimensions=3 -F size=10
    """,
)(api)
account.add_to(app, _ACCOUNTS)
app.verb(panel=_ACCOUNTS, examples="girih usage")(usage)
for _name, _noun, _panel in (
    ("members", members.app, _ACCOUNTS),
    ("keys", keys.app, _ACCOUNTS),
    ("sessions", sessions.app, _ACCOUNTS),
    ("lattices", lattices.app, _DATA),
    ("paths", paths.app, _DATA),
    ("jobs", jobs.app, _DATA),
    ("events", events.app, _DATA),
    ("streams", streams.app, _DATA),
    ("schemas", schemas.app, _DATA),
    ("projections", projections.app, _DATA),
    ("groups", groups.app, _DATA),
    ("logs", logs.app, _RUNNING),
    ("backup", backup.app, _RUNNING),
    ("signing-keys", signing_keys.app, _RUNNING),
    ("tenants", tenants.app, _RUNNING),
):
    app.add_typer(_noun, name=_name, rich_help_panel=_panel)


def _events_address(server: "Server") -> str:
    """Of the very girih whose token the calls carry: nobody else shall see it."""
    if server.events_address:
        return server.events_address
    message = f"where events of {server.url} listens is not known; say --events-address"
    raise Failed(message, exit_codes.USAGE)


def _text(number: int | None) -> str | None:
    return None if number is None else str(number)


def _address(text: str | None) -> str | None:
    from cli.local import ports

    try:
        if text is not None:
            ports.split(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return text
