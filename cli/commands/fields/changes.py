"""`girih lattices transform`, `undo`, `redo`, `history`, `verify` and `diff`: what is changed."""

import json
import uuid
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.commands.fields import structure
from cli.commands.fields.commands import Name
from cli.commands.lattices import LatticeId, segment
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = structure.app

RequestId = Annotated[
    str | None,
    typer.Option("--request-id", metavar="UUID", help="Of a call that is repeated: done once."),
]
ExpectedRevision = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="N", help="What is changed must be at this revision: else nothing is."
    ),
]
OfField = Annotated[
    str | None,
    typer.Argument(metavar="[FIELD]", help="Its name. Without one, which sites are blocked."),
]


@app.verb(
    examples="""
    girih lattices transform 3f2a9c1e height '{"reflect": {"axes": [0]}}'
    girih lattices transform 3f2a9c1e height '{"median": {"lengths": [3, 3]}}' '{"laplacian": {}}'
    girih lattices transform 3f2a9c1e wave '{"fourier": {}}' --imaginary wave_imaginary
    """
)
def transform(
    lattice_id: LatticeId,
    name: Name,
    steps: Annotated[
        list[str],
        typer.Argument(
            metavar="STEP...", help="Each as JSON, as docs/how-to/transforms.md has them."
        ),
    ],
    imaginary: Annotated[
        str, typer.Option(metavar="FIELD", help="The field of the imaginary parts.")
    ] = "",
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Apply a chain of transforms to a field: all of it or nothing, as one event."""
    body: dict[str, Json] = {
        "transforms": [step_of(text) for text in steps],
        "imaginary": imaginary,
        **request_of(request_id, expected_revision),
    }
    with options.gateway(url) as gateway:
        answer = gateway.post(f"{_route(gateway, lattice_id, name)}:transform", body)
    output.thing(answer, output_format, name=name, pairs=_transformed(answer))


@app.verb(
    examples="""
    girih lattices undo 3f2a9c1e height
    girih lattices undo 3f2a9c1e
    """
)
def undo(
    lattice_id: LatticeId,
    name: OfField = None,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Undo the last change of a field, or of which sites are blocked: by its inverse, or from what
    is kept."""
    request = request_of(request_id, expected_revision)
    _turn("undo", lattice_id, name, request, url, output_format)


@app.verb(examples="girih lattices redo 3f2a9c1e height")
def redo(
    lattice_id: LatticeId,
    name: OfField = None,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Do again what was undone last."""
    request = request_of(request_id, expected_revision)
    _turn("redo", lattice_id, name, request, url, output_format)


@app.verb(
    examples="""
    girih lattices history 3f2a9c1e
    girih lattices history 3f2a9c1e height -o json | jq .applied
    """
)
def history(
    lattice_id: LatticeId,
    name: Annotated[
        str, typer.Argument(metavar="[FIELD]", help="Only what concerns this field.")
    ] = "",
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Tell what happened to a lattice, oldest first."""
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}/history"
        changes = gateway.pages(route, "changes", **({"name": name} if name else {}))
        listing(changes, _HISTORY, output_format, pager=True)


@app.verb(examples="girih lattices verify 3f2a9c1e")
def verify(
    lattice_id: LatticeId,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Replay a lattice from its events and compare every digest. Fails where one differs."""
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}:verify"
        answers = [json.loads(line) for line in gateway.lines("GET", route)]
    sums = answers[-1]["sums"]
    pairs = [(_OUTCOMES[key], str(sums.get(key, 0))) for key in _OUTCOMES]
    output.thing(
        {"events": answers[:-1], "sums": sums}, output_format, name=lattice_id, pairs=pairs
    )
    if not sums.get("verified"):
        raise typer.Exit(exit_codes.FAILED)


@app.verb(
    examples="""
    girih lattices diff 3f2a9c1e height 3
    girih lattices diff 3f2a9c1e height 3 7 -o json | jq .regions
    """
)
def diff(
    lattice_id: LatticeId,
    name: Name,
    from_revision: Annotated[int, typer.Argument(min=0, metavar="FROM", help="A revision.")],
    to_revision: Annotated[
        int | None, typer.Argument(min=0, metavar="[TO]", help="Another one. Without it, now.")
    ] = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Compare what a field was at two revisions: how many numbers differ, and where."""
    params = {"fromRevision": from_revision, "toRevision": to_revision}
    with options.gateway(url) as gateway:
        difference = gateway.get(f"{_route(gateway, lattice_id, name)}:diff", **params)
    pairs = [
        ("sites", difference["sites"]),
        ("differing", difference["differing"]),
        ("greatest", str(difference.get("greatest", "(none)"))),
        *(("region", _region(region)) for region in difference["regions"]),
    ]
    output.thing(difference, output_format, name=name, pairs=pairs)


def request_of(request_id: str | None, expected_revision: int | None) -> "dict[str, Json]":
    """What is said of every change."""
    return {
        "requestId": request_id or str(uuid.uuid4()),
        "expectedRevision": None if expected_revision is None else str(expected_revision),
    }


def _turn(
    verb: str,
    lattice_id: str,
    name: str | None,
    request: "dict[str, Json]",
    url: str | None,
    output_format: Format,
) -> None:
    with options.gateway(url) as gateway:
        route = f"/v1/lattices/{segment(gateway, lattice_id)}"
        if name is not None:
            route += f"/fields/{options.segment(name)}"
        answer = gateway.post(f"{route}:{verb}", request)
    if name is None:
        pairs = blocked_pairs(answer["state"])
    else:
        field = answer["field"]
        pairs = [("field", name), ("revision", field["revision"]), ("digest", field["digest"])]
    pairs += [("change", answer["ofRevision"])]
    if answer.get("byInverse"):
        pairs += [("how", "by the inverse, in place")]
    output.thing(answer, output_format, name=name or lattice_id, pairs=pairs)


def blocked_pairs(state: "Json") -> list[tuple[str, str]]:
    """Which sites are blocked, in numbers, for people."""
    return [
        ("vertices", f"{int(state['vertices']):,}"),
        ("edges", f"{int(state['edges']):,}"),
        ("revision", state["revision"]),
        ("digest", state["digest"]),
    ]


def step_of(text: str) -> "Json":
    """A step of a chain, as it is typed."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no JSON: {error}") from error


def _route(gateway: "Gateway", lattice_id: str, name: str) -> str:
    return f"/v1/lattices/{segment(gateway, lattice_id)}/fields/{options.segment(name)}"


def _transformed(answer: "Json") -> list[tuple[str, str]]:
    field = answer["field"]
    return [
        ("field", field["name"]),
        ("revision", field["revision"]),
        ("digest", field["digest"]),
        ("before", answer["beforeDigest"]),
        ("invertible", invertible(answer)),
        *reported(answer),
    ]


def invertible(answer: "Json") -> str:
    """Whether a chain can be undone from its result alone."""
    word: str = answer["invertibility"]
    return word.removeprefix("INVERTIBILITY_").replace("_", " ").lower()


def reported(answer: "Json") -> list[tuple[str, str]]:
    """What the steps of a chain took."""
    return [(report["transform"], _report(report)) for report in answer["reports"]]


def _report(report: "Json") -> str:
    where = "in place" if report["inPlace"] else "anew"
    return f"{where}, {output.size(int(report['auxiliaryBytes']))} beside the numbers"


def _region(region: "Json") -> str:
    origin, shape = (",".join(region[key]) for key in ("origin", "shape"))
    return f"{region['differing']} in {shape} from {origin} on"


_OUTCOMES = {
    "kept": "kept",
    "reproduced": "reproduced",
    "notReplayed": "not replayed",
    "gone": "gone",
    "different": "different",
    "damaged": "damaged",
}

_HISTORY = Listing(
    name=itemgetter("revision"),
    columns=(
        Column(title="revision", cell=itemgetter("revision"), is_number=True),
        Column(title="change", cell=lambda one: one["kind"].removeprefix("CHANGE_KIND_").lower()),
        Column(title="field", cell=itemgetter("name"), is_text=True),
        Column(title="when", cell=lambda one: moment(one["recordedAt"]), rank=1),
        Column(title="who", cell=itemgetter("actor"), is_text=True, rank=2),
        Column(title="digest", cell=lambda one: one["digest"][:16], rank=3),
    ),
    nothing="Nothing happened to it.",
)
