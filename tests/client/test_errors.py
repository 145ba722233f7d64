"""Every reason of the contract reaches a class, which tells its numbers and whether to repeat."""

from typing import Any, cast

import grpc
import pytest

from girih.client import (
    AlreadyExists,
    Conflict,
    DataDamaged,
    GirihError,
    InvalidRequest,
    LatticeNotFound,
    LogReplaced,
    NotFound,
    PermissionDenied,
    PlanLimit,
    Unauthenticated,
    Unavailable,
    WorkTooLarge,
)
from girih.client.errors import Refusal
from girih.client.refusals import error_of
from girih.errors.v1 import reasons_pb2 as reasons
from girih.options.v1 import options_pb2 as options

ERRORS: dict[str, options.ErrorOptions] = {
    value.name: value.GetOptions().Extensions[cast("Any", options.error)]
    for value in reasons.ErrorReason.DESCRIPTOR.values
    if value.number
}
OVER_GRPC = {name: error for name, error in ERRORS.items() if error.code}

KINDS = (
    *(AlreadyExists, Conflict, DataDamaged, InvalidRequest, NotFound),
    *(PermissionDenied, Unauthenticated, Unavailable),
)

NOBODY_CALLS = {"UNIMPLEMENTED", "INTERNAL"}
"""The codes of mistakes, ours or the caller's: nothing can be done about them in a program."""


def refused(name: str, **metadata: str) -> GirihError:
    code = grpc.StatusCode[ERRORS[name].code]
    return error_of(Refusal(code=code, message="m", reason=name, metadata=metadata))


@pytest.mark.parametrize("name", OVER_GRPC)
def test_every_reason_reaches_a_class(name: str) -> None:
    error = refused(name)

    is_known = isinstance(error, KINDS) or name in type(error).reasons
    assert is_known or OVER_GRPC[name].code in NOBODY_CALLS
    assert error.reason == name


@pytest.mark.parametrize("name", OVER_GRPC)
def test_what_the_contract_has_repeated_is_repeated_and_nothing_else(name: str) -> None:
    is_repeated = isinstance(refused(name), Unavailable)

    assert is_repeated == (OVER_GRPC[name].retry == options.ErrorOptions.RETRY_SAME_CALL)


def test_numbers_of_a_reason_are_attributes() -> None:
    plan = refused("PLAN_LIMIT", limit="extent", maximum="10", asked="12", plan="free")
    work = refused("WORK_TOO_LARGE", estimate="9007199254740993", limit="4000000000")
    log = refused("LOG_REPLACED", incarnation="i", shared_position="9007199254740993")

    assert isinstance(plan, PlanLimit)
    assert (plan.limit, plan.maximum, plan.asked, plan.plan) == ("extent", 10, 12, "free")
    assert isinstance(work, WorkTooLarge)
    assert (work.estimate, work.limit) == (9_007_199_254_740_993, 4_000_000_000)
    assert isinstance(log, LogReplaced)
    assert (log.shared_position, log.incarnation) == (9_007_199_254_740_993, "i")


def test_a_reason_of_a_later_server_is_told_by_its_code() -> None:
    refusal = Refusal(code=grpc.StatusCode.NOT_FOUND, message="m", reason="DOOR_NOT_FOUND")

    error = error_of(refusal)

    assert type(error) is NotFound
    assert not isinstance(error, LatticeNotFound)
