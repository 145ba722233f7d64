"""Writes docs/reference/metrics.md from what processes register: `python -m docs.metrics_table`.

Each process is put together as it is when it starts, on a database and a port that it never
opens, and asked what it would tell Prometheus.
"""

import asyncio
import io
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    redirect_stdout,
)
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from cli.local.keyfiles import KeyFiles
from gateway.app import open_gateway, read_contract
from gateway.composition import open_composition
from gateway.http.lifecycle import Lifecycle
from gateway.processes.parent import Workers
from gateway.serving.server import listen
from gateway.settings import Settings as GatewaySettings
from services.events import app as events_app
from services.events.settings import Settings as EventsSettings
from services.lattice import app as lattice_app
from services.lattice.settings import Settings as LatticeSettings
from services.plumbing.grpc.server import Server
from services.plumbing.metrics import new_registry
from services.plumbing.tasks import OwnedTasks
from services.projections import app as projections_app
from services.projections.registry import all_projections
from services.projections.settings import Settings as ProjectionsSettings
from services.projections.shipped.all import shipped
from services.projections.shipped.indicators.definitions import read_definitions

PAGE = Path(__file__).parent / "reference" / "metrics.md"

LABELS: Final = {
    "grpc_type": "`unary`, `client_stream`, `server_stream`, `bidi_stream`",
    "grpc_service": "the services of the contract, health and reflection, and `unknown`",
    "grpc_method": "the rpcs of the contract, and `unknown`",
    "grpc_code": "the 17 codes, as Go spells them: `OK`, `NotFound`",
    "method": "eight HTTP methods and `OTHER`; in lattice, how an answer was computed",
    "route": "the routes of the contract with their templates, the gateway's own pages, and one for"
    " what there is not",
    "status": "the statuses that the gateway answers with",
    "process": "the numbers of the processes of one gateway, where there are several",
    "reason": "reasons of [errors.md](errors.md), or why something does not fit",
    "statement": "the names of the files of SQL, `transaction` and `other`",
    "dependency": "the few things that a process needs: `database`, `events`, `kernels`",
    "projection": "the projections that are installed",
    "place": "the names of `EVENTS_PLACES`, and `default`",
    "kind": "kinds of events of security, and `other`",
    "cache": "the caches that count",
    "outcome": "what became of something: a handful of words",
    "source": "`window` and `database`",
    "per": "whose the calls are that are limited: `address`, `user`, `tenant`",
    "rule": "the rules of [limits.md](limits.md) that guesses and registrations come up against",
}
"""Where the values of each label come from: all of them are closed sets."""

_HEAD = """\
# Metrics

Each process tells Prometheus what it counts on a port of its own (`..._METRICS_PORT` in
[settings.md](settings.md)), as text or as OpenMetrics, and callers with `ops.read` by the rpc
`girih.ops.v1.MetricsService/GetMetrics`. `GIRIH_METRICS=false` turns all of it off: no port is
opened, and nothing is counted for a call. `make docs` writes this page from what the processes
register, so it cannot be out of date.

`grpc_server_*` and `grpc_client_*` are named and labelled as go-grpc-middleware does, so dashboards
made for it work. Beside what stands here, a process tells the `process_*`, `python_info` and
`python_gc_*` of every Python process. What to look at first, alerts and dashboards are in
[operations.md](../operate/operations.md#alerts-and-dashboards).

No label has values that callers choose: there are as many series as the contract has rpcs and
routes, however many tenants there are, and whatever they send.
"""

_INDICATORS = """
`indicator_NAME` is there for each indicator that is declared (see
[projections.md](../how-to/projections.md#lattices-and-indicators)), with the
labels that it declares, whose values it lists, and `tenant`, which names the tenants that the file
lists and is empty for all others together.
"""


