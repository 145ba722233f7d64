"""`girih streams`: which streams the log has, and what is kept of them."""

import json
from base64 import b64decode
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer

from cli.terminal import asking, options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Json

app = Commands("The streams of the log, and what is kept of them.")

Stream = Annotated[str, typer.Argument(metavar="STREAM", help="Which stream.")]
Expect = Annotated[
    int | None,
    typer.Option(
        "--expect",
        min=0,
        metavar="REVISION",
        help="Only if its last event has this revision. Otherwise ends with 75.",
    ),
]

_DAY_S = 86_400


@app.verb(
    "list",
    examples="""
    girih streams list --prefix permit-
    girih streams list --category permit
    girih streams list -o json | jq '.[] | select(.lastRevision > 100) | .stream'
    """,
)
def list_(
    prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="Only those whose names begin so.")
    ] = "",
    category: Annotated[
        str,
        typer.Option(metavar="CATEGORY", help="Only those whose names are that up to the first -."),
    ] = "",
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the streams by name, byte by byte. Names that begin with $ are girih's own."""
    with options.gateway(url) as gateway:
        chosen = {"prefix": prefix, "category": category}
        params = {name: value for name, value in chosen.items() if value}
        rows = gateway.pages("/v1/streams", "streams", **params)
        listing(rows, _STREAMS, output_format, limit=limit, pager=pager)


@app.verb(
    examples="girih streams show permit-1\ngirih streams show permit-1 -o json | jq .retention"
)
def show(
    stream: Stream, url: options.Url = None, output_format: options.Output = Format.table
) -> None:
    """Print where a stream begins and ends, and what is kept of it."""
    with options.gateway(url) as gateway:
        answer = gateway.get(f"/v1/streams/{options.segment(stream)}")
    if output_format.is_document:
        output.document(answer, output_format)
        return
    for name, text in _described(answer):
        print(f"{name:10} {text}")


