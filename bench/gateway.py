"""The gateway's hop beside hand-written Starlette routes that make the same gRPC calls.

Both are processes of their own, on the same loop and HTTP parser, before the same services.
Measured is the CPU time that each process takes per request, in turns. The hand-written
routes do a route's plain duties: JSON in and out, the correlation id in and out, a deadline,
errors as JSON, and verifying the token that they pass on, by the same `Verifier` that believes
a token again. The gateway does more (it refuses what does not fit, limits, logs and counts).

What a process takes while nobody asks it anything belongs to no request, and is taken off: the
gateway looks many times a second how the services are, one of which does not run here.

    python -m bench.gateway [--rounds 9] [--requests 1500]
"""

import argparse
import asyncio
import contextlib
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import grpc.aio
import orjson
import uvicorn
from google.protobuf.timestamp_pb2 import Timestamp
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from bench.serving import run
from girih.events.v1 import events_pb2 as events_pb
from girih.events.v1 import keeping_pb2 as keeping_pb
from girih.events.v1.events_pb2_grpc import EventStoreServiceStub
from girih.lattice.v1 import lattice_pb2 as lattice_pb
from girih.lattice.v1.lattice_pb2_grpc import LatticeServiceStub
from services.plumbing.auth.keys import TrustedKeys
from services.plumbing.auth.tokens import TokenRefused, Verifier
from services.policy import GATEWAY, POLICY
from tests.processes import (
    Caller,
    Process,
    authority_of,
    ending,
    events_process,
    free_port,
    gateway_process,
    is_http_ready,
    lattice_process,
    own_postgres,
)

RATIO_MAX = 1.3
CALLERS = 8
_LOGS = {"GIRIH_LOG_FORMAT": "json"}
"""As in production: lines for people cost more than the calls they tell of."""
_LIMITS = dict.fromkeys(
    (
        "GATEWAY_ADDRESS_CALLS_PER_MINUTE",
        "GATEWAY_USER_CALLS_PER_MINUTE",
        "GATEWAY_TENANT_CALLS_PER_MINUTE",
    ),
    "1000000",
)
"""On, and out of the way."""
_IDLE_S = 5.0


@dataclass(frozen=True)
class Served:
    """A process that serves, and where."""

    pid: int
    url: str
    idle_share: float
    """What it takes of a core while nobody asks it anything."""

    @classmethod
    async def at_rest(cls, pid: int, url: str) -> Self:
        before = _spent_s(pid)
        await asyncio.sleep(_IDLE_S)
        return cls(pid, url, (_spent_s(pid) - before) / _IDLE_S)


@dataclass(frozen=True)
class Scenario:
    """One kind of request, sent again and again."""

    name: str
    method: str
    path: str
    body: Any = None

    def payload(self, host: str, caller: Caller) -> bytes:
        body = b"" if self.body is None else orjson.dumps(self._fresh())
        head = [
            f"{self.method} {self.path} HTTP/1.1",
            f"host: {host}",
            f"x-correlation-id: {uuid4().hex}",
            f"authorization: Bearer {caller.token}",
            *([f"content-type: application/json\r\ncontent-length: {len(body)}"] if body else []),
        ]
        return "\r\n".join([*head, "", ""]).encode() + body

    def _fresh(self) -> Any:  # noqa: ANN401 - a JSON value
        if "events" not in self.body:
            return self.body
        return {"events": [{**one, "id": str(uuid4())} for one in self.body["events"]]}


async def main(rounds: int, request_count: int) -> int:
    with own_postgres() as (postgres, folder):
        events, events_at = events_process(postgres.url, folder, **_LOGS)
        lattice, lattice_at = lattice_process(events_at, folder, **_LOGS)
        gateway, url = gateway_process(events_at, lattice_at, folder, **_LOGS, **_LIMITS)
        by_hand, by_hand_url = by_hand_process(events_at, lattice_at, folder)
        caller = Caller(authority_of(folder))
        processes = (events, lattice, gateway, by_hand)
        with ending(*processes):
            for process in processes:
                process.start()
            for process in processes:
                await asyncio.to_thread(process.wait_ready)
            scenarios = await made_scenarios(url, caller)
            pair = (
                await Served.at_rest(gateway.pid, url),
                await Served.at_rest(by_hand.pid, by_hand_url),
            )
            shares = [f"{one.idle_share:.2%}" for one in pair]
            print(f"at rest: {shares[0]} of a core, by hand {shares[1]}", flush=True)
            held = [
                await compare(scenario, *pair, caller, rounds, request_count)
                for scenario in scenarios
            ]
    return 0 if all(held) else 1


