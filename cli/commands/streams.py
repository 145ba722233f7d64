"""`girih streams`: which streams the log has."""

from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import options
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Json

app = Commands("The streams of the log.")


@app.verb(
    "list",
    examples="""
    girih streams list --prefix permit-
    girih streams list -o json | jq '.[] | select(.lastRevision > 100) | .stream'
    """,
)
def list_(
    prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only those whose names begin so.")
    ] = "",
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the streams by name, byte by byte. Names that begin with $ are girih's own."""
    with options.gateway(url) as gateway:
        rows = gateway.pages("/v1/streams", "streams", prefix=prefix)
        listing(rows, _STREAMS, output_format, limit=limit, pager=pager)


def _events(stream: "Json") -> str:
    return f"{int(stream.get('lastRevision', 0)) + 1:,}"


_STREAMS = Listing(
    name=itemgetter("stream"),
    columns=(
        Column(title="stream", cell=itemgetter("stream"), is_text=True),
        Column(title="events", cell=_events, is_number=True),
        Column(
            title="first at",
            cell=lambda one: f"{int(one['firstPosition']):,}",
            is_number=True,
            rank=3,
        ),
        Column(
            title="last at",
            cell=lambda one: f"{int(one['lastPosition']):,}",
            is_number=True,
            rank=2,
        ),
        Column(title="created", cell=lambda one: moment(one.get("createdAt", "")), is_wide=True),
        Column(title="updated", cell=lambda one: moment(one.get("updatedAt", "")), rank=1),
    ),
    nothing="There are no such streams. A stream begins with its first event.",
)
