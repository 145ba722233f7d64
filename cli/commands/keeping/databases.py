"""`girih backup base`, `archive`, `restore`, `drill`, `list` and `prune`: the whole database."""

import os
import signal
import tempfile
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import unquote, urlsplit

import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import options, output
from cli.terminal.formats import Format, camel_case
from cli.terminal.help import Commands
from cli.terminal.output import Listing
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.backups.repository import BaseBackup

Repository = Annotated[
    Path, typer.Argument(metavar="FOLDER", help="Where base backups and the log are kept.")
]
DatabaseUrl = Annotated[
    str | None,
    typer.Option(
        "--database-url",
        envvar="GIRIH_BACKUP_DATABASE_URL",
        metavar="URL",
        help="The server, by a login that may replicate. Unset means DATABASE_URL, or the server"
        " that `girih up` started.",
    ),
]


def add_to(app: Commands) -> None:
    """Make these commands part of `girih backup`."""
    for name, command, examples in (
        ("base", base, "girih backup base /var/backups/girih"),
        ("archive", archive, "girih backup archive /var/backups/girih"),
        (
            "restore",
            restore,
            """
            girih backup restore /var/backups/girih --into /var/lib/girih
            girih backup restore /var/backups/girih --into new --at 2026-11-29T09:30:00Z
            """,
        ),
        ("drill", drill, "girih backup drill /var/backups/girih"),
        ("list", list_, "girih backup list /var/backups/girih"),
        ("prune", prune, "girih backup prune /var/backups/girih --keep 7"),
    ):
        app.verb(name, examples=examples)(command)


def base(
    folder: Repository,
    database_url: DatabaseUrl = None,
    data_dir: options.DataDir = options.DATA_DIR,
    output_format: options.Output = Format.table,
) -> None:
    """Copy the whole server to FOLDER while it serves, and see that each file came whole; and those
    of all places, below `places`.

    With what `girih backup archive` keeps it can be restored as of any moment since.
    """
    from cli.backups import places, taking
    from cli.backups.tools import Tools

    tools = Tools(os.environ)
    taken = {}
    for server in places.servers(tools, _urls(database_url, data_dir)):
        repository = places.repository(folder, server.name)
        taken[server.name] = backup = taking.take_base(tools, server.url, repository)
        if not output_format.is_document:
            size = backup.byte_count / 2**20
            output.sentence(
                f"{backup.name}{_of(server.name)}: {size:,.1f} MiB in {backup.duration_s:.1f} s,"
                " verified"
            )
    if output_format.is_document:
        rows = {name: _document(backup) for name, backup in taken.items()}
        output.document({**rows.pop(places.DEFAULT), "places": rows}, output_format)


def archive(
    folder: Repository,
    database_url: DatabaseUrl = None,
    data_dir: options.DataDir = options.DATA_DIR,
) -> None:
    """Keep the server's write-ahead log in FOLDER as it is written, until Ctrl-C or SIGTERM.

    Run it all the time, as a service: what is committed while it runs is there a moment later. The
    server keeps for it what it has not fetched yet, up to its `max_slot_wal_keep_size`.
    """
    from cli.backups import places, taking
    from cli.backups.tools import Tools

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    tools = Tools(os.environ)
    servers = places.servers(tools, _urls(database_url, data_dir))
    output.message(f"keeping the write-ahead log in {folder}")

    def keep(server: places.Server) -> None:
        taking.archive(
            tools,
            server.url,
            places.repository(folder, server.name),
            is_over=over.is_set,
            on_trouble=lambda problem: output.message(f"{problem}{_of(server.name)}; trying again"),
        )

    with ThreadPoolExecutor(max_workers=len(servers)) as keeping:
        for ended in as_completed([keeping.submit(keep, server) for server in servers]):
            over.set()  # one that fails ends all
            ended.result()


def restore(
    folder: Repository,
    into: Annotated[
        Path,
        typer.Option(
            metavar="DATA", help="The data directory to make a database in: as of `girih up`."
        ),
    ],
    at: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="The moment to restore, as 2026-11-29T09:30:00Z. Unset means all that was kept.",
        ),
    ] = None,
    output_format: options.Output = Format.table,
) -> None:
    """Make a database as it was at a moment: start it with `girih up --data DATA`.

    Whoever has read of a log what is not in it any longer is told so (LOG_REPLACED). Ends with 65
    when what was kept ends before that moment, or is damaged.
    """
    from cli.backups import places
    from cli.backups.recovering import recover
    from cli.backups.tools import Tools

    moment = None if at is None else _moment(at)
    rows: dict[str, dict[str, object]] = {}
    for name, repository in places.repositories(folder).items():
        data = places.data(into.absolute(), name)
        done = recover(Tools(os.environ), repository, data, at=moment)
        last = f"; its last commit was at {done.last_commit_at}" if done.last_commit_at else ""
        rows[name] = {
            "data": str(done.data),
            "backup": done.backup.name,
            "durationS": done.duration_s,
            "lastCommitAt": done.last_commit_at,
        }
        if not output_format.is_document:
            output.sentence(
                f"{done.data} is restored from {done.backup.name}{_of(name)}"
                f" in {done.duration_s:.1f} s{last}."
            )
    if output_format.is_document:
        output.document({**rows.pop(places.DEFAULT), "places": rows}, output_format)
    else:
        output.sentence(f"Start it: girih up --data {into}")