async def compare(
    scenario: Scenario, ours: Served, theirs: Served, caller: Caller, rounds: int, count: int
) -> bool:
    """Both in turns; the ratio of each round, and their median."""
    ours_shown, theirs_shown = [
        _fields(await ask(scenario, one.url, caller)) for one in (ours, theirs)
    ]
    assert ours_shown == theirs_shown, f"of {scenario.name}: {ours_shown ^ theirs_shown}"
    measured: list[tuple[float, float]] = []
    for _ in range(rounds + 1):
        by_hand = await cpu_s(scenario, theirs, caller, count)
        measured.append((await cpu_s(scenario, ours, caller, count), by_hand))
    return report(scenario.name, *zip(*measured[1:], strict=True))


def report(name: str, ours: Sequence[float], theirs: Sequence[float]) -> bool:
    ratio = statistics.median([one / other for one, other in zip(ours, theirs, strict=True)])
    holds = ratio <= RATIO_MAX
    print(
        f"{name}: {statistics.median(ours) * 1e6:.0f} us of CPU a request,"
        f" by hand {statistics.median(theirs) * 1e6:.0f} us, ratio {ratio:.2f}"
        f" (at most {RATIO_MAX}): {'holds' if holds else 'MISSED'}",
        flush=True,
    )
    return holds


