"""`girih keys`: API keys, for machines."""

from operator import itemgetter
from typing import Annotated

import typer

from cli.terminal import asking, ids, options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

app = Commands("API keys, for machines.")

_SCOPES = [
    "events.read",
    "events.append",
    "groups.consume",
    "groups.read",
    "groups.write",
    "lattices.read",
    "lattices.write",
    "members.read",
    "projections.read",
    "schemas.write",
    "usage.read",
]


@app.verb(
    examples="""
    girih keys create importer --scope events.append --scope events.read
    GIRIH_API_KEY=$(girih keys create nightly --scope events.read) girih events list
    """
)
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help=f"What it shall allow, once for each: one of {', '.join(_SCOPES)}.",
            autocompletion=lambda: _SCOPES,
        ),
    ],
    expires_in_days: Annotated[
        int, typer.Option(min=0, max=3_650, help="0 means: works until it is revoked.")
    ] = 0,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Make a key and print its secret, which is not shown again.

    Use it as GIRIH_API_KEY, or where a token is asked for.
    """
    with options.gateway(url) as gateway:
        body = {"name": name, "scopes": scope, "expiresInDays": expires_in_days}
        answer = gateway.post("/v1/keys", body)
    if output_format.is_document:
        output.document(answer, output_format)
        return
    output.message(f"Key {answer['key']['keyId']}. The secret is shown this once:")
    print(answer["secret"])


_KEYS = Listing(
    name=itemgetter("keyId"),
    columns=(
        Column(title="key", cell=itemgetter("keyId"), is_id=True),
        Column(title="name", cell=itemgetter("name"), is_text=True),
        Column(
            title="scopes",
            cell=lambda key: ", ".join(key.get("scopes", [])),
            is_text=True,
            rank=1,
        ),
        Column(title="created", cell=lambda key: moment(key.get("createdAt", "")), rank=4),
        Column(
            title="expires", cell=lambda key: moment(key.get("expiresAt", "")) or "never", rank=2
        ),
        Column(
            title="last used",
            cell=lambda key: moment(key.get("lastUsedAt", "")) or "never",
            rank=3,
        ),
    ),
    nothing="There are no keys. Make one with `girih keys create`.",
)


@app.verb(
    "list",
    examples="""
    girih keys list
    girih keys list -o json | jq '.[] | select(.lastUsedAt == null) | .keyId'
    """,
)
def list_(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the keys that were not revoked."""
    with options.gateway(url) as gateway:
        rows = gateway.get("/v1/keys").get("keys", [])
        listing(rows, _KEYS, output_format, limit=limit, pager=pager)


@app.verb(examples="girih keys revoke 3f2a9c1e\ngirih keys revoke 3f2a9c1e 77b0d4c2 --yes")
def revoke(
    key_ids: Annotated[
        list[str], typer.Argument(metavar="KEY", help="Their ids, or how they begin.")
    ],
    yes: options.Yes = False,
    url: options.Url = None,
) -> None:
    """Revoke keys. They stop working at once."""
    with options.gateway(url) as gateway:
        whole = ids.whole(key_ids, lambda: map(_KEYS.name, gateway.get("/v1/keys").get("keys", [])))
        asking.confirm(f"Revoke {' '.join(whole)}?", yes=yes)

        def revoke_one(key_id: str) -> None:
            gateway.delete(f"/v1/keys/{options.segment(key_id)}")
            output.message(f"Revoked {key_id}.")

        asking.each(whole, revoke_one)
