"""`girih projections`: how read models stand, and what is to be done with them."""

from collections.abc import Iterator
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.failure import Failed
from cli.terminal import asking, options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Json

app = Commands("Read models: tables that are kept by folding the events of the log.")

Projection = Annotated[str, typer.Argument(metavar="PROJECTION", help="Which projection.")]

_POLICIES = ("stop", "quarantine")


@app.verb(
    "list",
    examples="""
    girih projections list
    girih projections list -o json | jq '.[] | select(.lagEvents > 0) | .projection'
    """,
)
def list_(
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the projections, and how far each is."""
    with options.gateway(url) as gateway:
        rows = gateway.get("/v1/projections").get("projections", [])
    listing(rows, _PROJECTIONS, output_format, pager=pager)


@app.verb(examples="girih projections show lattices\ngirih projections show lattices -o json")
def show(
    projection: Projection, url: options.Url = None, output_format: options.Output = Format.table
) -> None:
    """Print how a projection stands."""
    with options.gateway(url) as gateway:
        answer = gateway.get(_path(projection))["projection"]
    if output_format.is_document:
        output.document(answer, output_format)
        return
    for name, text in _described(answer):
        print(f"{name:12} {text}")


@app.verb(examples="girih projections wait lattices 4711")
def wait(
    projection: Projection,
    position: Annotated[
        int, typer.Argument(min=1, metavar="POSITION", help="A position of the log.")
    ],
    timeout_s: Annotated[
        int, typer.Option(min=0, max=60, help="How long to wait, in seconds.")
    ] = 10,
    url: options.Url = None,
) -> None:
    """Wait until a projection holds the log up to a position. Ends with 75 when it does not yet."""
    with options.gateway(url) as gateway:
        answer = gateway.get(f"{_path(projection)}:wait", position=position, timeoutS=timeout_s)
    reached = int(answer.get("position", 0))
    if not answer.get("reached"):
        raise Failed(f"{projection} is at position {reached:,}", exit_codes.TEMPFAIL)
    print(reached)


@app.verb(examples="girih projections pause lattices")
def pause(projection: Projection, url: options.Url = None) -> None:
    """Have a projection apply nothing any more. What it holds stays readable."""
    _do(projection, "pause", {}, url)


@app.verb(examples="girih projections resume lattices")
def resume(projection: Projection, url: options.Url = None) -> None:
    """Have a projection go on that was paused, or that has stopped."""
    _do(projection, "resume", {}, url)


@app.verb(examples="girih projections rebuild lattices")
def rebuild(projection: Projection, url: options.Url = None) -> None:
    """Build a projection anew from the first event, beside what is read meanwhile."""
    _do(projection, "rebuild", {}, url)


@app.verb(examples="girih projections on-poison lattices quarantine")
def on_poison(
    projection: Projection,
    policy: Annotated[
        str, typer.Argument(metavar="POLICY", help=f"One of {', '.join(_POLICIES)}.")
    ],
    url: options.Url = None,
) -> None:
    """Say what becomes of a projection when it cannot apply an event."""
    if policy not in _POLICIES:
        raise typer.BadParameter(f"must be one of {', '.join(_POLICIES)}", param_hint="POLICY")
    _do(projection, "setPolicies", {"poisonPolicy": f"POISON_POLICY_{policy.upper()}"}, url)


@app.verb(examples="girih projections quarantine lattices -o json | jq '.[].problem'")
def quarantine(
    projection: Projection,
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the events that a projection has put aside."""
    with options.gateway(url) as gateway:
        rows = gateway.pages(f"{_path(projection)}/quarantine", "events")
        listing(rows, _QUARANTINE, output_format, limit=limit, pager=pager)


@app.verb(
    examples="""
    girih projections replay lattices --all
    girih projections replay documents --stream document-7
    """
)
def replay(
    projection: Projection,
    stream: Annotated[
        str, typer.Option(metavar="STREAM", help="Only what was put aside of this stream.")
    ] = "",
    is_all: Annotated[bool, typer.Option("--all", help="Those of all streams.")] = False,
    url: options.Url = None,
) -> None:
    """Have events applied that were put aside, in the order of their streams."""
    if is_all == bool(stream):
        raise typer.BadParameter("say either of them", param_hint="--stream, --all")
    meant: Json = {"all": True} if is_all else {"stream": stream}
    with options.gateway(url) as gateway:
        answer = gateway.post(f"{_path(projection)}/quarantine:replay", meant)
    output.message(f"{int(answer.get('eventCount', 0)):,} events are to be applied")


@app.verb(examples="girih projections discard lattices 4711 --yes")
def discard(
    projection: Projection,
    position: Annotated[
        int, typer.Argument(min=1, metavar="POSITION", help="Of the event, as it is listed.")
    ],
    url: options.Url = None,
    yes: options.Yes = False,
) -> None:
    """Give an event up that was put aside: it is never applied, unless all is built anew."""
    asking.confirm(f"Never apply the event at {position:,} to {projection}?", yes=yes)
    with options.gateway(url) as gateway:
        answer = gateway.post(f"{_path(projection)}/quarantine/{position}:discard", {})
    if not answer.get("found"):
        raise Failed(f"no event at {position:,} was put aside", exit_codes.NOINPUT)


def _do(projection: str, verb: str, body: "Json", url: str | None) -> None:
    with options.gateway(url) as gateway:
        answer = gateway.post(f"{_path(projection)}:{verb}", body)["projection"]
    output.message(f"{projection} is {_state(answer)} at position {_number(answer, 'position')}")


def _path(projection: str) -> str:
    return f"/v1/projections/{options.segment(projection)}"


def _described(one: "Json") -> Iterator[tuple[str, str]]:
    yield "projection", one["projection"]
    yield "state", _state(one)
    yield "position", f"{_number(one, 'position')} of {_number(one, 'head')}"
    yield "behind", f"{_number(one, 'lagEvents')} events, {one.get('lagS', 0.0):.1f} s"
    yield "applied", f"{_number(one, 'eventCount')} events"
    if one.get("problem"):
        yield "problem", one["problem"]
    if int(one.get("failedPosition", 0)):
        tried = one.get("attemptCount", 0)
        yield "failed at", f"{_number(one, 'failedPosition')}, tried {tried:,} times"
    yield "put aside", f"{_number(one, 'quarantinedCount')} events"
    yield "on poison", _word(one, "poisonPolicy", "POISON_POLICY_")
    yield "replaced log", _word(one, "replacedPolicy", "REPLACED_POLICY_")
    if rebuild_ := one.get("rebuild"):
        cause = _word(rebuild_, "cause", "CAUSE_").replace("_", " ")
        yield "rebuild", f"at position {_number(rebuild_, 'position')}, {cause}"


def _state(one: "Json") -> str:
    return _word(one, "state", "STATE_")


def _word(one: "Json", name: str, prefix: str) -> str:
    return str(one.get(name, "")).removeprefix(prefix).lower()


def _number(one: "Json", name: str) -> str:
    return f"{int(one.get(name, 0)):,}"


_PROJECTIONS = Listing(
    name=itemgetter("projection"),
    columns=(
        Column(title="projection", cell=itemgetter("projection")),
        Column(title="state", cell=_state),
        Column(title="position", cell=lambda one: _number(one, "position"), is_number=True),
        Column(title="behind", cell=lambda one: _number(one, "lagEvents"), is_number=True),
        Column(
            title="put aside",
            cell=lambda one: _number(one, "quarantinedCount"),
            is_number=True,
            rank=1,
        ),
        Column(title="moved", cell=lambda one: moment(one.get("movedAt", "")), rank=2),
        Column(title="problem", cell=lambda one: one.get("problem", ""), is_text=True, rank=3),
    ),
)

_QUARANTINE = Listing(
    name=itemgetter("position"),
    columns=(
        Column(title="position", cell=lambda one: _number(one, "position"), is_number=True),
        Column(title="stream", cell=itemgetter("stream"), is_text=True),
        Column(title="type", cell=itemgetter("type"), is_text=True, rank=1),
        Column(title="problem", cell=itemgetter("problem"), is_text=True),
        Column(title="since", cell=lambda one: moment(one.get("setAsideAt", "")), rank=2),
    ),
    nothing="Nothing is put aside.",
)
