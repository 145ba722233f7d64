"""`girih signing-keys`: the keys that tokens are signed with, made, listed and replaced."""

import os
import time
from enum import StrEnum
from typing import Annotated

import typer

from cli.terminal import options, output

app = typer.Typer(help="The keys that tokens are signed with, for operators.", no_args_is_help=True)


class Signer(StrEnum):
    """Whose key."""

    gateway = "gateway"
    lattice = "lattice"
    both = "both"

    @property
    def issuers(self) -> list[str]:
        names = ["gateway", "lattice"] if self is Signer.both else [self.value]
        return [f"{name}.girih" for name in names]


@app.command()
def create(data_dir: options.DataDir = options.DATA_DIR) -> None:
    """Make the keys that are not there yet. `girih up` does it by itself in development.

    They are made where GATEWAY_SIGNING_KEY, LATTICE_SIGNING_KEY, GIRIH_TRUSTED_KEYS and
    GATEWAY_REFRESH_SECRET say, and else in the folder `keys` of the data directory.
    """
    from cli.local.keyfiles import KeyFiles

    made = KeyFiles.of(data_dir, os.environ).make_missing(also_named=True)
    for path in made:
        print(path)
    if not made:
        output.message("Everything is there.")


@app.command(name="list")
def list_(data_dir: options.DataDir = options.DATA_DIR, as_json: options.AsJson = False) -> None:
    """List the keys that processes trust."""
    from dataclasses import asdict

    from cli.local.keyfiles import KeyFiles
    from cli.local.rotation import held

    keys = held(KeyFiles.of(data_dir, os.environ))
    if as_json:
        output.document({"keys": [{**asdict(key), "state": key.state} for key in keys]})
        return
    output.table(
        ("key", "of", "state", "retires"),
        [(key.kid, key.issuer, key.state, _moment(key.retire_at_s)) for key in keys],
        nothing="No key is trusted.",
    )


@app.command()
def rotate(
    of: Annotated[Signer, typer.Option(help="Whose key to replace.")] = Signer.both,
    wait_s: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="How long every process may take to read the trust store, in seconds: longer"
            " where it is carried to other machines. Unset means what it takes on this one.",
        ),
    ] = None,
    data_dir: options.DataDir = options.DATA_DIR,
) -> None:
    """Replace signing keys while everything runs; no token under way is refused.

    Publishes the next key, waits until every process has read it, swaps, and lets the old one
    retire when the last token it signed has expired.
    """
    from cli.local import rotation
    from cli.local.keyfiles import KeyFiles

    new = rotation.rotate(
        KeyFiles.of(data_dir, os.environ),
        of.issuers,
        wait_s=rotation.WAIT_S if wait_s is None else wait_s,
        say=output.message,
    )
    for kid in new:
        print(kid)


@app.command()
def retire(
    kid: Annotated[str, typer.Argument(metavar="KEY", help="The key's name, as `list` tells it.")],
    after_s: Annotated[
        float, typer.Option(min=0, help="When, in seconds. 0 refuses its tokens at once.")
    ] = 0.0,
    data_dir: options.DataDir = options.DATA_DIR,
) -> None:
    """Stop trusting a key that signs no more: one that somebody else got hold of."""
    from cli.local import rotation
    from cli.local.keyfiles import KeyFiles

    rotation.retire(KeyFiles.of(data_dir, os.environ), kid, after_s)
    output.message(f"{kid} retires {'now' if after_s == 0 else f'in {after_s:g} s'}.")


def _moment(at_s: float | None) -> str:
    return "" if at_s is None else time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_s))
