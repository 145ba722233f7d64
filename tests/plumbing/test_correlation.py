"""Who a call is for and what caused it, in and out."""

import asyncio
import time
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest

from girih.ids import TenantId
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.grpc.channel import open_channel
from tests.authority import Authority
from tests.plumbing.conftest import Log, Served
from tests.plumbing.knots import DOMAIN, KINDS, KnotClient

every_kind = pytest.mark.parametrize("kind", KINDS)

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
ILL_FORMED = ["", " ", "a b", "a" * 65, "a/b", "<script>", "x=1;y", "{}"]


@every_kind
@pytest.mark.parametrize("what", ["ok", "refuse", "crash"])
async def test_a_well_formed_id_is_taken_and_returned_whatever_happens(
    served: Served, kind: str, what: str
) -> None:
    assert await _id_answered(served, kind, what, "Abc-1.2_3") == "Abc-1.2_3"


@every_kind
async def test_an_id_is_made_when_the_caller_sends_none(served: Served, kind: str) -> None:
    first = await served.client.ask(kind, "ok")
    second = await served.client.ask(kind, "ok")

    assert first.correlation_id != second.correlation_id
    assert correlation.well_formed(str(first.correlation_id))


@pytest.mark.parametrize("sent", ILL_FORMED, ids=repr)
async def test_an_ill_formed_id_is_replaced_and_the_log_says_so(
    served: Served, sent: str, log: Log
) -> None:
    answered = await _id_answered(served, "Unary", "ok", sent)

    assert answered != sent
    assert correlation.well_formed(str(answered))
    (line,) = log.lines("an ill-formed id was replaced")
    assert (line["key"], line["correlation_id"]) == ("x-correlation-id", answered)
    assert len(line["sent"]) <= 100


@pytest.mark.parametrize("sent", [*ILL_FORMED, "a\nb", "a\tb", "a\x7f", "ü", "a\x00b"], ids=repr)
def test_only_harmless_ids_are_well_formed(sent: str) -> None:
    assert not correlation.well_formed(sent)


async def test_the_handler_knows_everything_the_call_carries(
    served: Served, authority: Authority
) -> None:
    await served.client.ask(
        "Unary",
        "ok",
        timeout=9,
        metadata=[
            ("x-correlation-id", "c-1"),
            ("x-causation-id", "e-7"),
            ("traceparent", TRACE),
            *authority.metadata("delft", aud=[DOMAIN]),
        ],
    )

    (call,) = served.knots.seen.calls
    assert (call.correlation_id, call.causation_id) == ("c-1", "e-7")
    assert (call.tenant, call.traceparent) == ("delft", TRACE)
    assert 5 < (call.remaining_s() or 0) < 9.5  # the two clocks differ by a few milliseconds


async def test_an_ill_formed_causation_or_trace_is_dropped(served: Served, log: Log) -> None:
    metadata = [("x-causation-id", "a b"), ("traceparent", "00-nonsense")]

    await served.client.ask("Unary", "ok", metadata=metadata)

    (call,) = served.knots.seen.calls
    assert (call.causation_id, call.traceparent) == ("", "")
    assert [line["key"] for line in log.lines("an ill-formed id was replaced")] == [
        "x-causation-id"
    ]


async def test_calls_that_run_at_once_do_not_mix_their_context(served: Served) -> None:
    ids = [f"call-{number}" for number in range(40)]

    answers = await asyncio.gather(
        *(
            served.client.ask(KINDS[number % 4], "ok", metadata=[("x-correlation-id", call_id)])
            for number, call_id in enumerate(ids)
        )
    )

    assert [answer.correlation_id for answer in answers] == ids
    assert sorted(call.correlation_id for call in served.knots.seen.calls) == sorted(ids)


@pytest.fixture
async def carried(served: Served, authority: Authority) -> AsyncIterator[KnotClient]:
    def bearer() -> str:
        return authority.token(correlation.current().tenant or "default", aud=[DOMAIN])

    address = f"127.0.0.1:{served.server.port}"
    async with open_channel(address, bearer=bearer) as channel:
        yield KnotClient(channel)


@every_kind
async def test_calls_made_for_a_call_carry_its_context(
    served: Served, carried: KnotClient, kind: str
) -> None:
    call = Call("c-1", causation_id="e-7", tenant=TenantId("delft"), traceparent=TRACE)
    with correlation.bind(call):
        answer = await carried.ask(kind, "ok")

    (seen,) = served.knots.seen.calls
    assert (seen.correlation_id, seen.causation_id) == ("c-1", "e-7")
    assert (seen.tenant, seen.traceparent) == ("delft", TRACE)
    assert answer.correlation_id == "c-1"


@every_kind
async def test_calls_made_for_a_call_end_with_its_deadline(
    served: Served, carried: KnotClient, kind: str
) -> None:
    soon = time.monotonic() + 0.2

    with (
        correlation.bind(Call("c-1", deadline_s=soon)),
        pytest.raises(grpc.aio.AioRpcError) as caught,
    ):
        await carried.ask(kind, "wait")

    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_what_a_caller_says_itself_goes_before_the_context(
    served: Served, carried: KnotClient
) -> None:
    with correlation.bind(Call("c-1", causation_id="e-7")):
        await carried.ask("Unary", "ok", metadata=[("x-causation-id", "e-8")])

    (seen,) = served.knots.seen.calls
    assert (seen.correlation_id, seen.causation_id) == ("c-1", "e-8")


def test_outside_of_any_call_every_question_gets_an_id_of_its_own() -> None:
    assert correlation.bound() is None
    assert correlation.current().correlation_id != correlation.current().correlation_id


async def _id_answered(served: Served, kind: str, what: str, sent: str) -> str | bytes | None:
    metadata = [("x-correlation-id", sent)]
    call = served.client.start(kind, what, metadata=metadata)
    try:
        if hasattr(call, "__await__"):
            await call
        else:
            [_ async for _ in call]
    except grpc.aio.AioRpcError:
        assert what != "ok"
    trailing = dict(await call.trailing_metadata())
    return dict(await call.initial_metadata()).get("x-correlation-id") or trailing.get(
        "x-correlation-id"
    )
