"""Services in the gateway's own process: errors, deadlines, and clients that leave."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.protobuf.descriptor import MethodDescriptor

from gateway.backends.local import LocalBackend
from gateway.contract.descriptors import ContractError
from gateway.http import errors
from girih.rules.violations import FieldViolation
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    ServiceError,
    Unauthenticated,
    Unavailable,
)
from tests.gateway.sample import message, sample_contract


@dataclass
class Servicer:
    """Serves some of the sample's rpcs here."""

    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    finished: list[str] = field(default_factory=list)

    async def Echo(self, request: Any) -> Any:
        await self.may_go_on.wait()
        self.finished.append(request.text)
        return request

    async def Name(self, request: Any) -> Any:
        return await self.Echo(request)

    def Publish(self, request: Any) -> Any:
        return request


@pytest.fixture
async def servicer() -> Servicer:
    return Servicer()


@pytest.fixture
async def backend(servicer: Servicer) -> LocalBackend:
    contract = sample_contract()
    return LocalBackend("sample", contract.services[0], servicer, contract.pool)


def method(name: str) -> MethodDescriptor:
    return sample_contract().services[0].methods_by_name[name]


async def test_it_answers(backend: LocalBackend, servicer: Servicer) -> None:
    servicer.may_go_on.set()

    made = message("Everything", text="a")

    response = await backend.unary(method("Echo"))(made)

    assert response == made.SerializeToString()


async def test_what_may_write_goes_on_when_its_client_leaves(
    backend: LocalBackend, servicer: Servicer
) -> None:
    call = backend.unary(method("Echo"))(message("Everything", text="a"))
    await asyncio.sleep(0)

    call.cancel()
    servicer.may_go_on.set()
    await backend.finish()

    assert call.cancelled()
    assert servicer.finished == ["a"]


async def test_what_only_reads_ends_with_its_client(
    backend: LocalBackend, servicer: Servicer
) -> None:
    call = backend.unary(method("Name"))(message("Everything", text="a"))
    await asyncio.sleep(0)

    call.cancel()
    await backend.finish()

    assert call.cancelled()
    assert servicer.finished == []


@pytest.mark.parametrize("name", ["Echo", "Name"])
async def test_a_call_ends_with_its_deadline(name: str, backend: LocalBackend) -> None:
    loop_s = asyncio.get_running_loop().time()
    with correlation.bind(Call("id", deadline_s=loop_s + 0.05)), pytest.raises(DeadlineExceeded):
        await backend.unary(method(name))(message("Everything"))


async def test_what_is_not_implemented_is_found_at_start(backend: LocalBackend) -> None:
    for name in ("Fail", "Publish"):  # missing, and no coroutine
        with pytest.raises(ContractError):
            backend.unary(method(name))
    with pytest.raises(ContractError):
        backend.server_stream(method("Count"))


async def test_a_bug_is_told_to_whoever_waits(backend: LocalBackend, servicer: Servicer) -> None:
    servicer.may_go_on = None  # type: ignore[assignment]

    with pytest.raises(AttributeError):
        await backend.unary(method("Echo"))(message("Everything"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (InvalidInput.of("a", "is odd"), 400, "INVALID_ARGUMENT"),
        (InvalidInput("is odd"), 400, "INVALID_ARGUMENT"),
        (Unauthenticated("who?"), 401, "UNAUTHENTICATED"),
        (PermissionDenied("no"), 403, "PERMISSION_DENIED"),
        (NotFound("none"), 404, "NOT_FOUND"),
        (AlreadyExists("is there"), 409, "ALREADY_EXISTS"),
        (Conflict("changed"), 409, "ABORTED"),
        (FailedPrecondition("unfit"), 422, "FAILED_PRECONDITION"),
        (ResourceExhausted("too much", retry_after_s=2.5), 429, "RESOURCE_EXHAUSTED"),
        (Unavailable("away"), 503, "UNAVAILABLE"),
        (DeadlineExceeded("late"), 504, "DEADLINE_EXCEEDED"),
        (ServiceError("of no kind"), 500, "INTERNAL"),
    ],
)
def test_its_errors_are_told_like_those_of_other_processes(
    error: ServiceError, status: int, code: str
) -> None:
    response = errors.from_service_error(error)

    assert (response.status, response.code) == (status, code)
    assert response.details["reason"] == (error.reason if status != 500 else "INTERNAL")
    has_retry = any(name == b"retry-after" for name, _ in response.headers)
    assert has_retry == (status in {429, 503, 504})


def test_what_an_error_carries_is_told() -> None:
    error = NotFound("none", count=3, last=True)
    invalid = InvalidInput(violations=[FieldViolation("a", "is odd"), FieldViolation("b", "too")])

    response = errors.from_service_error(error)

    assert response.details["metadata"] == {"count": "3", "last": "true"}
    assert response.details["domain"] == "gateway.girih"
    assert len(errors.from_service_error(invalid).details["violations"]) == 2
