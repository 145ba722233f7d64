"""`girih jobs`: simulations and transforms, started, watched, stopped and gone on with."""

import base64
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.fields import viewing
from cli.commands.fields.blocking import ChainSteps
from cli.commands.fields.changes import ExpectedRevision, RequestId, request_of, step_of
from cli.commands.fields.commands import Name
from cli.commands.fields.viewing import ColorMap, Projection
from cli.commands.lattices import LatticeId, numbers
from cli.commands.lattices import segment as lattice_segment
from cli.terminal import ids, options, output
from cli.terminal.formats import Format, camel_case
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = Commands("Simulations and transforms of lattices, which take longer than a call.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, or how that begins.")]
Watched = Annotated[
    bool, typer.Option("--watch", "-w", help="Show how it goes on until it has ended.")
]

_SITES = ("start", "target", "drop", "origin")
"""What of models is a site, as in 0,0."""
_OPTIONS = {
    "steps": "--steps",
    "recordEvery": "--record-every",
    "discardSteps": "--discard",
    "resultField": "--result",
    "simulation.initialField": "--initial",
}


class Model(StrEnum):
    """What may be simulated."""

    ising = "ising"
    potts = "potts"
    automaton = "automaton"
    diffusion = "diffusion"
    walks = "walks"
    sandpile = "sandpile"
    percolation = "percolation"

    @property
    def wire(self) -> str:
        longer = {
            "automaton": "cellularAutomaton",
            "walks": "randomWalks",
            "percolation": "percolationGrowth",
        }
        return longer.get(self.value, self.value)


@app.verb(
    examples="""
    girih jobs start 3f2a9c1e ising --set temperature=2.269 --steps 100000 --watch
    girih jobs start 3f2a9c1e automaton --set rule=B3/S23 --steps 1000 --result cells
    girih jobs start 3f2a9c1e walks --set walkers=10000 --set target=0,0 --steps 5000
    girih jobs start 3f2a9c1e diffusion --set diffusivity=1 --set time_step=0.2 --steps 9
    """
)
def start(
    lattice_id: LatticeId,
    model: Annotated[Model, typer.Argument(metavar="MODEL", help="What is simulated.")],
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="How many steps to take.")],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A number of the model, as docs/how-to/jobs.md has them.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="What random numbers are drawn from.")
    ] = None,
    record_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Steps from one record to the next.")
    ] = 0,
    discard: Annotated[
        int, typer.Option(min=0, metavar="N", help="Steps before the first record.")
    ] = 0,
    initial: Annotated[
        str, typer.Option(metavar="FIELD", help="The field that it starts from.")
    ] = "",
    result: Annotated[
        str, typer.Option(metavar="FIELD", help="The field that what is left is written into.")
    ] = "",
    request_id: RequestId = None,
    watched: Watched = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Start a simulation. It waits for its turn, and runs whether anybody watches or not."""
    simulation: dict[str, Json] = {model.wire: dict(map(_setting, settings or ()))}
    body: dict[str, Json] = {
        "simulation": simulation | ({"initialField": initial} if initial else {}),
        "steps": str(steps),
        "recordEvery": str(record_every),
        "discardSteps": str(discard),
        "resultField": result,
        **_request(request_id),
    }
    if seed is not None:
        body["seed"] = str(seed)
    _begin(lattice_id, "/jobs", body, url, output_format, watched=watched)


@app.verb(
    examples="""
    girih jobs transform 3f2a9c1e height '{"diffuse": {"rate": 0.1, "steps": 100}}' --watch
    """
)
def transform(
    lattice_id: LatticeId,
    name: Name,
    steps: ChainSteps,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    watched: Watched = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Start a chain of transforms of a field that is larger than memory: workers apply it, box by
    box, to what the field is now."""
    body = _chain(steps, request_id, expected_revision)
    route = f"/fields/{options.segment(name)}:startTransform"
    _begin(lattice_id, route, body, url, output_format, watched=watched)


