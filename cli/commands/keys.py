"""`girih keys`: API keys, for machines."""

from typing import Annotated

import typer

from cli.terminal import options, output

app = typer.Typer(help="API keys, for machines.", no_args_is_help=True)


@app.command()
def create(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What it is for.")],
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it shall allow, once for each: events.read, events.append, lattices.read,"
            " lattices.write, members.read or usage.read."
        ),
    ],
    expires_in_days: Annotated[
        int, typer.Option(min=0, max=3_650, help="0 means: works until it is revoked.")
    ] = 0,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Make a key and print its secret, which is not shown again.

    Use it as GIRIH_API_KEY, or where a token is asked for.
    """
    with options.gateway(url) as gateway:
        body = {"name": name, "scopes": scope, "expiresInDays": expires_in_days}
        answer = gateway.post("/v1/keys", body)
    if as_json:
        output.document(answer)
        return
    output.message(f"Key {answer['key']['keyId']}. The secret is shown this once:")
    print(answer["secret"])


@app.command(name="list")
def list_(url: options.Url = None, as_json: options.AsJson = False) -> None:
    """List the keys that were not revoked."""
    with options.gateway(url) as gateway:
        answer = gateway.get("/v1/keys")
    if as_json:
        output.document(answer)
        return
    output.table(
        ("key", "name", "scopes", "created", "expires", "last used"),
        [
            (
                key["keyId"],
                key["name"],
                ", ".join(key.get("scopes", [])),
                output.moment(key.get("createdAt", "")),
                output.moment(key.get("expiresAt", "")) or "never",
                output.moment(key.get("lastUsedAt", "")) or "never",
            )
            for key in answer.get("keys", [])
        ],
        nothing="There are no keys.",
    )


@app.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="KEY", help="Its id.")],
    url: options.Url = None,
) -> None:
    """Revoke a key. It stops working at once."""
    with options.gateway(url) as gateway:
        gateway.delete(f"/v1/keys/{options.segment(key_id)}")
    output.message(f"Revoked {key_id}.")
