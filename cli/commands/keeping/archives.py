"""`girih backup export`, `verify`, `import` and `key`: whole logs in files."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands

if TYPE_CHECKING:
    from cli.archiving.manifest import Manifest
    from girih.client.blocking.client import Client
    from girih.servers import Server

_Answer = TypeVar("_Answer")

_EXPORTING = ("events.read",)
_IMPORTING = ("events.append", "events.read", "logs.restore")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the archive is.")]
Key = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help="The key that seals the archive, as `girih backup key` makes them.",
    ),
]
EventsAddress = Annotated[
    str | None,
    typer.Option(
        "--events-address",
        envvar="EVENTS_ADDRESS",
        help="Where the events service listens, as host:port. Unset means the one that"
        " `girih up` started.",
    ),
]
Tenant = Annotated[
    str, typer.Option("--tenant", metavar="TENANT", help="Whose log, by the tenant's id.")
]


def add_to(app: Commands) -> None:
    """Make these commands part of `girih backup`."""
    for name, command, examples in (
        (
            "export",
            export,
            "girih backup export log\ngirih backup export log --key log.key --tenant 3f2a9c1e",
        ),
        ("verify", verify, "girih backup verify log\ngirih backup verify log --key log.key"),
        ("import", import_, "girih backup import log --tenant 3f2a9c1e"),
        ("key", key, "girih backup key log.key"),
    ):
        app.verb(name, examples=examples)(command)


def export(
    folder: Folder,
    key_file: Key = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            "--tenant",
            metavar="TENANT",
            help="Whose log, by the tenant's id, for operators: on the machine with the gateway's"
            " key. Unset means that of who is logged in.",
        ),
    ] = None,
    events_address: EventsAddress = None,
    data_dir: options.DataDir = options.DATA_DIR,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Write a whole log to FOLDER: events, rules, schemas and snapshots, with checksums.

    What the folder has of the log already stays, so an export that was interrupted is simply
    repeated, and one that is repeated later adds what is new.

    Ends with 65 when the log does not hold what the folder has of it.
    """
    from cli.archiving.exporting import Destination
    from cli.archiving.exporting import export as run

    own_key = _key(key_file)

    def show(manifest: "Manifest") -> None:
        output.message(f"{folder}: {manifest.head:,} events")

    with _client(events_address, url, tenant, data_dir, _EXPORTING) as girih:
        manifest = _refusing(
            lambda: run(girih, Destination(folder=folder, key=own_key, on_part=show))
        )
    _print(manifest, output_format, f"{manifest.head:,} events are in {folder}")


def verify(
    folder: Folder, key_file: Key = None, output_format: options.Output = Format.table
) -> None:
    """See that an archive is what was written: each file, each line, and the root of all.

    Ends with 65 when it is not, and says which file was changed and where.
    """
    from cli.archiving.verifying import verify as run

    manifest = _refusing(lambda: run(folder, _key(key_file)))
    _print(manifest, output_format, f"{folder} is whole: {manifest.head:,} events")