@app.verb(examples="""girih jobs transform-blocked 3f2a9c1e '{"erode": {"radius": 2}}' --watch""")
def transform_blocked(
    lattice_id: LatticeId,
    steps: ChainSteps,
    expected_revision: ExpectedRevision = None,
    request_id: RequestId = None,
    watched: Watched = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Start a chain of transforms of which sites are blocked that is larger than memory: workers
    apply it, box by box, to what is blocked now."""
    body = _chain(steps, request_id, expected_revision)
    _begin(lattice_id, ":startTransform", body, url, output_format, watched=watched)


@app.verb(examples="girih jobs label 3f2a9c1e components --watch")
def label(
    lattice_id: LatticeId,
    name: Annotated[
        str, typer.Argument(metavar="FIELD", help="The field that they are written into.")
    ],
    request_id: RequestId = None,
    watched: Watched = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Number the connected components of a lattice with more sites than a call takes: workers write
    the number of each site's component into a field."""
    body: dict[str, Json] = {"resultField": name, **_request(request_id)}
    _begin(lattice_id, ":startComponentLabels", body, url, output_format, watched=watched)


@app.verb(examples="girih jobs watch 5d0c11aa")
def watch(
    job_id: JobId, url: options.Url = None, output_format: options.Output = Format.table
) -> None:
    """Show how a job goes on until it has ended. Ctrl-C stops watching, and not the job."""
    with options.gateway(url) as gateway:
        job = gateway.get(f"/v1/jobs/{_segment(gateway, job_id)}")
        job = _watched(gateway, job)
    _show(job, output_format)


@app.verb(
    examples="""
    girih jobs show 5d0c11aa
    girih jobs show 5d0c11aa -o json | jq .progress
    """
)
def show(
    job_id: JobId, url: options.Url = None, output_format: options.Output = Format.table
) -> None:
    """Show what a job is, and how far."""
    with options.gateway(url) as gateway:
        job = gateway.get(f"/v1/jobs/{_segment(gateway, job_id)}")
    _show(job, output_format)


@app.verb("list", examples="girih jobs list --open")
def list_(
    open_only: Annotated[bool, typer.Option("--open", help="Only those that wait or run.")] = False,
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List jobs, the newest first."""
    with options.gateway(url) as gateway:
        listing(_all(gateway, openOnly=open_only), _JOBS, output_format, limit=limit, pager=pager)


@app.verb(examples="girih jobs cancel 5d0c11aa")
def cancel(
    job_id: JobId,
    request_id: RequestId = None,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Have a job stop. What it has done is kept: `girih jobs continue` goes on with it."""
    with options.gateway(url) as gateway:
        job = gateway.post(f"/v1/jobs/{_segment(gateway, job_id)}:cancel", _request(request_id))
    _show(job, output_format)


@app.verb("continue", examples="girih jobs continue 5d0c11aa --watch")
def continue_(
    job_id: JobId,
    request_id: RequestId = None,
    watched: Watched = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Go on with a job that was cancelled: from where its state was kept last, a labelling from its
    beginning."""
    with options.gateway(url) as gateway:
        job = gateway.post(f"/v1/jobs/{_segment(gateway, job_id)}:continue", _request(request_id))
        if watched:
            job = _watched(gateway, job)
    _show(job, output_format)


@app.verb(
    examples="""
    girih jobs series 5d0c11aa
    girih jobs series 5d0c11aa --output-file energies.npy
    """
)
def series(
    job_id: JobId,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output-file",
            metavar="FILE",
            dir_okay=False,
            help="Write them there: CSV, or a file of numpy where it ends in .npy.",
        ),
    ] = None,
    url: options.Url = None,
) -> None:
    """Print what was recorded of a job, a row a record."""
    is_npy = file is not None and file.suffix == ".npy"
    form = "SERIES_FORMAT_NPY" if is_npy else "SERIES_FORMAT_CSV"
    with options.gateway(url) as gateway:
        content = gateway.content(f"/v1/jobs/{_segment(gateway, job_id)}/series", format=form)
    if file is None:
        sys.stdout.write(content.decode())
    else:
        file.write_bytes(content)
        output.message(f"{output.size(len(content))} are in {file}")


@app.verb(
    examples="""
    girih jobs render 5d0c11aa
    girih jobs render 5d0c11aa --output-file spins.png --pixels 512
    """
)
def render(
    job_id: JobId,
    file: Annotated[
        Path,
        typer.Option("--output-file", metavar="FILE", dir_okay=False, help="Where to write it."),
    ] = Path("job.png"),
    at: viewing.At = None,
    rows: viewing.Rows = None,
    columns: viewing.Columns = None,
    projection: viewing.Shown = Projection.slice,
    colors: viewing.Colors = ColorMap.viridis,
    low: viewing.Low = None,
    high: viewing.High = None,
    pixels: viewing.FewPixels = 1_024,
    url: options.Url = None,
) -> None:
    """Draw what a job has computed so far, as a PNG: of this moment while it runs, else as it was
    when its state was kept last."""
    view = viewing.view(at, rows, columns, projection, colors, low, high, pixels)
    with options.gateway(url) as gateway:
        answer = gateway.post(f"/v1/jobs/{_segment(gateway, job_id)}:render", {"view": view})
    file.write_bytes(base64.b64decode(answer["png"]))
    output.message(f"Wrote {file}, after {int(answer['stepsDone']):,} steps.")


def _chain(
    steps: list[str], request_id: str | None, expected_revision: int | None
) -> "dict[str, Json]":
    return {
        "transforms": [step_of(text) for text in steps],
        **request_of(request_id, expected_revision),
    }


def _begin(
    lattice_id: str,
    route: str,
    body: "dict[str, Json]",
    url: str | None,
    output_format: Format,
    *,
    watched: bool,
) -> None:
    """Start a job on a lattice, and watch it where that is wanted."""
    with options.gateway(url) as gateway:
        job = gateway.post(
            f"/v1/lattices/{lattice_segment(gateway, lattice_id)}{route}", body, _OPTIONS
        )
        if watched:
            job = _watched(gateway, job)
    _show(job, output_format)


def _request(request_id: str | None) -> "dict[str, Json]":
    """Sent again by whatever repeats the call, it is done once."""
    return {"requestId": request_of(request_id, None)["requestId"]}


def _setting(text: str) -> tuple[str, "Json"]:
    """A number of a model, as it is typed."""
    name, has_value, value = text.partition("=")
    name = camel_case(name.strip().replace("-", "_"))
    if not (has_value and name):
        raise typer.BadParameter("must be as in temperature=2.5", param_hint="--set")
    if name in _SITES:
        return name, {"coordinates": numbers(value, "--set")}
    if name == "dynamics":
        return name, f"SPIN_DYNAMICS_{value.upper()}"
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _watched(gateway: "Gateway", job: "Json") -> "Json":
    """Show a job as it goes on; the job when it has ended."""
    from cli.commands.simulating.display import progress_of
    from cli.commands.tailing import followed

    path = f"/v1/jobs/{job['jobId']}/progress"
    with progress_of(job) as shown:
        for text in followed(gateway, path, {}, output.message):
            job = json.loads(text)["job"]
            shown(job)
            if "endedAt" in job:
                break
    return job


def _segment(gateway: "Gateway", job_id: str) -> str:
    """The id that was meant, as a part of a path."""
    known = ids.whole([job_id], lambda: map(itemgetter("jobId"), _all(gateway)))
    return options.segment(known[0])


def _all(gateway: "Gateway", **params: "Json") -> Iterator["Json"]:
    return gateway.pages("/v1/jobs", "jobs", **params)


def _show(job: "Json", output_format: Format) -> None:
    output.thing(job, output_format, name=job["jobId"], pairs=_pairs(job))


def _pairs(job: "Json") -> Iterator[tuple[str, object]]:
    from cli.commands.simulating.display import measured

    progress = job["progress"]
    yield "job", job["jobId"]
    yield "model", _model(job)
    yield "lattice", job["latticeId"]
    yield "state", _state(job)
    yield "steps", f"{int(progress['stepsDone']):,} of {int(job['steps']):,}"
    if "transform" not in job and not job.get("labelsComponents"):
        yield "seed", job["seed"]
    for each in progress["observables"]:
        yield each["name"], measured(each, digits=8)
    if job["resultDigest"]:
        of = f"field {job['resultField']}" if job["resultField"] else "blocked sites"
        yield "result", f"{of}, digest {job['resultDigest'][:16]}"
    if job["failure"]:
        yield "failure", job["failure"]


def _model(job: "Json") -> str:
    if "transform" in job:
        return "transform"
    if job.get("labelsComponents"):
        return "component labels"
    return next(str(name) for name in job["simulation"] if name != "initialField")


def _state(job: "Json") -> str:
    return str(job["state"]).removeprefix("JOB_STATE_").lower()


def _share(job: "Json") -> str:
    return f"{100 * int(job['progress']['stepsDone']) / int(job['steps']):.1f} %"


_JOBS = Listing(
    name=itemgetter("jobId"),
    columns=(
        Column(title="job", cell=itemgetter("jobId")),
        Column(title="model", cell=_model),
        Column(title="state", cell=_state),
        Column(title="done", cell=_share, is_number=True),
        Column(title="lattice", cell=itemgetter("latticeId"), is_wide=True),
        Column(title="started", cell=lambda job: moment(job["startedAt"])),
    ),
    nothing="There are no jobs.",
)
