"""The client without asyncio does what the other does, by the same rules."""

import asyncio
import inspect
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import grpc
import pytest

from girih.client import (
    ABSENT,
    AsyncClient,
    BeyondEnd,
    CallContext,
    Client,
    EventStoreClient,
    NewEvent,
    Precondition,
    PreconditionFailed,
    Query,
    RetryPolicy,
    StreamNotFound,
    Unavailable,
    bind_context,
)
from girih.client.blocking.asking import Fields, Pictures, Routes, Structure
from girih.client.blocking.changing import History, Jobs, Transforms
from girih.client.blocking.consuming import Consumer
from girih.client.blocking.groups import Groups
from girih.client.blocking.lattices import Lattices
from girih.client.groups.client import AsyncGroups
from girih.client.groups.consuming import AsyncConsumer
from girih.client.lattices.asking import AsyncFields, AsyncPictures, AsyncRoutes, AsyncStructure
from girih.client.lattices.changing import AsyncHistory, AsyncJobs, AsyncTransforms
from girih.client.lattices.client import AsyncLattices
from release import blocking_client
from tests.authority import Authority
from tests.client.between import Between, Failure
from tests.client.conftest import RETRY

AWAY = Failure(grpc.StatusCode.UNAVAILABLE)
LOST = Failure(grpc.StatusCode.UNAVAILABLE, after=True)


def numbered(stream: str, count: int) -> list[NewEvent]:
    return [NewEvent.with_data(stream, "counted", {"n": n}) for n in range(count)]


@pytest.fixture
def client(address: str, authority: Authority, tenant: str) -> Iterator[Client]:
    with Client(events=address, token=authority.token(tenant), retry=RETRY) as client:
        yield client


@pytest.fixture
def patient_blocking(broken: Between, authority: Authority, tenant: str) -> Iterator[Client]:
    """A client of the same log through `broken`. Calls are made in a thread: the loop serves."""

    def token() -> str:
        return authority.token(tenant)

    with Client(events=broken.address, token=token, retry=RETRY) as client:
        yield client


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize(("with_asyncio", "name"), blocking_client.MADE.items())
def test_what_is_the_same_with_asyncio_is_made_of_that(with_asyncio: str, name: str) -> None:
    made = (blocking_client.CLIENT / f"blocking/{name}.py").read_text(encoding="utf-8")

    assert made == blocking_client.made_of(with_asyncio), "make client-made"


def test_both_clients_have_the_same_names() -> None:
    only_with_asyncio = blocking_client.ONLY_WITH_ASYNCIO | {"aclose"}

    assert public(AsyncClient) - only_with_asyncio == public(Client) - {"close"}
    assert public(AsyncLattices) == public(Lattices)
    assert public(AsyncGroups) == public(Groups)
    assert public(AsyncConsumer) - {"aclose"} == public(Consumer)
    assert public(AsyncFields) == public(Fields)
    assert public(AsyncPictures) == public(Pictures)
    assert public(AsyncTransforms) == public(Transforms)
    assert public(AsyncHistory) == public(History)
    assert public(AsyncJobs) == public(Jobs)
    assert public(AsyncRoutes) == public(Routes)
    assert public(AsyncStructure) == public(Structure)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (AsyncClient, Client),
        (AsyncLattices, Lattices),
        (AsyncGroups, Groups),
        (AsyncConsumer, Consumer),
        (AsyncFields, Fields),
        (AsyncPictures, Pictures),
        (AsyncTransforms, Transforms),
        (AsyncHistory, History),
        (AsyncJobs, Jobs),
        (AsyncRoutes, Routes),
        (AsyncStructure, Structure),
    ],
    ids=[
        *("events", "lattices", "groups", "consumers", "fields", "pictures"),
        *("transforms", "history", "jobs", "routes", "structure"),
    ],
)
def test_methods_of_both_clients_take_the_same(one: type, other: type) -> None:
    def parameters(kind: type, name: str) -> dict[str, object]:
        signature = inspect.signature(getattr(kind, name))
        return {parameter.name: parameter.default for parameter in signature.parameters.values()}

    properties = {name for name in dir(one) if isinstance(getattr(one, name), property)}
    for name in {"__init__", *public(one) & public(other)} - properties:
        assert parameters(one, name) == parameters(other, name), name


