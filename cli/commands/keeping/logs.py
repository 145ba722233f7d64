"""`girih logs`: what processes wrote, and in which database the logs of tenants are."""

import os
import time
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands import running
from cli.commands.keeping.archives import EventsAddress, address_of, operator_token
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.places import Document, PlacedLogs

_LOOK_S = 0.5

app = Commands(
    "What processes wrote; and, for operators, in which database the logs of tenants are.",
    is_first_meant=True,
)
app.verb(
    "show",
    examples="girih logs show gateway --tail 20\ngirih logs gateway\ngirih logs --follow",
)(running.logs)

Tenant = Annotated[str, typer.Argument(metavar="TENANT", help="Whose log, by the tenant's id.")]
Place = Annotated[str, typer.Argument(metavar="PLACE", help="One of EVENTS_PLACES, or default.")]


@app.verb("place", examples="girih logs place 3f2a9c1e-52f4-4a0e-9f38-0b7d6c1d2e3f west")
def place(
    tenant: Tenant,
    place: Place,
    events_address: EventsAddress = None,
    data_dir: options.DataDir = options.DATA_DIR,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Have the log of a tenant be in one of several databases, before its first event.

    For operators: on the machine with the gateway's key.
    """
    log = _logs(events_address, url, data_dir).place(tenant, place)
    _print(log, output_format, f"the log of {tenant} is at {log['place']}")


@app.verb(
    "move",
    examples="""
    girih logs move 3f2a9c1e-52f4-4a0e-9f38-0b7d6c1d2e3f west --wait
    girih logs move TENANT default
    """,
)
def move(
    tenant: Tenant,
    place: Place,
    wait: Annotated[bool, typer.Option("--wait", help="Until the log is there.")] = False,
    events_address: EventsAddress = None,
    data_dir: options.DataDir = options.DATA_DIR,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Move the log of a tenant to another database, while it is read and written.

    For operators: on the machine with the gateway's key. The processes of the events service do it,
    also when this command has ended. Moved to where it is, a log that is on its way stays.
    """
    logs = _logs(events_address, url, data_dir)
    log = logs.move(tenant, place)
    while wait and log["place"] != place:
        output.message(f"{log['copiedPosition']} of {log['headPosition']} events are copied")
        time.sleep(_LOOK_S)
        log = next(one for one in logs.all() if one["tenant"] == tenant)
    is_there = log["place"] == place
    _print(
        log,
        output_format,
        f"the log of {tenant} is {'' if is_there else 'on its way '}{'at' if is_there else 'to'}"
        f" {place}",
    )


_PLACED = Listing(
    name=itemgetter("tenant"),
    columns=(
        Column(title="tenant", cell=itemgetter("tenant"), is_id=True),
        Column(title="place", cell=itemgetter("place")),
        Column(title="moving to", cell=itemgetter("movingTo")),
        Column(title="events", cell=lambda log: log["headPosition"] if log["reachable"] else "?"),
        Column(title="copied", cell=lambda log: log["copiedPosition"] if log["movingTo"] else ""),
    ),
    nothing="There is no log yet.",
)


@app.verb("list", examples="girih logs list\ngirih logs list -o jsonl | jq -r .place")
def list_(
    events_address: EventsAddress = None,
    data_dir: options.DataDir = options.DATA_DIR,
    url: options.Url = None,
    limit: options.Limit = 0,
    output_format: options.Output = Format.table,
) -> None:
    """List the logs of all tenants, with the database where each is.

    For operators: on the machine with the gateway's key.
    """
    logs = _logs(events_address, url, data_dir).all()
    output.listing(logs, _PLACED, output_format, limit=limit, pager=True)


def _print(log: "Document", output_format: Format, sentence: str) -> None:
    if output_format.is_document:
        output.document(log, output_format)
    else:
        output.sentence(sentence)


def _logs(events_address: str | None, url: str | None, data_dir: Path) -> "PlacedLogs":
    from cli.client.places import PlacedLogs

    address = events_address or address_of(options.server(url))
    token_of: Callable[[str, tuple[str, ...]], Callable[[], str]] = partial(
        operator_token, data_dir
    )
    return PlacedLogs(address, token_of, os.environ)
