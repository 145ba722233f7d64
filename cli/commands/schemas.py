"""`girih schemas`: what the JSON of events must be like, and how old events are made new ones."""

import json
import sys
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Json

app = Commands("The schemas of the log's types of events.")


class Compatibility(StrEnum):
    """What a version keeps to of the one before it."""

    none = "none"
    backward = "backward"
    forward = "forward"
    full = "full"


EventType = Annotated[str, typer.Argument(metavar="TYPE", help="The type of events.")]
JsonFile = Annotated[
    str, typer.Argument(metavar="FILE", help="Where the JSON is; - reads it from stdin.")
]


@app.verb(
    "list",
    examples="""
    girih schemas list
    girih schemas list --type submitted -o json | jq '.[-1].version'
    """,
)
def list_(
    type_: Annotated[
        str, typer.Option("--type", metavar="TYPE", help="Only the versions of this one.")
    ] = "",
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the versions that are registered, by type."""
    with options.gateway(url) as gateway:
        rows = gateway.pages("/v1/schemas", "versions", type=type_)
        listing(rows, _VERSIONS, output_format, limit=limit, pager=pager)


@app.verb(examples="girih schemas show submitted --version 2")
def show(
    type_: EventType,
    version: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Unset means the newest.")
    ] = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print a version's schema, and the upcaster that leads on from it."""
    with options.gateway(url) as gateway:
        answer = gateway.get(f"/v1/schemas/{options.segment(type_)}", version=version)
    if output_format.is_document:
        output.document(answer, output_format)
        return
    print(json.dumps(answer["schema"], indent=2, ensure_ascii=False))
    shown, upcaster = answer["version"], answer.get("upcaster")
    leads = f"; leads on to version {upcaster['toVersion']}" if upcaster else ""
    output.message(f"version {shown.get('version', 0)}, {_compatibility(shown)} compatible{leads}")


@app.verb(
    examples="""
    girih schemas register submitted 1 submitted.schema.json
    girih schemas register submitted 2 - --compatibility full < submitted.schema.json
    """
)
def register(
    type_: EventType,
    version: Annotated[
        int, typer.Argument(min=0, metavar="VERSION", help="Above all that are registered.")
    ],
    file: JsonFile,
    compatibility: Annotated[
        Compatibility | None,
        typer.Option(help="What it keeps to of the version before. Unset means what that kept to."),
    ] = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Register the schema of a version: from then on events must be as it says."""
    body: Json = {"type": type_, "version": version, "schema": _read(file)}
    if compatibility is not None:
        body["compatibility"] = f"COMPATIBILITY_{compatibility.value.upper()}"
    with options.gateway(url) as gateway:
        answer = gateway.post("/v1/schemas", body)
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        before = ", as it was already" if answer.get("alreadyRegistered") else ""
        output.message(f"version {version} of {type_} is registered{before}")


@app.verb(
    examples="""
    echo '[{"rename": {"path": "/by", "name": "grantedBy"}}]' | girih schemas upcast granted 1 2 -
    """
)
def upcast(
    type_: EventType,
    from_version: Annotated[
        int, typer.Argument(min=0, metavar="FROM", help="The version of stored events.")
    ],
    to_version: Annotated[
        int, typer.Argument(min=1, metavar="TO", help="The version registered behind it.")
    ],
    file: JsonFile,
    example: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="JSON of an event to try it with; may be repeated."),
    ] = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Register how events of one version are made those of the next, for readers who ask for it.

    The file has a list of steps: add, constant, rename, drop and move, as the contract has them.
    """
    upcaster = {"fromVersion": from_version, "toVersion": to_version, "steps": _read(file)}
    examples = [json.dumps(_read(str(one))) for one in example or []]
    with options.gateway(url) as gateway:
        path = f"/v1/schemas/{options.segment(type_)}:registerUpcaster"
        answer = gateway.post(path, {"upcaster": upcaster, "examples": examples})
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(f"events of {type_} lead from version {from_version} to {to_version}")


@app.verb(examples="girih schemas delete submitted --yes")
def delete(
    type_: EventType,
    yes: options.Yes = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Delete all versions of a type and what leads on from them: then it takes anything."""
    from cli.terminal import asking

    asking.confirm(f"Delete all schemas of {type_}?", yes=yes)
    with options.gateway(url) as gateway:
        answer = gateway.delete(f"/v1/schemas/{options.segment(type_)}")
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(f"{answer.get('versionCount', 0)} versions of {type_} are deleted")


def _read(file: str) -> "Json":
    from cli.failure import Failed

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        return json.loads(text)
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}", exit_codes.NOINPUT) from error
    except (ValueError, RecursionError) as error:
        raise Failed(f"{file} is not JSON: {error}", exit_codes.DATAERR) from error


def _compatibility(version: "Json") -> str:
    word: str = version.get("compatibility", "")
    return word.removeprefix("COMPATIBILITY_").lower()


_VERSIONS = Listing(
    name=itemgetter("type"),
    columns=(
        Column(title="type", cell=itemgetter("type"), is_text=True),
        Column(title="version", cell=lambda one: str(one.get("version", 0)), is_number=True),
        Column(title="compatible", cell=_compatibility, rank=1),
        Column(title="upcaster", cell=lambda one: "yes" if one.get("hasUpcaster") else "", rank=2),
        Column(
            title="bytes",
            cell=lambda one: f"{one.get('byteCount', 0):,}",
            is_number=True,
            is_wide=True,
        ),
        Column(title="registered", cell=lambda one: moment(one.get("registeredAt", "")), rank=3),
    ),
    nothing="There are no schemas: every type takes anything. `girih schemas register` adds one.",
)
