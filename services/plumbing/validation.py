"""Refuses messages that break the rules of the contract, which `girih.rules` knows."""

from google.protobuf.message import Message

from girih.rules.checking import add_violations
from services.plumbing.errors import Violations

__all__ = ["add_violations", "check"]


def check(message: Message) -> None:
    """Raise `InvalidInput` with the bad fields of `message`, as many as `Violations` keeps."""
    violations = Violations()
    add_violations(message, violations)
    violations.raise_if_any()
