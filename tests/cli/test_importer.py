"""The importer against the real events service, which is killed, stopped and fed nonsense."""

import io
import itertools
import json
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest

from cli import exit_codes
from cli.failure import Failed, NotLoggedIn
from cli.importing import importer
from cli.importing.importer import Job, Report, import_lines
from cli.importing.jsonlines import BadLine, Format
from cli.local.postgres import DATABASE, EmbeddedPostgres
from girih.client import PermissionDenied, Unavailable
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc as rpc
from tests.authority import Authority
from tests.processes import Process, ending, events_process


@dataclass(frozen=True)
class Service:
    """A running events service."""

    process: Process
    address: str

    def read(self, job: Job) -> list[pb.RecordedEvent]:
        with grpc.insecure_channel(self.address) as channel:
            stub = rpc.EventStoreServiceStub(channel)
            metadata = (("authorization", f"Bearer {job.token()}"),)
            pages = stub.Read(pb.ReadRequest(), metadata=metadata, timeout=30)
            return [event for page in pages for event in page.events]


@pytest.fixture(scope="module")
def service(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[Service]:
    """One service for all tests here; each test has a tenant of its own."""
    postgres.execute("CREATE DATABASE importer")
    url = postgres.url.replace(f"/{DATABASE}?", "/importer?")
    folder = tmp_path_factory.mktemp("importer")
    process, address = events_process(url, folder, **authority.environ)
    with ending(process):
        process.start()
        process.wait_ready()
        yield Service(process, address)
    postgres.execute("DROP DATABASE importer WITH (FORCE)")


@pytest.fixture
def job(authority: Authority) -> Job:
    """An import into a log of the test's own."""
    return Job(
        source="cases",
        token=tokens_for(authority, f"import-{uuid4().hex}"),
        correlation_id="import-test",
        batch_count_max=10,
    )


def tokens_for(authority: Authority, tenant: str, **claims: Any) -> Callable[[], str]:
    return lambda: authority.token(tenant, **claims)


def case(number: int) -> str:
    return json.dumps({"stream": f"case-{number % 7}", "type": "Happened", "number": number})


def file_of(*lines: str) -> io.BytesIO:
    return io.BytesIO("".join(f"{line}\n" for line in lines).encode())


def cases(count: int) -> io.BytesIO:
    return file_of(*(case(number) for number in range(count)))


def numbers(events: list[pb.RecordedEvent]) -> list[int]:
    return [json.loads(event.event.json)["number"] for event in events]


def test_events_lie_in_the_order_of_the_file(service: Service, job: Job) -> None:
    report = import_lines(service.address, cases(95), job)

    events = service.read(job)
    assert numbers(events) == list(range(95))
    assert [event.position for event in events] == list(range(1, 96))
    assert (report.appended, report.already_stored, report.last_line) == (95, 0, 95)
    assert (report.first_position, report.last_position) == (1, 95)


def test_the_payload_is_stored_as_it_was_sent(service: Service, job: Job) -> None:
    line = '{"stream":"s","n":1.10,"big":123456789012345678901,"type":"T","x":"\\u00e9"}'

    import_lines(service.address, file_of(line), job)

    event = service.read(job)[0].event
    assert (event.stream, event.type) == ("s", "T")
    assert event.json == '{"n":1.10,"big":123456789012345678901,"x":"\\u00e9"}'


def test_events_carry_the_correlation_id_of_the_import(service: Service, job: Job) -> None:
    import_lines(service.address, cases(3), job)

    result = {event.context.correlation_id for event in service.read(job)}
    assert result == {"import-test"}


def test_importing_again_appends_nothing(service: Service, job: Job) -> None:
    import_lines(service.address, cases(25), job)
    before = service.read(job)

    report = import_lines(service.address, cases(25), replace(job, batch_count_max=3))

    assert (report.appended, report.already_stored) == (0, 25)
    assert service.read(job) == before


def test_a_file_that_has_grown_appends_what_is_new(service: Service, job: Job) -> None:
    import_lines(service.address, cases(25), job)

    report = import_lines(service.address, cases(31), job)

    assert (report.appended, report.already_stored) == (6, 25)
    assert numbers(service.read(job)) == list(range(31))


def test_identical_lines_are_different_events(service: Service, job: Job) -> None:
    report = import_lines(service.address, file_of(case(1), case(1), case(1)), job)

    assert report.appended == 3
    assert len({event.event.id for event in service.read(job)}) == 3


def test_another_source_is_another_import(service: Service, job: Job) -> None:
    import_lines(service.address, cases(5), job)

    report = import_lines(service.address, cases(5), replace(job, source="others"))

    assert report.appended == 5


def test_a_bad_line_ends_it_with_everything_before_stored(service: Service, job: Job) -> None:
    lines = [case(number) for number in range(15)]
    lines.insert(13, '{"stream": 5}')
    last_lines: list[int] = []

    with pytest.raises(BadLine, match="line 14: the member 'stream'"):
        import_lines(
            service.address,
            file_of(*lines),
            job,
            on_progress=lambda report: last_lines.append(report.last_line),
        )

    assert last_lines == [10, 13]
    assert numbers(service.read(job)) == list(range(13))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"stream":"has space","type":"T"}', "line 4: stream: "),
        ('{"stream":"s","type":"T","deep":' + "[" * 70 + "]" * 70 + "}", "line 4: json: "),
        ('{"stream":"s","type":"T","x":"\\u0000"}', "line 4: json: "),
    ],
)
def test_a_line_that_the_server_finds_bad_is_told_by_its_number(
    service: Service, job: Job, bad: str, message: str
) -> None:
    lines = [case(0), "", case(1), bad, case(2)]

    with pytest.raises(BadLine) as caught:
        import_lines(service.address, file_of(*lines), job)

    assert str(caught.value).startswith(message)
    assert numbers(service.read(job)) == [0, 1]


