"""The errors that a comment of the contract lists, each as `  CODE / REASON: what to do`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from google.protobuf.descriptor import MethodDescriptor
from google.rpc.code_pb2 import Code

from gateway.contract.descriptors import Contract


@dataclass(frozen=True)
class ListedError:
    """What an rpc may end with, as its author says it."""

    code: str
    """The status of gRPC: "ABORTED"."""
    reasons: tuple[str, ...]
    text: str


def errors_of(contract: Contract, method: MethodDescriptor) -> Iterator[ListedError]:
    """Those of the rpc's comment, and of the rpc that its comment says it fails like."""
    comment = contract.comment(method.full_name)
    yield from listed_errors(comment)
    alike = _fails_as.search(comment)
    if alike and method.containing_service is not None:
        yield from errors_of(contract, method.containing_service.methods_by_name[alike[1]])


def listed_errors(comment: str) -> Iterator[ListedError]:
    """Those that one comment lists."""
    for code, reasons, text in _listed_error.findall(comment):
        if code in _CODES:
            yield ListedError(code, tuple(reasons.split(", ")), " ".join(text.split()))


def without_errors(comment: str) -> str:
    """The comment without its list of errors."""
    return _error_list.sub("", comment).strip()


_CODES = frozenset(Code.keys())

_listed_error = re.compile(
    r"^  ([A-Z_]+) / ([A-Z_]+(?:, [A-Z_]+)*): ((?:.+\n?)(?:^    .+\n?)*)", re.MULTILINE
)

_fails_as = re.compile(r"^Errors: as (\w+)", re.MULTILINE)

_error_list = re.compile(r"\s*(^Errors:|Every\s+rpc\s+may\s+answer).*\n?(^  .+\n?)*", re.MULTILINE)
