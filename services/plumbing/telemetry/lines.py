"""The lines that all parts of the system write alike: of the database, of other processes, of what
tenants do that matters to the business, and of what happens to security.

A line has the fields that are named here, so that one query finds all of a kind (see
docs/operate/logs.md). Texts are constants: what differs from one line to the next is in fields, and
nothing of what callers send.
"""

from typing import Final

from services.plumbing.errors import Scalar
from services.plumbing.logging import get_logger

SLOW_S: Final = 2.0
"""Whatever takes longer is told as a warning: a call that is served, a statement, a call of
another process. Streams apart, which last as long as they are wanted."""

_database = get_logger("database")
_dependency = get_logger("dependency")
_business = get_logger("business")
_security = get_logger("security")


def is_slow(duration_s: float) -> bool:
    return duration_s > SLOW_S


def slow_statement(statement: str, duration_s: float, problem: str = "") -> None:
    """A statement took long: its name, never its text or its values. `problem` is the class of the
    error that it ended with, if it did."""
    _database.warning(
        "a statement was slow",
        statement=statement,
        duration_ms=_milliseconds(duration_s),
        **({"problem": problem} if problem else {}),
    )


def slow_dependency(method: str, duration_s: float, status: str) -> None:
    """A call of another process took long: the path of its rpc, and the code that it ended with."""
    _dependency.warning(
        "a call of another process was slow",
        method=method,
        duration_ms=_milliseconds(duration_s),
        status=status,
    )


def business(what: str, /, **fields: Scalar) -> None:
    """Something happened that people ask about later: who changed what. `what` is a constant."""
    _business.info(what, **fields)


def security(what: str, /, **fields: Scalar) -> None:
    """Something happened to security. Never a secret, nor a part of one."""
    _security.info(what, **fields)


def refusal(what: str, /, **fields: Scalar) -> None:
    """Somebody was refused something for who they are: a line of security, as a warning."""
    _security.warning(what, **fields)


def _milliseconds(duration_s: float) -> float:
    return round(duration_s * 1e3, 3)