def test_bad_lines_can_be_passed_over(service: Service, job: Job) -> None:
    lines = [case(0), "nonsense", '{"stream":"has space","type":"T"}', case(1), "", case(2)]
    response: list[int] = []

    report = import_lines(
        service.address,
        file_of(*lines),
        replace(job, skips_bad=True),
        on_bad=lambda bad: response.append(bad.number),
    )

    assert numbers(service.read(job)) == [0, 1, 2]
    assert (report.appended, report.skipped, sorted(response)) == (3, 2, [2, 3])


def test_the_same_lines_with_other_options_are_refused_by_number(
    service: Service, job: Job
) -> None:
    lines = ['{"stream":"s","type":"T","other":"O"}'] * 3
    import_lines(service.address, file_of(*lines), job)

    other = replace(job, form=Format(type_field="other"))

    with pytest.raises(BadLine, match="line 1: was imported before"):
        import_lines(service.address, file_of(*lines), other)


def test_a_batch_never_exceeds_what_the_server_takes(
    service: Service, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importer, "BATCH_BYTES_MAX", 2_000)
    batches: list[int] = []

    import_lines(
        service.address,
        file_of(*(json.dumps({"stream": "s", "type": "T", "x": "y" * 1_500}) for _ in range(5))),
        job,
        on_progress=lambda report: batches.append(report.appended),
    )

    assert batches == [1, 2, 3, 4, 5]


def test_an_empty_file_is_imported_at_once(service: Service, job: Job) -> None:
    assert import_lines(service.address, io.BytesIO(b"\n\n"), job).event_count == 0


def test_a_token_that_may_not_append_is_refused(
    service: Service, job: Job, authority: Authority
) -> None:
    reader = tokens_for(authority, "reader", scopes=["events.read"])

    with pytest.raises(PermissionDenied, match="PERMISSION_DENIED SCOPE_MISSING"):
        import_lines(service.address, cases(1), replace(job, token=reader))


def test_every_call_asks_for_a_token_that_is_valid_then(service: Service, job: Job) -> None:
    asked: list[str] = []

    def token() -> str:
        asked.append(job.token())
        return asked[-1]

    import_lines(service.address, cases(35), replace(job, token=token))

    assert len(asked) == 1 + 1  # where the log ends, and a call of many batches
    assert numbers(service.read(job)) == list(range(35))