def import_(
    folder: Folder,
    tenant: Tenant,
    key_file: Key = None,
    events_address: EventsAddress = None,
    data_dir: options.DataDir = options.DATA_DIR,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Put an archive into the empty log of a tenant, here or on another server, and prove it.

    For operators: on the machine with the gateway's key. Positions, revisions, ids, times, who
    appended and digests stay as they were. An import that was interrupted is simply repeated, as
    long as nobody else has appended to the log.
    """
    from cli.archiving.restoring import Source, restore

    own_key = _key(key_file)
    with _client(events_address, url, tenant, data_dir, _IMPORTING) as girih:
        done = _refusing(lambda: restore(girih, Source(folder=folder, key=own_key)))
    if output_format.is_document:
        output.document(
            {
                **_document(done.manifest),
                "incarnation": done.incarnation,
                "foundCount": done.present_count,
                "snapshotCount": done.snapshot_count,
                "snapshotsPassedOver": done.snapshots_passed_over,
            },
            output_format,
        )
        return
    output.sentence(
        f"{done.manifest.head:,} events are in the log of {tenant}, {done.present_count:,} of them"
        f" from before, and {done.snapshot_count:,} snapshots; its root is that of the archive:"
        f" {done.manifest.root}"
    )


def key(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to keep it: a new file.")],
) -> None:
    """Make a key for archives. Without it nobody reads them, those who made them included."""
    from cli.archiving.sealing import create_key

    create_key(file)
    output.message(f"{file} is a key now. Keep it elsewhere than the archives.")


def _print(manifest: "Manifest", output_format: Format, sentence: str) -> None:
    if output_format.is_document:
        output.document(_document(manifest), output_format)
    else:
        output.sentence(f"{sentence}; its root is {manifest.root}")


def _document(manifest: "Manifest") -> dict[str, object]:
    return {
        "head": manifest.head,
        "root": manifest.root,
        "parts": len(manifest.parts),
        "snapshotLines": manifest.snapshots.count if manifest.snapshots else 0,
        "isSealed": manifest.is_sealed,
        "exportedAt": manifest.exported_at,
    }


def _key(file: Path | None) -> bytes | None:
    from cli.archiving.sealing import read_key

    return None if file is None else read_key(file)


def _refusing(act: Callable[[], _Answer]) -> _Answer:
    """What `act` answers; raises Failed for what is damaged and for what is refused."""
    from cli.archiving.sealing import Damaged
    from girih.client import GirihError, PermissionDenied, Unauthenticated, Unavailable

    try:
        return act()
    except Damaged as error:
        raise Failed(str(error), exit_codes.DATAERR) from error
    except Unavailable as error:
        raise Failed(f"events is away: {error}", exit_codes.UNAVAILABLE) from error
    except (Unauthenticated, PermissionDenied) as error:
        raise Failed(f"events refuses: {error}", exit_codes.NOPERM) from error
    except GirihError as error:
        raise Failed(f"events refuses: {error}", exit_codes.FAILED) from error


@contextmanager
def _client(
    events_address: str | None,
    url: str | None,
    tenant: str | None,
    data_dir: Path,
    scopes: tuple[str, ...],
) -> "Iterator[Client]":
    """The log of a tenant as an operator, or that of who is logged in."""
    from cli.client.session import chosen
    from girih.client.blocking.client import Client

    address, token = events_address, None
    if address is None or tenant is None:
        server = options.server(url)
        address = address or address_of(server)
        token = chosen(server, os.environ).for_services
    if tenant is not None:
        token = operator_token(data_dir, tenant, scopes)
    with Client(events=address, token=token) as girih:
        yield girih


def operator_token(
    data_dir: Path,
    tenant: str,
    scopes: tuple[str, ...],
    environ: Mapping[str, str] = os.environ,
) -> Callable[[], str]:
    """Gives tokens for a tenant's log, made with the gateway's key. Raises Failed."""
    from cli.local.keyfiles import KeyFiles, explained
    from girih.ids import TenantId
    from services.plumbing.auth.keys import SigningKeyFile
    from services.plumbing.auth.tokens import Issuer
    from services.policy import EVENTS, GATEWAY

    path = KeyFiles.of(data_dir, environ).private[GATEWAY]
    if not path.exists():
        message = f"operators need the gateway's key, and {path} is not there; say --data"
        raise Failed(message, exit_codes.CONFIG)
    with explained():
        issuer = Issuer(SigningKeyFile(path), GATEWAY)
    return lambda: issuer.service_token(EVENTS, TenantId(tenant), scopes)


def address_of(server: "Server") -> str:
    """Where the events service of a girih listens. Raises Failed when that is not known."""
    if server.events_address:
        return server.events_address
    message = f"where events of {server.url} listens is not known; say --events-address"
    raise Failed(message, exit_codes.USAGE)