@app.verb(
    examples="""
    girih streams load permit-1
    girih streams load permit-1 --schema-version 3 -o json | jq .snapshot.json
    """
)
def load(
    stream: Stream,
    known_version: Annotated[
        int,
        typer.Option(
            "--schema-version",
            min=0,
            metavar="N",
            help="Pass over snapshots of later versions than that. 0 takes all.",
        ),
    ] = 0,
    upcast: Annotated[
        bool, typer.Option("--upcast", help="Events in the newest version of their type.")
    ] = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Print the newest snapshot of a stream that fits, and how much lies behind it.

    A document has the events behind it, too: all that it takes to have the stream's state.
    """
    path = f"/v1/streams/{options.segment(stream)}:load"
    params = {"schemaVersion": known_version or None, "upcast": upcast or None}
    with options.gateway(url) as gateway:
        loaded = _loaded(gateway.lines("GET", path, params=params))
    if output_format.is_document:
        output.document(loaded, output_format)
        return
    for name, text in _loaded_words(loaded):
        print(f"{name:10} {text}")


@app.verb(
    examples="""
    girih streams save permit-1 7 '{"granted": 2}' --schema-version 3
    girih streams save permit-1 7 - < state.json
    """
)
def save(
    stream: Stream,
    revision: Annotated[
        int, typer.Argument(min=0, metavar="REVISION", help="Of the last event that is in it.")
    ],
    state: Annotated[str, typer.Argument(metavar="JSON", help="The state; - reads it from stdin.")],
    schema_version: Annotated[
        int, typer.Option(min=0, metavar="N", help="The version of its layout.")
    ] = 0,
    url: options.Url = None,
) -> None:
    """Save a snapshot: the state that a stream has up to a revision."""
    body: Json = {"revision": str(revision), "schemaVersion": schema_version}
    body["json"] = options.json_given(state, "the state")
    with options.gateway(url) as gateway:
        answer = gateway.post(f"/v1/streams/{options.segment(stream)}/snapshots", body)
    is_kept = answer.get("kept", False)
    output.message(
        "kept" if is_kept else "not kept: the stream has newer ones, as many as are kept"
    )


@app.verb(
    examples="""
    girih streams retain readings-1 --days 30
    girih streams retain readings-1 --last 1000
    girih streams retain readings-1 --all
    """
)
def retain(
    stream: Stream,
    days: Annotated[
        float | None,
        typer.Option(min=0, metavar="N", help="Keep what is of the last so many days."),
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Keep the last so many events.")
    ] = None,
    before: Annotated[
        int | None,
        typer.Option(min=0, metavar="REVISION", help="Keep what is of this revision and later."),
    ] = None,
    keeps_all: Annotated[bool, typer.Option("--all", help="Keep all that is still there.")] = False,
    url: options.Url = None,
    yes: options.Yes = False,
) -> None:
    """Say which events of a stream are kept. The payloads of the others are gone for ever."""
    parts = {
        "maxAgeS": None if days is None else round(days * _DAY_S),
        "maxCount": last,
        "truncateBefore": before,
    }
    retention: Json = {name: str(value) for name, value in parts.items() if value is not None}
    if keeps_all == bool(retention):
        raise typer.BadParameter("give --days, --last or --before, or --all alone")
    if retention:
        asking.confirm(f"Take the payloads of all other events of {stream} away for ever?", yes=yes)
    with options.gateway(url) as gateway:
        path = f"/v1/streams/{options.segment(stream)}/retention"
        answer = gateway.put(path, {"retention": retention})
    output.message(f"holds from position {int(answer['position']):,} on")


@app.verb(
    examples="""
    girih streams delete permit-1 --expect 7
    girih streams delete permit-1 --tombstone --yes
    """
)
def delete(
    stream: Stream,
    expect: Expect = None,
    is_tombstone: Annotated[
        bool, typer.Option("--tombstone", help="Nobody may append to it ever again.")
    ] = False,
    url: options.Url = None,
    yes: options.Yes = False,
) -> None:
    """Delete a stream. It may begin anew, behind the revisions that are gone."""
    what = "close it for ever" if is_tombstone else "take the payloads of its events away for ever"
    asking.confirm(f"Delete {stream}, and {what}?", yes=yes)
    path = f"/v1/streams/{options.segment(stream)}"
    expected: Json = {} if expect is None else {"expectedRevision": str(expect)}
    with options.gateway(url) as gateway:
        if is_tombstone:
            answer = gateway.post(f"{path}/tombstone", expected)
        else:
            answer = gateway.delete(path, **expected)
    output.message(f"{stream} is gone from position {int(answer['position']):,} on")


@app.verb(examples='girih streams redact 4711 "holds an address"')
def redact(
    position: Annotated[
        int, typer.Argument(min=1, metavar="POSITION", help="Where the event is in the log.")
    ],
    reason: Annotated[
        str, typer.Argument(metavar="REASON", help="Why; everybody who may read the log reads it.")
    ],
    url: options.Url = None,
    yes: options.Yes = False,
) -> None:
    """Take the payload of one event away. What else the event says stays."""
    asking.confirm(f"Take the payload of the event at {position:,} away for ever?", yes=yes)
    with options.gateway(url) as gateway:
        answer = gateway.post(f"/v1/events/{position}:redact", {"reason": reason})
    output.message(f"position {int(answer['position']):,} says so")


def _loaded(lines: Iterable[str]) -> "Json":
    """What came in pieces: the snapshot, in the first if there is one, and the events."""
    pieces = list(map(json.loads, lines))
    snapshot = pieces[0].get("snapshot") if pieces else None
    events = [event for piece in pieces for event in piece.get("events", ())]
    return {"snapshot": snapshot, "events": events}


def _loaded_words(loaded: "Json") -> Iterator[tuple[str, str]]:
    snapshot = loaded["snapshot"]
    if snapshot is None:
        yield "snapshot", "none that fits"
    else:
        older = ", which is an older one" if snapshot.get("isOlder") else ""
        yield "snapshot", f"revision {int(snapshot.get('revision', 0)):,}"
        yield "version", f"{snapshot.get('schemaVersion', 0)}{older}"
        yield "saved", moment(snapshot.get("savedAt", ""))
        yield "digest", snapshot["digest"]
        if "json" in snapshot:
            yield "state", json.dumps(snapshot["json"], ensure_ascii=False)
        elif "binary" in snapshot:
            yield "state", f"{len(b64decode(snapshot['binary'])):,} bytes"
    yield "events", f"{len(loaded['events']):,} behind it"


def _described(stream: "Json") -> Iterator[tuple[str, str]]:
    first, last = int(stream.get("firstRevision", 0)), int(stream.get("lastRevision", 0))
    yield "stream", stream["stream"]
    ending = stream.get("ending", "STREAM_ENDING_UNSPECIFIED").removeprefix("STREAM_ENDING_")
    if ending != "UNSPECIFIED":
        yield "ended", ending.lower()
    yield "events", _events(stream)
    yield "revisions", f"{first:,} to {last:,}" if first <= last else f"none up to {last:,}"
    yield "positions", f"{int(stream['firstPosition']):,} to {int(stream['lastPosition']):,}"
    yield "created", moment(stream.get("createdAt", ""))
    yield "updated", moment(stream.get("updatedAt", ""))
    if retention := stream.get("retention"):
        yield "keeps", ", ".join(_kept(retention))
    if "metadata" in stream:
        yield "metadata", json.dumps(stream["metadata"], ensure_ascii=False)


def _kept(retention: "Json") -> Iterator[str]:
    if "maxAgeS" in retention:
        yield f"what is no older than {int(retention['maxAgeS']):,} s"
    if "maxCount" in retention:
        yield f"the last {int(retention['maxCount']):,}"
    if "truncateBefore" in retention:
        yield f"revision {int(retention['truncateBefore']):,} and later"


def _events(stream: "Json") -> str:
    return f"{int(stream.get('eventCount', 0)):,}"


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
