"""`girih groups`: workers that share the events of the log, and how far they are."""

import json
from collections.abc import Iterator
from enum import StrEnum
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

app = Commands("Consumer groups: workers that share the events of the log.")

Group = Annotated[str, typer.Argument(metavar="GROUP", help="Which group.")]
Lanes = Annotated[
    int | None,
    typer.Option(min=1, max=256, metavar="N", help="So many consumers can work at once."),
]
FilterText = Annotated[
    str | None,
    typer.Option(
        "--filter",
        metavar="JSON",
        help="Which events it wants, as the contract has it; null for all.",
    ),
]
Attempts = Annotated[
    int | None,
    typer.Option(
        min=0, max=1_000, metavar="N", help="After so many an event is parked; 0 for never."
    ),
]
Lease = Annotated[
    float | None,
    typer.Option(min=1, max=600, metavar="SECONDS", help="So long a consumer may be silent."),
]
Positions = Annotated[
    list[int] | None,
    typer.Argument(min=1, metavar="[POSITION]...", help="Of parked events."),
]
All = Annotated[bool, typer.Option("--all", help="All that are parked.")]
FromPosition = Annotated[
    int | None, typer.Option("--position", min=1, metavar="N", help="The first event's position.")
]
FromTime = Annotated[
    str, typer.Option("--time", metavar="TIME", help="The first is recorded then, or later.")
]


class Parking(StrEnum):
    """What becomes of the events of a stream when one of them is parked."""

    hold = "hold"
    passing = "pass"


ParkingPolicy = Annotated[
    Parking | None,
    typer.Option("--parking", help="Whether a parked event holds back the rest of its stream."),
]


