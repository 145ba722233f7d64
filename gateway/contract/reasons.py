"""Why calls fail, as the contract lists it: `girih.errors.v1.ErrorReason`. Knows no call."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.contract.descriptors import Contract, error_options
from girih.options.v1.options_pb2 import ErrorOptions

ENUM = "girih.errors.v1.ErrorReason"

RETRIES: dict[int, str] = {
    ErrorOptions.RETRY_NEVER: "not unchanged",
    ErrorOptions.RETRY_SAME_CALL: "the same call",
    ErrorOptions.RETRY_NEW_TOKEN: "with another token",
    ErrorOptions.RETRY_READ_AGAIN: "after reading again",
}
"""For people: which call may be made again."""


@dataclass(frozen=True)
class Reason:
    """One reason, with the words for people."""

    name: str
    code: str
    """The status of gRPC; empty for what only the gateway says."""
    http_status: int
    retry: str
    """One of `RETRIES`."""
    meaning: str
    remedy: str


def reasons_of(contract: Contract) -> Iterator[Reason]:
    """Every reason, in the order of the contract; none where it lists none."""
    try:
        enum = contract.pool.FindEnumTypeByName(ENUM)
    except KeyError:
        return
    for value in enum.values:
        if value.number == 0:
            continue
        error = error_options(value)
        yield Reason(
            name=value.name,
            code=error.code,
            http_status=error.http_status,
            retry=RETRIES[error.retry],
            meaning=" ".join(contract.comment(f"{ENUM}.{value.name}").split()),
            remedy=error.remedy,
        )
