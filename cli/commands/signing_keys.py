"""`girih signing-keys`: the keys that tokens are signed with, made, listed and replaced."""

import os
import time
from enum import StrEnum
from operator import itemgetter
from typing import Annotated

import typer

from cli.terminal import asking, ids, options, output
from cli.terminal.formats import Format, camel_case
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing
from cli.terminal.table import Column

app = Commands("The keys that tokens are signed with, for operators.")


class Signer(StrEnum):
    """Whose key."""

    gateway = "gateway"
    lattice = "lattice"
    projections = "projections"
    all = "all"

    @property
    def issuers(self) -> list[str]:
        every = [signer.value for signer in Signer if signer is not Signer.all]
        names = every if self is Signer.all else [self.value]
        return [f"{name}.girih" for name in names]


@app.verb(examples="girih signing-keys create --data /var/lib/girih")
def create(data_dir: options.DataDir = options.DATA_DIR) -> None:
    """Make the keys that are not there yet. `girih up` does it by itself in development.

    They are made where GATEWAY_SIGNING_KEY, LATTICE_SIGNING_KEY, PROJECTIONS_SIGNING_KEY,
    GIRIH_TRUSTED_KEYS and GATEWAY_REFRESH_SECRET say, and else in the folder `keys` of the data
    directory.
    """
    from cli.local.keyfiles import KeyFiles

    made = KeyFiles.of(data_dir, os.environ).make_missing(also_named=True)
    for path in made:
        print(path)
    if not made:
        output.message("Everything is there.")


_KEYS = Listing(
    name=itemgetter("kid"),
    columns=(
        Column(title="key", cell=itemgetter("kid"), is_id=True),
        Column(title="of", cell=itemgetter("issuer")),
        Column(title="state", cell=itemgetter("state"), is_text=True),
        Column(title="retires", cell=lambda key: _moment(key["retireAtS"]), rank=1),
    ),
    nothing="No key is trusted.",
)


@app.verb("list", examples="girih signing-keys list")
def list_(
    data_dir: options.DataDir = options.DATA_DIR,
    output_format: options.Output = Format.table,
) -> None:
    """List the keys that processes trust."""
    from dataclasses import asdict

    from cli.local.keyfiles import KeyFiles
    from cli.local.rotation import held

    keys = held(KeyFiles.of(data_dir, os.environ))
    rows = [{camel_case(name): value for name, value in asdict(key).items()} for key in keys]
    states = [{**row, "state": key.state} for row, key in zip(rows, keys, strict=True)]
    listing(states, _KEYS, output_format, pager=False)


@app.verb(examples="girih signing-keys rotate\ngirih signing-keys rotate --of lattice --wait-s 60")
def rotate(
    of: Annotated[Signer, typer.Option(help="Whose key to replace.")] = Signer.all,
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


@app.verb(examples="girih signing-keys retire gateway-3f2a9c1e --yes")
def retire(
    kid: Annotated[str, typer.Argument(metavar="KEY", help="The key's name, or how it begins.")],
    after_s: Annotated[
        float, typer.Option(min=0, help="When, in seconds. 0 refuses its tokens at once.")
    ] = 0.0,
    yes: options.Yes = False,
    data_dir: options.DataDir = options.DATA_DIR,
) -> None:
    """Stop trusting a key that signs no more: one that somebody else got hold of."""
    from cli.local import rotation
    from cli.local.keyfiles import KeyFiles

    files = KeyFiles.of(data_dir, os.environ)
    [kid] = ids.whole([kid], lambda: [key.kid for key in rotation.held(files)])
    asking.confirm(f"Refuse what {kid} has signed?", yes=yes)
    rotation.retire(files, kid, after_s)
    output.message(f"{kid} retires {'now' if after_s == 0 else f'in {after_s:g} s'}.")


def _moment(at_s: float | None) -> str:
    return "" if at_s is None else time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(at_s))
