"""`girih backup base`, `archive`, `restore`, `drill`, `list` and `prune`: the whole database."""

import os
import signal
import tempfile
import threading
from dataclasses import asdict
from datetime import UTC, datetime
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
    """Copy the whole server to FOLDER while it serves, and see that each file came whole.

    With what `girih backup archive` keeps it can be restored as of any moment since.
    """
    from cli.backups import taking
    from cli.backups.repository import Repository
    from cli.backups.tools import Tools

    url = _url(database_url, data_dir)
    backup = taking.take_base(Tools(os.environ), url, Repository(folder))
    if output_format.is_document:
        output.document(_document(backup), output_format)
    else:
        size = backup.byte_count / 2**20
        output.sentence(f"{backup.name}: {size:,.1f} MiB in {backup.duration_s:.1f} s, verified")


def archive(
    folder: Repository,
    database_url: DatabaseUrl = None,
    data_dir: options.DataDir = options.DATA_DIR,
) -> None:
    """Keep the server's write-ahead log in FOLDER as it is written, until Ctrl-C or SIGTERM.

    Run it all the time, as a service: what is committed while it runs is there a moment later. The
    server keeps for it what it has not fetched yet, up to its `max_slot_wal_keep_size`.
    """
    from cli.backups import taking
    from cli.backups.repository import Repository
    from cli.backups.tools import Tools

    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    url = _url(database_url, data_dir)
    output.message(f"keeping the write-ahead log in {folder}")
    taking.archive(
        Tools(os.environ),
        url,
        Repository(folder),
        is_over=over.is_set,
        on_trouble=lambda problem: output.message(f"{problem}; trying again"),
    )


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
    from cli.backups.recovering import recover
    from cli.backups.repository import Repository
    from cli.backups.tools import Tools

    moment = None if at is None else _moment(at)
    data = into.absolute() / "postgres"
    done = recover(Tools(os.environ), Repository(folder), data, at=moment)
    if output_format.is_document:
        output.document(
            {
                "data": str(done.data),
                "backup": done.backup.name,
                "durationS": done.duration_s,
                "lastCommitAt": done.last_commit_at,
            },
            output_format,
        )
        return
    last = f"; its last commit was at {done.last_commit_at}" if done.last_commit_at else ""
    output.sentence(
        f"{done.data} is restored from {done.backup.name} in {done.duration_s:.1f} s{last}."
        f" Start it: girih up --data {into}"
    )


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
    from cli.backups.comparing import compare
    from cli.backups.recovering import recover
    from cli.backups.repository import Repository
    from cli.backups.tools import Tools
    from cli.local.postgres import EmbeddedPostgres

    tools, url = Tools(os.environ), _url(database_url, data_dir)
    repository = Repository(folder)
    with tempfile.TemporaryDirectory(prefix="drill-", dir=repository.folder) as name:
        done = recover(tools, repository, Path(name) / "postgres")
        with EmbeddedPostgres(done.data, environ=os.environ) as restored:
            logs = compare(tools, restored.url, url)
    broken = [log for log in logs if not log.is_same or log.snapshots_differ]
    document = {
        "backup": done.backup.name,
        "restoredInS": done.duration_s,
        "eventCount": sum(log.head for log in logs),
        "behindCount": sum(log.behind_count for log in logs),
        "logs": [{camel_case(name): value for name, value in asdict(log).items()} for log in logs],
    }
    if output_format.is_document:
        output.document(document, output_format)
    else:
        output.sentence(
            f"{len(logs) - len(broken)} of {len(logs)} logs with {document['eventCount']:,} events"
            f" are the same; restored in {done.duration_s:.1f} s from {done.backup.name}, and"
            f" {document['behindCount']:,} events are newer than what was kept"
        )
    if broken:
        names = ", ".join(log.tenant for log in broken)
        raise Failed(f"not the same: the logs of {names}", exit_codes.DATAERR)


def list_(folder: Repository, output_format: options.Output = Format.table) -> None:
    """List the base backups in FOLDER, the oldest first."""
    from cli.backups.repository import Repository

    rows = [_document(backup) for backup in Repository(folder).backups()]
    output.listing(rows, _BACKUPS, output_format, pager=False)


def prune(
    folder: Repository,
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="How many base backups stay.")],
) -> None:
    """Remove all base backups but the newest, and the log that only they need."""
    from cli.backups import taking
    from cli.backups.repository import Repository
    from cli.backups.tools import Tools

    removed = taking.prune(Tools(os.environ), Repository(folder), keep)
    names = ", ".join(map(attrgetter("name"), removed))
    output.message(f"removed {names}" if removed else "nothing to remove")


_BACKUPS = Listing(
    name=lambda row: str(row["name"]),
    columns=(
        Column(title="name", cell=lambda row: str(row["name"])),
        Column(title="ended", cell=lambda row: str(row["endedAt"])),
        Column(title="MiB", cell=lambda row: f"{row['byteCount'] / 2**20:,.1f}", is_number=True),
        Column(title="from", cell=lambda row: str(row["firstSegment"]), rank=1),
        Column(title="server", cell=lambda row: str(row["serverVersion"]), rank=1),
    ),
    nothing="There is no base backup here; make one: girih backup base",
)


def _document(backup: "BaseBackup") -> dict[str, object]:
    return {camel_case(name): value for name, value in asdict(backup).items()}


def _url(given: str | None, data_dir: Path) -> str:
    """Of the server that is backed up. Raises Failed when none is known, or runs."""
    from cli.local import state

    if url := given or os.environ.get("DATABASE_URL"):
        return url
    running = state.read(data_dir)
    if running is None or not running.is_running():
        message = f"girih is not running on {data_dir}, and no DATABASE_URL names another server"
        raise Failed(message, exit_codes.UNAVAILABLE)
    return running.environ["DATABASE_URL"]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        message = "must be a time as 2026-11-29T09:30:00Z"
        raise typer.BadParameter(message, param_hint="--at") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
