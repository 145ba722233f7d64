"""What every rpc gets, for all four kinds and both styles of streaming."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest

from services.plumbing import correlation
from services.plumbing.grpc import chain
from services.plumbing.grpc import errors as grpc_errors
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.settings import ServerSettings
from tests.authority import USER
from tests.plumbing.conftest import Log, MakeSettings, Served, serving, until
from tests.plumbing.knots import KINDS, Context, Knots, KnotsUntied, WritingKnots

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(params=[Knots, WritingKnots], ids=["generators", "writers"])
async def served(
    request: pytest.FixtureRequest, settings: ServerSettings, log: Log
) -> AsyncIterator[Served]:
    async with serving(settings, request.param()) as served:
        yield served


async def refused(served: Served, kind: str, what: str, **options: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await served.client.ask(kind, what, **options)
    return caught.value


def metrics(served: Served, name: str, **labels: str) -> float:
    return (
        served.server.registry.get_sample_value(
            name, {"grpc_service": "girih.test.v1.KnotService", **labels}
        )
        or 0.0
    )


@every_kind
async def test_a_call_that_goes_well_is_answered(served: Served, kind: str) -> None:
    answer = await served.client.ask(kind, "ok")

    assert answer.values[-1] == "ok"


@every_kind
async def test_a_named_error_comes_with_code_reason_domain_and_numbers(
    served: Served, kind: str
) -> None:
    error = from_rpc_error(await refused(served, kind, "refuse"))

    assert error.code is grpc.StatusCode.ABORTED
    assert error.message == "two ends are loose"
    assert (error.reason, error.domain) == ("KNOTS_UNTIED", "knots.girih")
    assert error.metadata == {"end_count": "2"}


@every_kind
async def test_a_bug_tells_the_caller_nothing_and_the_log_everything(
    served: Served, kind: str, log: Log
) -> None:
    refusal = await refused(served, kind, "crash")

    error = from_rpc_error(refusal)
    assert (error.code, error.message) == (grpc.StatusCode.INTERNAL, "internal error")
    assert (error.reason, error.metadata, len(error.details)) == ("INTERNAL", {}, 1)
    assert "swordfish" not in repr(refusal)
    (line,) = log.lines("a call failed unexpectedly")
    assert "ZeroDivisionError: secret: the password is swordfish" in line["exception"]
    assert line["correlation_id"]


@every_kind
async def test_an_abort_by_hand_keeps_its_code(served: Served, kind: str, log: Log) -> None:
    error = await refused(served, kind, "abort")

    assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "by hand")
    await until(lambda: bool(log.lines("call")))
    assert log.lines("call")[-1]["status"] == "DATA_LOSS"


@every_kind
async def test_a_cancellation_that_our_code_lets_out_does_not_leave_the_caller_waiting(
    served: Served, kind: str
) -> None:
    error = await refused(served, kind, "let a cancellation out", timeout=20)

    assert error.code() is grpc.StatusCode.INTERNAL


async def test_work_that_is_stopped_by_the_shutdown_asks_to_retry_elsewhere(
    served: Served,
) -> None:
    served.server.stopping.set()

    error = from_rpc_error(await refused(served, "Unary", "let a cancellation out"))

    assert (error.code, error.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
    assert error.retry_after_s == 1.0


@every_kind
async def test_the_server_ends_a_call_that_takes_too_long(
    make_settings: MakeSettings, kind: str, log: Log
) -> None:
    impatient = make_settings(call_timeout_s=0.05, stream_timeout_s=0.05)
    async with serving(impatient, Knots()) as served:
        error = from_rpc_error(await refused(served, kind, "wait"))

        assert (error.code, error.reason) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "DEADLINE_EXCEEDED",
        )
        assert served.knots.seen.cancelled.is_set()


@every_kind
async def test_the_callers_shorter_deadline_wins(served: Served, kind: str) -> None:
    # Both sides watch the clock: a client of grpc.aio that hears of it from the server takes
    # its call for cancelled.
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await served.client.ask(kind, "wait", timeout=0.2)

    await asyncio.wait_for(served.knots.seen.cancelled.wait(), 60)


@every_kind
async def test_a_caller_that_leaves_cancels_the_work(served: Served, kind: str, log: Log) -> None:
    call = served.client.start(kind, "wait")
    answering = asyncio.ensure_future(_consume(call))
    await until(lambda: bool(served.knots.seen.calls))

    call.cancel()

    await asyncio.wait_for(served.knots.seen.cancelled.wait(), 60)
    with contextlib.suppress(asyncio.CancelledError):
        await answering
    await until(lambda: bool(log.lines("call")))
    assert log.lines("call")[-1]["status"] == "CANCELLED"
    assert not log.lines("a call failed unexpectedly")


async def _consume(call: Any) -> None:
    if hasattr(call, "__await__"):
        await call
    else:
        async for _ in call:
            pass


@every_kind
async def test_bytes_that_are_no_message_are_the_callers_mistake(served: Served, kind: str) -> None:
    error = from_rpc_error(await refused(served, kind, "", raw=b"\xff\xff"))

    assert (error.code, error.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_INPUT")


@every_kind
@pytest.mark.parametrize("what", ["ok", "refuse", "crash", "abort"])
async def test_every_call_is_counted_once_under_its_code(
    served: Served, kind: str, what: str
) -> None:
    codes = {"ok": "OK", "refuse": "Aborted", "crash": "Internal", "abort": "DataLoss"}

    with contextlib.suppress(grpc.aio.AioRpcError):
        await served.client.ask(kind, what)

    # A handler that aborts by hand answers before the chain can count.
    count = "grpc_server_handling_seconds_count"
    await until(lambda: metrics(served, count, **_labels(kind)) == 1)
    assert metrics(served, "grpc_server_started_total", **_labels(kind)) == 1
    labels = _labels(kind) | {"grpc_code": codes[what]}
    assert metrics(served, "grpc_server_handled_total", **labels) == 1
    assert metrics(served, "grpc_server_msg_received_total", **_labels(kind)) == 1


async def test_a_stream_that_ends_early_gives_back_what_it_holds(
    settings: ServerSettings, log: Log
) -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    class Holding(Knots):
        async def ServerStream(self, request: Any, context: Context) -> AsyncIterator[Any]:
            tasks.append(asyncio.current_task())
            try:
                yield b"not a message, which ends the call"
            finally:
                tasks.append(asyncio.current_task())

    async with serving(settings, Holding()) as served:
        await refused(served, "ServerStream", "ok")

    # Left to the collector, the generator is closed outside of its call, some time.
    opened_by, closed_by = tasks
    assert closed_by is opened_by


async def test_streamed_messages_are_counted(served: Served) -> None:
    await served.client.ask("BidiStream", "one", "two", "three")

    labels = _labels("BidiStream")
    assert metrics(served, "grpc_server_msg_received_total", **labels) == 3
    assert metrics(served, "grpc_server_msg_sent_total", **labels) == 3


def _labels(kind: str) -> dict[str, str]:
    types = dict(
        zip(KINDS, ("unary", "server_stream", "client_stream", "bidi_stream"), strict=True)
    )
    return {"grpc_type": types[kind], "grpc_method": kind}


@every_kind
async def test_every_call_is_one_line_in_the_log(served: Served, kind: str, log: Log) -> None:
    await served.client.ask(kind, "ok", metadata=[("x-correlation-id", "abc")])

    (line,) = log.lines("call")
    assert line["method"] == f"/girih.test.v1.KnotService/{kind}"
    assert (line["status"], line["level"]) == ("OK", "info")
    assert (line["correlation_id"], line["tenant"]) == ("abc", "default")
    assert line["subject"] == USER
    assert line["duration_ms"] >= 0


async def test_two_correlation_ids_are_replaced(served: Served, log: Log) -> None:
    ids = [("x-correlation-id", "one"), ("x-correlation-id", "two")]

    answer = await served.client.ask("Unary", "ok", metadata=ids)

    assert answer.correlation_id not in {"one", "two"}
    (line,) = log.lines("an ill-formed id was replaced")
    assert line["sent"] == "'one, two'"


async def test_a_caller_that_leaves_while_it_is_refused_is_no_bug() -> None:
    async def fail(*_arguments: object) -> None:
        raise grpc.aio.InternalError("the batch failed")

    context: Any = SimpleNamespace(abort=fail, done=lambda: True)

    with pytest.raises(asyncio.CancelledError):
        await chain._abort(context, grpc_errors.internal_status("x"), correlation.Call("a"))


@every_kind
async def test_a_caller_that_leaves_while_it_is_written_to_is_no_bug(
    served: Served, kind: str, log: Log
) -> None:
    call = served.client.start(kind, "write to one that left", timeout=1)
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        await _consume(call)

    (line,) = log.lines("call")
    assert (line["status"], line["level"]) == ("CANCELLED", "info")
    assert "Traceback" not in log.text()
    assert "the batch failed" not in log.text()


async def test_payloads_stay_out_of_the_log(served: Served, log: Log) -> None:
    await served.client.ask("BidiStream", "canary-1", "canary-2")

    assert "canary" not in log.text()


async def test_an_rpc_that_does_not_exist_is_refused_like_everything_else(
    served: Served,
) -> None:
    missing: Any = served.channel.unary_unary("/girih.test.v1.KnotService/Nothing")

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await missing(b"")

    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.UNIMPLEMENTED, "UNIMPLEMENTED")
    exposed = [metric.samples for metric in served.server.registry.collect()]
    assert "Nothing" not in repr(exposed)


def test_every_status_code_has_a_table_of_its_own_kind() -> None:
    assert len(set(grpc_errors.STATUS_CODES.values())) == len(grpc_errors.STATUS_CODES)


class Held:
    """What a refused call had in its hands, as a large request is."""


class HoldingKnots(Knots):
    """Remembers, weakly, what it held when it refused."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[weakref.ref[Held]] = []

    async def _do(self, what: str, context: Context) -> str:
        held = Held()
        self.held.append(weakref.ref(held))
        outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        outcome.set_exception(KnotsUntied("two ends are loose"))
        return await outcome  # the future knows the error, and the error this frame


@every_kind
async def test_a_refused_call_leaves_nothing_for_the_collector(
    settings: ServerSettings, log: Log, kind: str
) -> None:
    knots = HoldingKnots()
    async with serving(settings, knots) as served:
        gc.disable()
        try:
            await refused(served, kind, "refuse")
            await until(lambda: knots.held[0]() is None)
        finally:
            gc.enable()
