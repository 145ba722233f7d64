"""The contract lists every reason that is told, and docs/reference/errors.md says what it lists."""

import ast
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages

import grpc
import pytest

import gateway
import services
from docs import errors_table
from gateway.app import read_contract
from gateway.contract.reasons import Reason, reasons_of
from gateway.contract.rules import rules_of
from gateway.http.errors import _TRANSPORT_WORDS, HTTP_STATUSES
from gateway.openapi.document import document as openapi_document
from girih.status_details import MESSAGE_TOO_LARGE
from services.plumbing.errors import InvalidInput, NotFound, PermissionDenied, ServiceError
from services.plumbing.errors import Unavailable as UnavailableError
from services.plumbing.grpc.errors import INTERNAL_REASON, STATUS_CODES, status_code

ROOT = Path(__file__).resolve().parent.parent
CONTRACT = read_contract()
REASONS = {one.name: one for one in reasons_of(CONTRACT)}

_listed = re.compile(r"^  ([A-Z_]+) / ([A-Z_]+(?:, [A-Z_]+)*):", re.MULTILINE)


def sources() -> Iterator[ast.AST]:
    for folder in ("gateway", "services"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "node_modules" not in path.parts:
                yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def named_errors() -> set[type[ServiceError]]:
    """Every class of errors; the kinds themselves only where somebody raises one."""
    for package in (services, gateway):
        for module in walk_packages(package.__path__, f"{package.__name__}."):
            if not module.name.endswith("__main__"):
                import_module(module.name)
    raised = {node.func for node in sources() if isinstance(node, ast.Call)}
    names = {ast.unparse(function).removesuffix(".of") for function in raised}
    kinds = {kind for kind in STATUS_CODES if kind.__name__ in names}
    return kinds | {one for one in _below(ServiceError) if one not in STATUS_CODES and one.reason}


def _below(kind: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for one in kind.__subclasses__():
        # Tests have errors of their own; some classes only stand between others.
        if one.__module__.startswith(("services.", "gateway.")) and "reason" in vars(one):
            yield one
        yield from _below(one)


def http_reasons() -> Iterator[str]:
    """Those that the gateway tells by itself: where `reason` is a text of its source."""
    yield from (reason for _, reason in _TRANSPORT_WORDS.values())
    for node in sources():
        if isinstance(node, ast.Dict):
            for key, value in zip(node.keys, node.values, strict=True):
                if key is not None and ast.unparse(key) == "'reason'":
                    yield from _texts(value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("unavailable"):
            yield from (reason for argument in node.args[1:2] for reason in _texts(argument))


def _texts(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def test_the_page_is_made_of_the_contract() -> None:
    assert errors_table.PAGE.read_text(encoding="utf-8") == errors_table.page(), "run `make docs`"


def test_every_reason_that_the_code_can_tell_is_listed_and_no_other() -> None:
    raised = {error.reason for error in named_errors()} | set(http_reasons())

    assert raised | {INTERNAL_REASON, MESSAGE_TOO_LARGE} == set(REASONS)


def test_a_listed_reason_has_the_statuses_that_it_comes_with() -> None:
    listed = {name: one.code for name, one in REASONS.items() if one.code}
    # A class without what its constructor wants: its kind is all that is asked for.
    raised = {error.reason: status_code(error.__new__(error)).name for error in named_errors()}

    wrong = {name: code for name, code in raised.items() if REASONS[name].code not in (code, "")}
    assert wrong == {}
    # The gateway has one status of its own for what is too large, whoever says so.
    by_code = {name: HTTP_STATUSES[grpc.StatusCode[code]] for name, code in listed.items()}
    assert {name for name, status in by_code.items() if REASONS[name].http_status != status} == {
        MESSAGE_TOO_LARGE
    }


@pytest.mark.parametrize("reason", REASONS.values(), ids=REASONS)
def test_every_reason_says_what_it_means_and_what_to_do(reason: Reason) -> None:
    assert reason.meaning.endswith(".")
    assert reason.remedy.endswith(".")
    assert reason.http_status >= 400


def test_outages_may_be_repeated_and_mistakes_may_not() -> None:
    for error in named_errors():
        again = REASONS[error.reason].retry
        if issubclass(error, UnavailableError):
            assert again == "the same call", error
        if issubclass(error, InvalidInput | NotFound | PermissionDenied):
            assert again == "not unchanged", error


def test_the_comments_of_rpcs_name_listed_reasons_with_their_codes() -> None:
    named = [
        (code, reason)
        for comment in CONTRACT.comments.values()
        for code, reasons in _listed.findall(comment)
        for reason in reasons.split(", ")
    ]

    assert len(named) > 50
    assert [one for one in named if REASONS[one[1]].code != one[0]] == []


def test_openapi_has_every_reason_with_the_status_that_it_comes_with() -> None:
    document = openapi_document(CONTRACT, list(rules_of(CONTRACT)))
    raised = {
        (reason, int(status))
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
        for status, answer in operation["responses"].items()
        for names in re.findall(r"^- (`[^:]*`):", answer.get("description", ""), re.MULTILINE)
        for reason in re.findall(r"[A-Z_]+", names)
    }

    assert len(raised) > 40
    assert [one for one in raised if REASONS[one[0]].http_status != one[1]] == []