def test_what_is_appended_is_read_in_order_and_where_it_is_known(client: Client) -> None:
    with bind_context(CallContext("correlation-1", "cause-1")):
        placements = client.append(numbered("a", 3), [Precondition.absent("a")])
    client.append(numbered("b", 1))

    assert [one.position for one in placements] == [1, 2, 3]
    assert [(one.position, one.stream) for one in client.read()] == [
        *((1, "a"), (2, "a"), (3, "a")),
        (4, "b"),
    ]
    assert [one.data["n"] for one in client.read("a", backwards=True, limit=2)] == [2, 1]
    assert [len(batch) for batch in client.read_batches("a", from_revision=1)] == [2]
    assert (client.head(), client.head_revision("a"), client.head_revision("x")) == (4, 2, ABSENT)
    assert (client.get_stream("a").last_position, client.log().head) == (3, 4)
    assert [one.stream for one in client.streams()] == ["a", "b"]
    assert list(client.streams("a")) == [client.get_stream("a")]
    assert [one.event.position for one in client.trace("correlation-1")] == [1, 2, 3]
    assert client.save_snapshot("a", 0, b"state")
    loaded = client.load("a")
    assert loaded.snapshot is not None
    assert (loaded.snapshot.state, loaded.snapshot.revision) == (b"state", 0)
    client.register_schema("kept", 1, {"type": "object"})
    assert [(one.type, one.version) for one in client.schemas()] == [("kept", 1)]
    assert client.schema("kept")[1] == {"type": "object"}
    client.delete_schemas("kept")
    last = client.last("a")
    assert last is not None
    assert (last.correlation_id, last.causation_id) == ("correlation-1", "cause-1")
    assert client.last("x") is None
    with pytest.raises(StreamNotFound):
        client.get_stream("x")


def test_an_append_is_refused_for_an_event_that_must_not_be_there(client: Client) -> None:
    ada = NewEvent(stream="user-1", type="registered", tags=("name:ada",))
    client.append([ada], unless=Query(tags=["name:ada"]))
    client.append(numbered("a", 1), unless=Query(tags=["name:ada"]), after=1)

    with pytest.raises(PreconditionFailed) as failed:
        client.append(numbered("a", 1), unless=[Query(tags=["name:ada"])], after=0)

    assert (failed.value.violations[0].event_id, failed.value.read_again) == (ada.id, True)


def test_a_precondition_that_fails_tells_what_is_the_case(client: Client) -> None:
    client.append(numbered("a", 2))

    with pytest.raises(PreconditionFailed) as failed:
        client.append(numbered("a", 1), [Precondition.at("a", 0)])

    assert failed.value.violations[0].actual_revision == 1


async def test_an_append_whose_answer_is_lost_is_repeated_and_stored_once(
    broken: Between, patient_blocking: Client, events: EventStoreClient
) -> None:
    broken.failures = [AWAY, LOST, AWAY]

    placements = await asyncio.to_thread(patient_blocking.append, numbered("a", 2))

    assert [one.already_stored for one in placements] == [True, True]
    assert len(broken.requests) == 4
    assert await events.head() == 2