@app.verb("list", examples="girih groups list\ngirih groups list -o json | jq '.[].parkedCount'")
def list_(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the groups by name, with how far all of their lanes are."""
    with options.gateway(url) as gateway:
        rows = gateway.pages("/v1/groups", "groups")
        listing(rows, _GROUPS, output_format, limit=limit, pager=pager)


@app.verb(examples="girih groups show mailing")
def show(
    group: Group, url: options.Url = None, output_format: options.Output = Format.table
) -> None:
    """Print a group: its settings, its consumers, and how far each lane is."""
    with options.gateway(url) as gateway:
        answer = gateway.get(_path(group))
    if output_format.is_document:
        output.document(answer, output_format)
        return
    for name, text in _described(answer):
        print(f"{name:10} {text}")
    listing(answer.get("lanes", []), _LANES, output_format, pager=False)


@app.verb(
    examples="""
    girih groups create mailing --lanes 4 --attempts 10
    girih groups create mailing --filter '{"queries": [{"category": "permit"}]}' --position 1000
    """
)
def create(
    group: Group,
    lanes: Lanes = 8,
    filter_: FilterText = None,
    attempts: Attempts = 10,
    parking: ParkingPolicy = None,
    lease: Lease = None,
    key_tag_prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="Keep in order by a tag that begins so.")
    ] = "",
    position: FromPosition = None,
    time: FromTime = "",
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Create a group. It begins with the events that are there, unless you say where."""
    settings = _changed({"keyTagPrefix": key_tag_prefix}, lanes, filter_, attempts, parking, lease)
    body: Json = {"group": group, "settings": settings}
    if start := _start(position, time):
        body["start"] = start
    with options.gateway(url) as gateway:
        answer = gateway.post("/v1/groups", body)
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        before = " as it was already" if answer.get("alreadyExists") else ""
        output.message(f"group {group} is there{before}")


@app.verb(
    examples="girih groups change mailing --lanes 16\ngirih groups change mailing --filter null"
)
def change(
    group: Group,
    lanes: Lanes = None,
    filter_: FilterText = None,
    attempts: Attempts = None,
    parking: ParkingPolicy = None,
    lease: Lease = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Change what is said of a group, in place; all else of it stays as it is."""
    with options.gateway(url) as gateway:
        known = gateway.get(_path(group))
        settings = _changed(known["settings"], lanes, filter_, attempts, parking, lease)
        body = {"settings": settings, "expectedVersion": known["version"]}
        answer = gateway.put(_path(group), body)
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(f"group {group} is version {answer.get('version', 0)}")


@app.verb(
    examples="""
    girih groups reset mailing --position 1
    girih groups reset mailing --time 2026-11-29T09:30:00Z
    """
)
def reset(
    group: Group,
    position: FromPosition = None,
    time: FromTime = "",
    yes: options.Yes = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Have a group go on from a position or a time, whatever was acknowledged."""
    start = _start(position, time)
    if not start:
        raise typer.BadParameter("say one of them", param_hint="--position, --time")
    asking.confirm(f"Have {group} go on from there, and forget what it holds?", yes=yes)
    with options.gateway(url) as gateway:
        answer = gateway.post(f"{_path(group)}:reset", {"start": start})
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(f"group {group} goes on at position {answer.get('position', 0)}")


@app.verb(examples="girih groups delete mailing --yes")
def delete(group: Group, yes: options.Yes = False, url: options.Url = None) -> None:
    """Delete a group, and all that is known of it. The log stays as it is."""
    asking.confirm(f"Delete the group {group}?", yes=yes)
    with options.gateway(url) as gateway:
        gateway.delete(_path(group))
    output.message(f"group {group} is deleted")


@app.verb(examples="girih groups parked mailing\ngirih groups parked mailing -o json")
def parked(
    group: Group,
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the events that a group has parked, and why."""
    with options.gateway(url) as gateway:
        rows = gateway.pages(f"{_path(group)}/parked", "events")
        listing(rows, _PARKED, output_format, limit=limit, pager=pager)


@app.verb(examples="girih groups replay mailing --all\ngirih groups replay mailing 17 23")
def replay(
    group: Group,
    positions: Positions = None,
    is_all: All = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Give parked events to consumers again, some or all."""
    _unpark(group, "replay", _meant(positions, is_all=is_all), url, output_format)


@app.verb(examples="girih groups discard mailing 17 --yes")
def discard(
    group: Group,
    positions: Positions = None,
    is_all: All = False,
    yes: options.Yes = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Take parked events for settled, some or all: nobody is given them again."""
    meant = _meant(positions, is_all=is_all)
    what = f"{len(positions)} of the events" if positions else "all events"
    asking.confirm(f"Discard {what} that {group} has parked?", yes=yes)
    _unpark(group, "discard", meant, url, output_format)


def _meant(positions: list[int] | None, *, is_all: bool) -> "Json":
    """Which parked events. No positions are never all: they may come from a command's output."""
    if is_all == bool(positions):
        raise typer.BadParameter("say either positions or --all", param_hint="POSITION")
    return {"all": True} if is_all else {"positions": positions}


def _unpark(group: str, verb: str, meant: "Json", url: str | None, output_format: Format) -> None:
    with options.gateway(url) as gateway:
        answer = gateway.post(f"{_path(group)}/parked:{verb}", meant)
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(f"{verb}ed {answer.get('eventCount', 0)} events")


def _path(group: str) -> str:
    return f"/v1/groups/{options.segment(group)}"


def _changed(
    settings: "Json",
    lanes: int | None,
    filter_text: str | None,
    attempts: int | None,
    parking: Parking | None,
    lease_s: float | None,
) -> "Json":
    """The settings with what is said of them."""
    given: Json = {
        "laneCount": lanes,
        "attemptCountMax": attempts,
        "parking": parking and f"PARKING_POLICY_{parking.value.upper()}",
        "lease": None if lease_s is None else f"{lease_s:g}s",
    }
    changed = settings | {name: value for name, value in given.items() if value is not None}
    if filter_text is not None:
        wanted = options.json_given(filter_text, "the filter")
        changed.pop("filter", None)
        if wanted:
            changed["filter"] = wanted
    return changed


def _start(position: int | None, time: str) -> "Json":
    if position is not None and time:
        raise typer.BadParameter("say one of them", param_hint="--position, --time")
    if position is not None:
        return {"position": position}
    return {"time": time} if time else {}


def _described(answer: "Json") -> Iterator[tuple[str, str]]:
    settings = answer["settings"]
    wanted = settings.get("filter")
    yield "group", answer["group"]
    yield "wants", json.dumps(wanted, ensure_ascii=False) if wanted else "all events"
    if settings.get("keyTagPrefix"):
        yield "keeps in", f"order by tags {settings['keyTagPrefix']}..."
    attempts = settings.get("attemptCountMax", 0)
    yield "parks", f"after {attempts} attempts" if attempts else "nothing by itself"
    yield "lease", settings.get("lease", "")
    yield "version", str(answer.get("version", 0))
    yield "head", str(answer.get("headPosition", 0))
    for one in answer.get("consumers", []):
        name = one.get("name") or one["consumer"]
        joined = moment(one.get("joinedAt", ""))
        yield "consumer", f"{name}: {one.get('laneCount', 0)} lanes, since {joined}"


def _number(name: str, title: str, rank: int = 0) -> Column:
    return Column(
        title=title, cell=lambda one: f"{int(one.get(name, 0)):,}", is_number=True, rank=rank
    )


_GROUPS = Listing(
    name=itemgetter("group"),
    columns=(
        Column(title="group", cell=itemgetter("group"), is_text=True),
        _number("laneCount", "lanes"),
        _number("consumerCount", "consumers", 1),
        _number("position", "position", 1),
        _number("heldCount", "waiting", 2),
        _number("parkedCount", "parked", 1),
    ),
    nothing="There are no groups. `girih groups create` makes one.",
)
_LANES = Listing(
    name=lambda one: str(one.get("lane", 0)),
    columns=(
        _number("lane", "lane"),
        _number("position", "position"),
        _number("lagCount", "behind"),
        Column(title="for", cell=lambda one: one.get("lag", ""), is_number=True, rank=1),
        _number("heldCount", "waiting", 1),
        _number("parkedCount", "parked", 1),
        Column(title="consumer", cell=lambda one: one.get("consumer", "")[:8], rank=2),
    ),
    nothing="",
)
_PARKED = Listing(
    name=lambda one: str(one.get("position", "")),
    columns=(
        _number("position", "position"),
        Column(title="key", cell=itemgetter("key"), is_text=True),
        _number("attemptCount", "attempts", 1),
        _number("waitingCount", "waiting behind", 2),
        Column(title="parked", cell=lambda one: moment(one.get("parkedAt", "")), rank=2),
        Column(title="reason", cell=lambda one: one.get("reason", ""), is_text=True, rank=1),
    ),
    nothing="Nothing is parked.",
)