def test_it_waits_for_a_token_that_cannot_be_had_for_a_moment(service: Service, job: Job) -> None:
    refusals = itertools.chain([Failed("away", exit_codes.UNAVAILABLE)] * 3, itertools.repeat(None))

    def token() -> str:
        if (refusal := next(refusals)) is not None:
            raise refusal
        return job.token()

    report = import_lines(service.address, cases(35), replace(job, token=token))

    assert (report.appended, report.retry_count) == (35, 3)


def test_it_ends_at_once_when_nobody_is_logged_in(service: Service, job: Job) -> None:
    def token() -> str:
        raise NotLoggedIn("http://127.0.0.1:8000")

    with pytest.raises(NotLoggedIn):
        import_lines(service.address, cases(1), replace(job, token=token))


def test_a_service_that_stays_away_is_told_in_time(job: Job) -> None:
    began = time.monotonic()

    with pytest.raises(Unavailable):
        import_lines("127.0.0.1:1", cases(1), replace(job, retry_for_s=0.5))

    assert time.monotonic() - began >= 0.5


CARRIED = ("authorization", "x-correlation-id")


@contextmanager
def losing_answers(address: str, every: int) -> Iterator[str]:
    """A way to `address` on which every so-manieth answer is lost, after the work was done."""
    answers = itertools.count(1)

    def forward(method: str) -> "grpc.RpcMethodHandler[bytes, bytes]":
        call: Any = channel.stream_stream(method)

        def handle(requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
            metadata = [pair for pair in context.invocation_metadata() if pair[0] in CARRIED]
            for answer in call(requests, metadata=metadata, timeout=30):
                if next(answers) % every == 0:
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
                yield answer

        return grpc.stream_stream_rpc_method_handler(handle)

    class Forwarding(grpc.GenericRpcHandler):
        def service(
            self, details: grpc.HandlerCallDetails
        ) -> "grpc.RpcMethodHandler[bytes, bytes]":
            return forward(str(details.method))

    with grpc.insecure_channel(address) as channel, ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers([Forwarding()])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield f"127.0.0.1:{port}"
        server.stop(grace=None).wait()


def test_events_whose_answer_was_lost_count_as_appended_by_this_import(
    service: Service, job: Job
) -> None:
    import_lines(service.address, cases(12), job)

    with losing_answers(service.address, every=2) as lossy:
        report = import_lines(lossy, cases(60), job)

    assert report.retry_count > 3
    assert (report.appended, report.already_stored) == (48, 12)
    assert numbers(service.read(job)) == list(range(60))


@pytest.mark.timeout(120)
def test_it_rides_through_a_service_that_is_killed(service: Service, job: Job) -> None:
    kills = 2
    started_again: list[threading.Thread] = []

    def kill_now_and_then(report: Report) -> None:
        if len(started_again) < kills and report.appended > 150 * (len(started_again) + 1):
            service.process.kill()
            started_again.append(threading.Timer(0.2, service.process.start))
            started_again[-1].start()

    report = import_lines(service.address, cases(600), job, on_progress=kill_now_and_then)

    assert len(started_again) == kills
    assert report.retry_count >= kills
    assert (report.appended, report.already_stored) == (600, 0)
    assert numbers(service.read(job)) == list(range(600))


@pytest.mark.timeout(120)
def test_an_import_that_was_killed_goes_on_where_it_ended(service: Service, job: Job) -> None:
    class Killed(BaseException):
        pass

    def die(report: Report) -> None:
        if report.appended >= 200:
            raise Killed

    with pytest.raises(Killed):
        import_lines(service.address, cases(600), job, on_progress=die)

    report = import_lines(service.address, cases(600), job)

    assert report.already_stored >= 200
    assert report.event_count == 600
    assert numbers(service.read(job)) == list(range(600))


def test_memory_does_not_grow_with_the_file(service: Service, job: Job, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        path = tmp_path / f"{count}.jsonl"
        path.write_bytes(cases(count).getvalue())
        tracemalloc.start()
        try:
            with path.open("rb") as file:
                import_lines(service.address, file, replace(job, source=path.name))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak(100)  # what is imported late is loaded now

    assert peak(5_000) < peak(500) + 200_000
