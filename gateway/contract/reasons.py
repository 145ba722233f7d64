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

_PHRASES = {
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    409: "Conflict",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
}
"""As RFC 9110 and RFC 6585 have them; Python's own differ between its versions."""


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

    @property
    def status(self) -> str:
        """The status of HTTP for people: "404 Not Found"."""
        return f"{self.http_status} {_PHRASES[self.http_status]}"


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
