"""`girih sessions`: where the user is logged in, and ending one of these from another."""

from operator import itemgetter
from typing import Annotated

import typer

from cli.terminal import asking, ids, options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

app = Commands("Where you are logged in.")

_PATH = "/auth/sessions"

_SESSIONS = Listing(
    name=itemgetter("sessionId"),
    columns=(
        Column(title="session", cell=itemgetter("sessionId"), is_id=True),
        Column(title="", cell=lambda one: "this one" if one.get("isCurrent") else ""),
        Column(title="tenant", cell=itemgetter("tenantName"), is_text=True, rank=2),
        Column(title="from", cell=lambda one: one.get("address", ""), is_text=True),
        Column(title="program", cell=lambda one: one.get("agent", ""), is_text=True, rank=3),
        Column(title="opened", cell=lambda one: moment(one.get("openedAt", "")), rank=4),
        Column(title="refreshed", cell=lambda one: moment(one.get("refreshedAt", "")), rank=1),
    ),
    nothing="There are no open sessions.",
)


@app.verb("list", examples="girih sessions list\ngirih sessions list -o jsonl | jq -r .address")
def list_(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List your open sessions in all tenants, the one that began last first."""
    with options.gateway(url) as gateway:
        rows = gateway.get(_PATH).get("sessions", [])
        listing(rows, _SESSIONS, output_format, limit=limit, pager=pager)


@app.verb(examples="girih sessions end 3f2a9c1e\ngirih sessions end 3f2a9c1e 77b0d4c2 --yes")
def end(
    session_ids: Annotated[
        list[str], typer.Argument(metavar="SESSION", help="Their ids, or how they begin.")
    ],
    yes: options.Yes = False,
    url: options.Url = None,
) -> None:
    """End sessions: whoever holds them has to log in again."""
    with options.gateway(url) as gateway:
        whole = ids.whole(
            session_ids, lambda: map(_SESSIONS.name, gateway.get(_PATH).get("sessions", []))
        )
        asking.confirm(f"End {' '.join(whole)}?", yes=yes)

        def end_one(session_id: str) -> None:
            gateway.delete(f"{_PATH}/{options.segment(session_id)}")
            output.message(f"Ended {session_id}.")

        asking.each(whole, end_one)