async def test_a_call_with_an_expired_token_is_made_again_with_another(
    broken: Between, patient_blocking: Client
) -> None:
    broken.failures = [Failure(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")]

    await asyncio.to_thread(patient_blocking.append, numbered("a", 1))

    assert len(broken.requests) == 2


async def test_a_read_that_breaks_off_goes_on_where_it_was(
    broken: Between, patient_blocking: Client, events: EventStoreClient
) -> None:
    await events.append(numbered("a", 9))
    broken.batch_max = 2
    broken.failures = [
        Failure(grpc.StatusCode.UNAVAILABLE, responses=2),
        AWAY,
        Failure(grpc.StatusCode.DEADLINE_EXCEEDED, responses=1),
    ]

    read = await asyncio.to_thread(lambda: [one.revision for one in patient_blocking.read("a")])

    assert read == list(range(9))
    assert [one.from_revision for one in broken.requests[1:]] == [4, 4, 6]


async def test_following_goes_on_with_each_event_once_whatever_breaks(
    broken: Between, patient_blocking: Client, events: EventStoreClient
) -> None:
    await events.append(numbered("a", 3))
    broken.batch_max = 1
    broken.failures = [
        Failure(grpc.StatusCode.UNAVAILABLE, responses=2),
        AWAY,
        Failure(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED", responses=3),
    ]
    interruptions: list[str] = []

    def followed() -> list[int]:
        subscription = patient_blocking.follow(
            on_connected=lambda: interruptions.append("connected"),
            on_interrupted=lambda error: interruptions.append(error.code.name),
        )
        with subscription:
            return [one.position for one in islice(subscription, 6)]

    following = asyncio.create_task(asyncio.to_thread(followed))
    await events.append(numbered("b", 3))

    assert await following == [1, 2, 3, 4, 5, 6]
    interrupted = [one for one in interruptions if one != "connected"]
    assert interrupted == ["UNAVAILABLE", "UNAVAILABLE", "UNAUTHENTICATED"]
    assert interruptions[0] == interruptions[-1] == "connected"


async def test_a_read_that_takes_long_to_be_placed_is_not_begun_anew(
    broken: Between, events: EventStoreClient, authority: Authority, tenant: str
) -> None:
    await events.append(numbered("a", 1))
    broken.placed.clear()
    hasty = RetryPolicy(attempt_timeout_s=0.1, pause_s_min=0.01)

    def followed() -> int:
        token = authority.token(tenant)
        with Client(events=broken.address, token=token, retry=hasty) as client:
            return next(iter(client.follow())).position

    following = asyncio.create_task(asyncio.to_thread(followed))
    await asyncio.wait([following], timeout=0.5)
    broken.placed.set()

    assert await following == 1
    assert len(broken.requests) == 1


def test_a_client_that_is_closed_ends_what_follows_in_other_threads(client: Client) -> None:
    client.append(numbered("a", 1))
    first, seen = threading.Event(), list[int]()

    def follow() -> None:
        for event in client.follow():
            seen.append(event.position)
            first.set()

    following = threading.Thread(target=follow)
    following.start()
    assert first.wait(30)
    client.close()
    following.join(30)

    assert not following.is_alive()
    assert seen == [1]


def test_following_from_behind_the_end_is_refused_before_it_is_connected(client: Client) -> None:
    connected: list[bool] = []
    following = client.follow(from_position=7, on_connected=lambda: connected.append(True))

    with pytest.raises(BeyondEnd):
        next(iter(following))

    assert not connected


@pytest.fixture
def silent() -> Iterator[str]:
    """Somebody who takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_call_ends_in_its_time_when_nobody_answers(silent: str) -> None:
    with Client(events=silent, token="t", timeout=0.3) as client:
        for call in (client.head, lambda: list(client.read()), lambda: client.last("a")):
            with pytest.raises(Unavailable):
                call()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A server that takes calls and answers none."""
    is_over = threading.Event()

    def serve(_request: bytes, _context: grpc.ServicerContext) -> Iterator[bytes]:
        is_over.wait(60)
        yield from ()

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            del handler_call_details
            return grpc.unary_stream_rpc_method_handler(serve)

    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((Handler(),))
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield address
    finally:
        is_over.set()
        server.stop(0).wait()


def test_an_answer_that_does_not_come_is_not_waited_for(hanging: str) -> None:
    with (
        Client(events=hanging, token="t", timeout=0.3) as client,
        pytest.raises(Unavailable, match="in time"),
    ):
        list(client.read())


def test_a_call_may_be_given_more_time_than_the_client(broken_later: "Later") -> None:
    with Client(events=broken_later.address, token="t", timeout=0.05) as client:
        with pytest.raises(Unavailable):
            client.head()

        assert client.head(timeout=30) == 7


class Later:
    """Answers when it was asked six times."""

    def __init__(self) -> None:
        from girih.events.v1 import events_pb2 as pb

        self.asked = 0
        self.address = ""
        self._answer = pb.GetLogResponse(head_position=7).SerializeToString()

    def serve(self, _request: bytes, context: grpc.ServicerContext) -> bytes:
        self.asked += 1
        if self.asked < 6:
            context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        return self._answer


@pytest.fixture
def broken_later() -> Iterator[Later]:
    later = Later()

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            del handler_call_details
            return grpc.unary_unary_rpc_method_handler(later.serve)

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handler(),))
    later.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield later
    finally:
        server.stop(0).wait()


def test_an_asynchronous_token_is_refused_by_name(address: str) -> None:
    async def token() -> str:
        return "t"

    with (
        Client(events=address, token=token, retry=RetryPolicy(attempt_count_max=1)) as client,
        pytest.raises(TypeError, match="AsyncClient"),
    ):
        client.head()


FORKING = """
import os, sys
from girih.client import Client, Unavailable

with Client(events=sys.argv[1], token="t", timeout=0.2) as client:
    try:
        client.head()
    except Unavailable:
        pass
    child = os.fork()
    if child == 0:
        os._exit(0)
    print(os.waitpid(child, 0)[1])
"""


def test_a_program_with_an_open_client_can_be_forked(silent: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING, silent],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "GRPC_VERBOSITY": "NONE"},
    )

    assert done.stdout == "0\n"