def drill(
    folder: Repository,
    database_url: DatabaseUrl = None,
    data_dir: options.DataDir = options.DATA_DIR,
    output_format: options.Output = Format.table,
) -> None:
    """Restore the newest backup beside the running server, and compare every log by hash.

    Tells how long that took, and what would have been lost. Touches nothing that is in use, and
    leaves nothing. Needs room for a copy of the database, and a login that sees all rows. Ends with
    65 when a log is not the same.
    """
    from cli.backups import places
    from cli.backups.comparing import compare
    from cli.backups.recovering import recover
    from cli.backups.tools import Tools
    from cli.local.postgres import EmbeddedPostgres

    tools, urls = Tools(os.environ), _urls(database_url, data_dir)
    began_s = time.monotonic()
    restored_urls, backups = [], []
    with (
        tempfile.TemporaryDirectory(prefix="drill-", dir=folder) as name,
        ExitStack() as stack,
    ):
        for server in places.servers(tools, urls):
            repository = places.repository(folder, server.name)
            done = recover(tools, repository, places.data(Path(name), server.name))
            backups.append(done.backup.name)
            restored = EmbeddedPostgres(done.data, environ=os.environ)
            stack.enter_context(restored)
            restored_urls += [restored.url_of(_database(url)) for url in server.databases.values()]
        restored_in_s = round(time.monotonic() - began_s, 3)
        logs = compare(tools, restored_urls, list(urls.values()))
    broken = [log for log in logs if not log.is_same or log.snapshots_differ]
    document = {
        "backup": backups[0],
        "backups": backups,
        "restoredInS": restored_in_s,
        "eventCount": sum(log.head for log in logs),
        "behindCount": sum(log.behind_count for log in logs),
        "logs": [{camel_case(name): value for name, value in asdict(log).items()} for log in logs],
    }
    if output_format.is_document:
        output.document(document, output_format)
    else:
        output.sentence(
            f"{len(logs) - len(broken)} of {len(logs)} logs with {document['eventCount']:,} events"
            f" are the same; restored in {restored_in_s:.1f} s from {', '.join(backups)}, and"
            f" {document['behindCount']:,} events are newer than what was kept"
        )
    if broken:
        names = ", ".join(log.tenant for log in broken)
        raise Failed(f"not the same: the logs of {names}", exit_codes.DATAERR)


def list_(folder: Repository, output_format: options.Output = Format.table) -> None:
    """List the base backups in FOLDER, the oldest first."""
    from cli.backups import places

    rows = [
        {**_document(backup), "place": name}
        for name, repository in places.repositories(folder).items()
        for backup in repository.backups()
    ]
    output.listing(rows, _BACKUPS, output_format, pager=False)


def prune(
    folder: Repository,
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="How many base backups stay.")],
) -> None:
    """Remove all base backups but the newest, and the log that only they need."""
    from cli.backups import places, taking
    from cli.backups.tools import Tools

    tools = Tools(os.environ)
    removed = [
        backup
        for repository in places.repositories(folder).values()
        for backup in taking.prune(tools, repository, keep)
    ]
    names = ", ".join(map(attrgetter("name"), removed))
    output.message(f"removed {names}" if removed else "nothing to remove")


_BACKUPS = Listing(
    name=lambda row: str(row["name"]),
    columns=(
        Column(title="name", cell=lambda row: str(row["name"])),
        Column(title="place", cell=lambda row: str(row["place"])),
        Column(title="ended", cell=lambda row: str(row["endedAt"])),
        Column(title="MiB", cell=lambda row: f"{row['byteCount'] / 2**20:,.1f}", is_number=True),
        Column(title="from", cell=lambda row: str(row["firstSegment"]), rank=1),
        Column(title="server", cell=lambda row: str(row["serverVersion"]), rank=1),
    ),
    nothing="There is no base backup here; make one: girih backup base",
)


def _document(backup: "BaseBackup") -> dict[str, object]:
    return {camel_case(name): value for name, value in asdict(backup).items()}


def _urls(given: str | None, data_dir: Path) -> dict[str, str]:
    """Of the places that are backed up, `default` first. Raises Failed when none is known, or runs.

    Whoever names one server by hand means that one, unless GIRIH_BACKUP_PLACES names others beside.
    """
    from cli.backups import places
    from services.plumbing.settings import named_urls, secret_of

    environ: Mapping[str, str] = os.environ
    url = given or environ.get("DATABASE_URL")
    if url is None:
        environ = _running(data_dir)
        url = environ["DATABASE_URL"]
    try:
        named = secret_of(os.environ, "GIRIH_BACKUP_PLACES")
        if named is None and given is None:
            named = secret_of(environ, "EVENTS_PLACES")
    except ValueError as error:
        raise Failed(str(error), exit_codes.CONFIG) from error
    return {places.DEFAULT: url, **dict(named_urls(named or ""))}


def _running(data_dir: Path) -> Mapping[str, str]:
    """What the processes of `girih up` were told. Raises Failed when it does not run."""
    from cli.local import state

    running = state.read(data_dir)
    if running is None or not running.is_running():
        message = f"girih is not running on {data_dir}, and no DATABASE_URL names another server"
        raise Failed(message, exit_codes.UNAVAILABLE)
    return running.environ


def _database(url: str) -> str:
    return unquote(urlsplit(url).path.removeprefix("/"))


def _of(name: str) -> str:
    """Which server is meant, where that is not the only one."""
    from cli.backups import places

    return "" if name == places.DEFAULT else f" of {name}"


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = "must be a time as 2026-11-29T09:30:00Z"
        raise typer.BadParameter(message, param_hint="--at") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
