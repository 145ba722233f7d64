"""Errors as statuses, and back."""

import grpc
import grpc.aio
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from girih.rules.violations import FieldViolation
from services.plumbing import errors
from services.plumbing.errors import InvalidInput, ServiceError, Violations
from services.plumbing.grpc.errors import STATUS_CODES, from_rpc_error, status_code, to_status
from services.plumbing.settings import ServerSettings
from tests.plumbing.conftest import Log, serving
from tests.plumbing.knots import Knots

TRAILERS_BYTES_MAX = 8 * 1024


class StreamMissing(errors.NotFound):
    reason = "STREAM_MISSING"


class Poisoned(ServiceError):
    """Of a kind nobody placed."""


def received(status: grpc.Status) -> grpc.aio.AioRpcError:
    """What a caller gets when a server answers `status`."""
    trailing = grpc.aio.Metadata(*(status.trailing_metadata or ()))
    return grpc.aio.AioRpcError(status.code, grpc.aio.Metadata(), trailing, status.details)


def test_a_message_tells_how_many_fields_are_bad_or_at_least_how_many() -> None:
    def message(count: int) -> str:
        return InvalidInput(violations=[FieldViolation("a", "must be b")] * count).message

    assert message(1) == "a: must be b"
    assert message(99) == "a: must be b (and 98 more)"
    assert message(100) == "a: must be b (and at least 99 more)"


@pytest.mark.parametrize("kind", STATUS_CODES, ids=lambda kind: kind.__name__)
def test_every_kind_travels_there_and_back(kind: type[ServiceError]) -> None:
    status = to_status(kind("it happened", count=3, share=0.5, final=True, name="x"), "a.girih")

    error = from_rpc_error(received(status))

    assert (error.code, error.message) == (STATUS_CODES[kind], "it happened")
    assert (error.reason, error.domain) == (kind.reason, "a.girih")
    assert error.metadata == {"count": "3", "share": "0.5", "final": "true", "name": "x"}


def test_a_services_own_error_has_the_code_of_its_kind() -> None:
    assert status_code(StreamMissing("no such stream")) is grpc.StatusCode.NOT_FOUND
    assert status_code(Poisoned("of no kind")) is grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize("kind", [errors.ResourceExhausted, errors.Unavailable])
def test_errors_that_pass_say_when_to_come_back(
    kind: type[errors.ResourceExhausted | errors.Unavailable],
) -> None:
    error = from_rpc_error(received(to_status(kind("later", retry_after_s=0.25), "a.girih")))

    assert error.retry_after_s == 0.25
    assert error.metadata == {}


def test_a_limit_that_a_retry_meets_again_names_no_time_to_come_back() -> None:
    limit = errors.ResourceExhausted("too large", retry_after_s=None)

    assert from_rpc_error(received(to_status(limit, "a.girih"))).retry_after_s is None


def test_all_bad_fields_are_told_at_once() -> None:
    violations = Violations()
    violations.add("events[3].id", "must be a UUID")
    violations.add("limit", "must not be negative")

    with pytest.raises(InvalidInput) as caught:
        violations.raise_if_any()

    error = from_rpc_error(received(to_status(caught.value, "a.girih")))
    assert error.message == "events[3].id: must be a UUID (and 1 more)"
    assert error.violations == (
        FieldViolation("events[3].id", "must be a UUID"),
        FieldViolation("limit", "must not be negative"),
    )


def test_what_two_rules_find_of_a_field_is_told_once() -> None:
    violations = Violations()
    for description in ("must be 6 or more", "must be 6 or more", "must be even"):
        violations.add("size", description)

    with pytest.raises(InvalidInput, match=r"^size: must be 6 or more \(and 1 more\)$"):
        violations.raise_if_any()


def test_nothing_is_raised_when_nothing_is_wrong() -> None:
    Violations().raise_if_any()


def test_a_services_own_details_are_added() -> None:
    status = to_status(StreamMissing("no such stream"), "a.girih", [StringValue(value="mine")])

    *_, own = from_rpc_error(received(status)).details

    assert own.Is(StringValue.DESCRIPTOR)


def test_a_status_fits_into_trailers_however_much_is_wrong() -> None:
    result = [FieldViolation(f"events[{n}].{'x' * 900}", "y" * 900) for n in range(5_000)]

    status = to_status(InvalidInput("z" * 10_000, result, large="w" * 10_000), "a.girih")

    assert status.trailing_metadata is not None
    ((_, packed),) = status.trailing_metadata
    assert len(packed) * 4 / 3 + len(status.details) < TRAILERS_BYTES_MAX
    answer = from_rpc_error(received(status)).violations
    assert answer[0].field.startswith("events[0].")
    assert answer[-1].description == f"{5_000 - len(answer) + 1} more fields are not valid"


@pytest.mark.parametrize("message", ["two\nlines", "nul \x00", "é ü 結び目", "x" * 5_000], ids=repr)
async def test_any_message_reaches_the_caller(
    message: str, settings: ServerSettings, log: Log
) -> None:
    class Refusing(Knots):
        async def Unary(self, request: object, context: object) -> object:
            raise StreamMissing(message, name=message)

    async with serving(settings, Refusing()) as served:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.client.ask("Unary", "ok")

    error = from_rpc_error(caught.value)
    assert (error.code, error.reason) == (grpc.StatusCode.NOT_FOUND, "STREAM_MISSING")
    assert error.message[:900] == message[:900]


def test_an_error_of_a_stranger_is_read_as_far_as_it_goes() -> None:
    plain = grpc.aio.AioRpcError(
        grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), "no route"
    )
    broken = grpc.aio.AioRpcError(
        grpc.StatusCode.ABORTED,
        grpc.aio.Metadata(),
        grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff")),
        None,
    )

    assert from_rpc_error(plain).message == "no route"
    assert from_rpc_error(plain).reason == ""
    assert from_rpc_error(broken).details == ()