class Family(NamedTuple):
    """One metric."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True)
class Registered:
    """What the processes register, by their names."""

    families: Mapping[str, tuple[Family, ...]]

    def shared(self) -> dict[Family, list[str]]:
        """What several of them do, and which."""
        everything = sorted({one for families in self.families.values() for one in families})
        by = {
            one: [process for process, families in self.families.items() if one in families]
            for one in everything
        }
        return {one: processes for one, processes in by.items() if len(processes) > 1}


def registered() -> Registered:
    """Takes some seconds, most of it imports. Opens no port and calls nobody."""
    # What processes say of a database that is not there is not written anywhere.
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        return asyncio.run(_registered(_environ(Path(folder))))


def page(registered: Registered) -> str:
    """The whole page."""
    shared = registered.shared()
    parts = [_HEAD, "## Several processes\n", *_shared_table(shared, len(registered.families))]
    for process, families in registered.families.items():
        parts += [f"\n## {process}\n", *_table(one for one in families if one not in shared)]
        if process == "projections":
            parts.append(_INDICATORS.rstrip())
    parts += ["\n## Labels\n", "| Label | Values |", "|---|---|"]
    parts += [f"| `{label}` | {words} |" for label, words in sorted(LABELS.items())]
    return "\n".join(parts) + "\n"


def families_of(registry: CollectorRegistry) -> tuple[Family, ...]:
    """What is registered, by name; without what every Python process has."""
    # Its own public view is of samples, and what has labels has none at first.
    collectors = list(registry._collector_to_names)  # noqa: SLF001, RUF100
    families = [family for one in collectors for family in _families(one)]
    return tuple(sorted(families))


def _families(collector: Collector) -> Iterator[Family]:
    if isinstance(collector, ProcessCollector | PlatformCollector | GCCollector):
        return
    if isinstance(collector, MetricWrapperBase):
        labels = tuple(collector._labelnames)
        yield _family(collector._name, str(collector._type), labels, collector._documentation)
        return
    for metric in collector.collect():
        labels = tuple(getattr(metric, "_labelnames", ()))
        yield _family(metric.name, str(metric.type), labels, metric.documentation)


def _shared_table(shared: Mapping[Family, Sequence[str]], process_count: int) -> Iterator[str]:
    yield "| Metric | Type | Labels | Told by | Meaning |"
    yield "|---|---|---|---|---|"
    for family, processes in shared.items():
        who = "all" if len(processes) == process_count else ", ".join(processes)
        yield f"{_start(family)} | {who} | {family.help} |"


def _family(name: str, kind: str, labels: tuple[str, ...], words: str) -> Family:
    return Family(f"{name}_total" if kind == "counter" else name, kind, labels, words)


def _table(families: Iterable[Family]) -> Iterator[str]:
    yield "| Metric | Type | Labels | Meaning |"
    yield "|---|---|---|---|"
    for family in families:
        yield f"{_start(family)} | {family.help} |"


def _start(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.type} | {labels}"


def _environ(folder: Path) -> dict[str, str]:
    keys = KeyFiles.of(folder, {})
    keys.make_missing()
    return {
        "GIRIH_ENVIRONMENT": "development",
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
        "LATTICE_STORAGE": str(folder),
        "GATEWAY_DOCS": "false",
        **keys.environ,
    }


async def _registered(environ: Mapping[str, str]) -> Registered:
    families = {}
    for process, build in _PROCESSES.items():
        async with build(environ) as registry:
            families[process] = families_of(registry)
    return Registered(families)


def _of_server(
    built: Callable[[Mapping[str, str]], AbstractAsyncContextManager[Server]],
) -> "Build":
    @asynccontextmanager
    async def build(environ: Mapping[str, str]) -> AsyncIterator[CollectorRegistry]:
        async with built(environ) as server:
            yield server.registry
            await server.stop()

    return build


def _events(environ: Mapping[str, str]) -> AbstractAsyncContextManager[Server]:
    return events_app.built(EventsSettings.from_environ(_known("EVENTS_", environ)))


def _lattice(environ: Mapping[str, str]) -> AbstractAsyncContextManager[Server]:
    return lattice_app.built(LatticeSettings.from_environ(_known("LATTICE_", environ)))


def _projections(environ: Mapping[str, str]) -> AbstractAsyncContextManager[Server]:
    indicators = read_definitions(None)
    settings = ProjectionsSettings.from_environ(_known("PROJECTIONS_", environ))
    return projections_app.built(settings, all_projections(shipped(indicators)), indicators)


@asynccontextmanager
async def _gateway(environ: Mapping[str, str]) -> AsyncIterator[CollectorRegistry]:
    settings = GatewaySettings.from_environ(_known("GATEWAY_", environ))
    registry, tasks = new_registry(), OwnedTasks()
    async with AsyncExitStack() as stack:
        composition = await stack.enter_async_context(open_composition(settings, registry, tasks))
        await stack.enter_async_context(
            open_gateway(settings, read_contract(), registry, Lifecycle(), composition, tasks)
        )
        with listen("127.0.0.1:0") as listener:
            Workers(settings, listener, registry)
        yield registry
        await tasks.stop()


def _known(prefix: str, environ: Mapping[str, str]) -> dict[str, str]:
    """What concerns a process: it refuses what it does not know of its own."""
    return {
        name: value
        for name, value in environ.items()
        if name.startswith((prefix, "GIRIH_", "DATABASE_"))
    }


Build = Callable[[Mapping[str, str]], AbstractAsyncContextManager[CollectorRegistry]]

_PROCESSES: Final[Mapping[str, Build]] = {
    "events": _of_server(_events),
    "lattice": _of_server(_lattice),
    "projections": _of_server(_projections),
    "gateway": _gateway,
}


def main() -> int:
    PAGE.write_text(page(registered()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