async def cpu_s(scenario: Scenario, served: Served, caller: Caller, count: int) -> float:
    """CPU seconds that a process takes per request."""
    began_s, before_s = time.perf_counter(), _spent_s(served.pid)
    sending = [_send(scenario, served.url, caller, count // CALLERS) for _ in range(CALLERS)]
    await asyncio.gather(*sending)
    at_rest_s = served.idle_share * (time.perf_counter() - began_s)
    return (_spent_s(served.pid) - before_s - at_rest_s) / (count // CALLERS * CALLERS)


def _spent_s(pid: int) -> float:
    """CPU time of a process with all its threads, to the nanosecond.

    Linux makes the clock's number of the process's as `clock_getcpuclockid` answers it.
    """
    return time.clock_gettime((~pid << 3) | 2)


async def _send(scenario: Scenario, url: str, caller: Caller, count: int) -> None:
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    for _ in range(count):
        writer.write(scenario.payload(host, caller))
        await _answer(reader)
    writer.close()
    await writer.wait_closed()


async def ask(scenario: Scenario, url: str, caller: Caller) -> Any:  # noqa: ANN401 - JSON
    """What one request is answered with."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(scenario.payload(host, caller))
    answer = orjson.loads(await _answer(reader))
    writer.close()
    return answer


def _fields(value: Any, path: str = "") -> set[str]:  # noqa: ANN401 - JSON
    """The ways to all that an answer holds, to see that both tell the same."""
    if isinstance(value, list):
        return {path} | {one for item in value for one in _fields(item, f"{path}[]")}
    if isinstance(value, dict):
        return {one for key, item in value.items() for one in _fields(item, f"{path}.{key}")}
    return {path}


async def _answer(reader: asyncio.StreamReader) -> bytes:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    assert head.startswith(b"http/1.1 20"), body
    return body


async def made_scenarios(url: str, caller: Caller) -> list[Scenario]:
    event = {
        "stream": "case-17",
        "type": "permit.requested",
        "schemaVersion": 1,
        "json": {"resource": "Resource26", "group": "Group 1", "parts": [1, 2.5, None]},
        "metadata": {"source": "bench"},
        "tags": ["a", "b"],
    }
    create = Scenario("create", "POST", "/v1/lattices", {"shape": [100, 100, 100]})
    lattice_id = (await ask(create, url, caller))["latticeId"]
    start, goal = {"coordinates": [0, 0, 0]}, {"coordinates": [99, 98, 97]}
    return [
        Scenario("read where the log ends", "GET", "/v1/log"),
        Scenario("append one event", "POST", "/v1/events:append", {"events": [event]}),
        Scenario("append twenty events", "POST", "/v1/events:append", {"events": [event] * 20}),
        Scenario("describe a stream", "GET", "/v1/streams/case-17"),
        Scenario("get a lattice", "GET", f"/v1/lattices/{lattice_id}"),
        Scenario(
            "find a path",
            "POST",
            f"/v1/lattices/{lattice_id}:findPath",
            {"start": start, "goal": goal, "sitesMax": 10},
        ),
    ]


def by_hand_process(events_address: str, lattice_address: str, folder: Path) -> tuple[Process, str]:
    """The hand-written routes on a port of their own, not started; and their URL."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "bench.gateway", "--serve"]
    trusted = authority_of(folder).environ["GIRIH_TRUSTED_KEYS"]
    arguments = [str(port), events_address, lattice_address, trusted]
    log = folder / "by-hand.log"
    return Process([*command, *arguments], {}, log, lambda: is_http_ready(url)), url


class ByHand:
    """What one would write for these calls, with care and without a gateway."""

    def __init__(self, events_address: str, lattice_address: str, trusted: Path) -> None:
        self._addresses = (events_address, lattice_address)
        self._verifier = Verifier(TrustedKeys(trusted), GATEWAY, POLICY)
        self.events: Any = None
        self.lattice: Any = None

    def app(self) -> Starlette:
        routes = [
            Route("/health/ready", self.ready),
            Route("/v1/log", self.get_log),
            Route("/v1/events:append", self.append, methods=["POST"]),
            Route("/v1/streams/{stream}", self.get_stream),
            Route("/v1/lattices/{lattice_id}:findPath", self.find_path, methods=["POST"]),
            Route("/v1/lattices/{lattice_id}", self.get_lattice),
        ]
        middleware = [Middleware(Verifying, verifier=self._verifier)]
        return Starlette(routes=routes, lifespan=self.lifespan, middleware=middleware)

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        events_address, lattice_address = self._addresses
        async with (
            grpc.aio.insecure_channel(events_address) as events,
            grpc.aio.insecure_channel(lattice_address) as lattice,
        ):
            self.events = EventStoreServiceStub(events)
            self.lattice = LatticeServiceStub(lattice)
            yield

    async def ready(self, _request: Request) -> Response:
        return Response("{}")

    async def get_log(self, request: Request) -> Response:
        return await answered(
            request,
            self.events.GetLog,
            events_pb.GetLogRequest(),
            lambda reply: {
                "headPosition": str(reply.head_position),
                "incarnation": reply.incarnation,
            },
        )

    async def append(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        message = events_pb.AppendRequest(events=[_event(one) for one in body["events"]])
        return await answered(request, self.events.Append, message, _placements)

    async def get_stream(self, request: Request) -> Response:
        message = events_pb.GetStreamRequest(stream=request.path_params["stream"])
        return await answered(request, self.events.GetStream, message, _stream)

    async def get_lattice(self, request: Request) -> Response:
        message = lattice_pb.GetLatticeRequest(lattice_id=request.path_params["lattice_id"])
        return await answered(request, self.lattice.GetLattice, message, _lattice)

    async def find_path(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        message = lattice_pb.FindPathRequest(
            lattice_id=request.path_params["lattice_id"],
            start=lattice_pb.Site(coordinates=body["start"]["coordinates"]),
            goal=lattice_pb.Site(coordinates=body["goal"]["coordinates"]),
            sites_max=body.get("sitesMax"),
        )
        return await answered(request, self.lattice.FindPath, message, _path)


class Verifying:
    """Lets nobody in without a token, health aside."""

    def __init__(self, app: ASGIApp, verifier: Verifier) -> None:
        self._app = app
        self._verifier = verifier

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope["path"].startswith("/health"):
            authorization = Headers(scope=scope).get("authorization", "")
            try:
                self._verifier.verify(authorization.removeprefix("Bearer "))
            except TokenRefused:
                await Response(status_code=401)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def answered(request: Request, call: Any, message: Any, shown: Any) -> Response:  # noqa: ANN401
    """The call with its correlation id and deadline; a failure is told as JSON."""
    correlation_id = request.headers.get("x-correlation-id") or uuid4().hex
    headers = {"x-correlation-id": correlation_id}
    metadata = (
        ("x-correlation-id", correlation_id),
        ("authorization", request.headers["authorization"]),
    )
    try:
        reply = await call(message, timeout=30, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        failure = {"error": {"code": error.code().name, "message": error.details()}}
        return Response(orjson.dumps(failure), 500, headers, "application/json")
    return Response(orjson.dumps(shown(reply)), 200, headers, "application/json")


def _event(one: dict[str, Any]) -> events_pb.Event:
    return events_pb.Event(
        id=one.get("id", ""),
        stream=one["stream"],
        type=one["type"],
        schema_version=one.get("schemaVersion", 0),
        json=orjson.dumps(one["json"]).decode(),
        content_type=one.get("contentType", ""),
        metadata=one.get("metadata", {}),
        tags=one.get("tags", []),
    )


def _placements(reply: events_pb.AppendResponse) -> dict[str, Any]:
    return {
        "placements": [
            {
                "position": str(one.position),
                "revision": str(one.revision),
                "alreadyStored": one.already_stored,
                "eventId": one.event_id,
                "recordedAt": _moment(one.recorded_at),
            }
            for one in reply.placements
        ],
        "incarnation": reply.incarnation,
    }


def _stream(reply: events_pb.GetStreamResponse) -> dict[str, Any]:
    return {
        "stream": reply.stream,
        "lastRevision": str(reply.last_revision),
        "firstPosition": str(reply.first_position),
        "lastPosition": str(reply.last_position),
        "createdAt": _moment(reply.created_at),
        "updatedAt": _moment(reply.updated_at),
        "firstRevision": str(reply.first_revision),
        "eventCount": str(reply.event_count),
        "ending": keeping_pb.StreamEnding.Name(reply.ending),
        "metadataVersion": str(reply.metadata_version),
    }


def _lattice(reply: lattice_pb.GetLatticeResponse) -> dict[str, Any]:
    one = reply.lattice
    return {
        "latticeId": one.lattice_id,
        "shape": [str(length) for length in one.shape],
        "boundaries": [lattice_pb.Boundary.Name(each) for each in one.boundaries],
        "neighbourhood": lattice_pb.Neighbourhood.Name(one.neighbourhood),
        "cornerRule": lattice_pb.CornerRule.Name(one.corner_rule),
        "vertices": str(one.vertices),
        "edges": one.edges,
        "blockedSites": str(one.blocked_sites),
        "bytesHeld": str(one.bytes_held),
        "bytesAsGraph": one.bytes_as_graph,
        "bytesAsMatrix": one.bytes_as_matrix,
        "createdAt": _moment(one.created_at),
    }


def _path(reply: lattice_pb.FindPathResponse) -> dict[str, Any]:
    path, computation = reply.path, reply.computation
    return {
        "path": {
            "found": path.found,
            "length": path.length,
            "steps": str(path.steps),
            "runs": [{"step": list(each.step), "count": str(each.count)} for each in path.runs],
            "sites": [
                [str(n) for n in path.sites[first : first + path.axis_count]]
                for first in range(0, len(path.sites), max(1, path.axis_count))
            ],
            "axisCount": path.axis_count,
        },
        "computation": {
            "method": lattice_pb.Method.Name(computation.method),
            "exact": computation.exact,
            "elapsedNs": str(computation.elapsed_ns),
            "sitesExpanded": str(computation.sites_expanded),
            "memoryBytes": str(computation.memory_bytes),
            "costsDigest": computation.costs_digest,
        },
        "lookedAt": b64encode(reply.looked_at).decode(),
    }


def _moment(moment: Timestamp) -> str:
    return moment.ToDatetime().isoformat() + "Z"


def serve(port: int, events_address: str, lattice_address: str, trusted: str) -> None:
    """Serve the hand-written routes until killed, told as the gateway's own server is."""
    uvicorn.run(
        ByHand(events_address, lattice_address, Path(trusted)).app(),
        host="127.0.0.1",
        port=port,
        loop="uvloop",
        http="httptools",
        ws="none",
        access_log=False,
        log_level="warning",
        server_header=False,
        proxy_headers=False,
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--requests", type=int, default=1_500)
    parser.add_argument("--serve", nargs=4, metavar=("PORT", "EVENTS", "LATTICE", "KEYS"))
    return parser.parse_args()


if __name__ == "__main__":
    asked = _arguments()
    if asked.serve:
        serve(int(asked.serve[0]), *asked.serve[1:])
    else:
        sys.exit(run(main(asked.rounds, asked.requests)))
