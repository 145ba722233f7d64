"""Refuses messages that break the rules of the contract, which `girih.rules` knows."""

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from girih.rules.checking import add_violations
from girih.rules.words import body_media_types
from services.plumbing.errors import Violations

__all__ = ["add_media_type_violation", "add_violations", "check"]


def check(message: Message) -> None:
    """Raise `InvalidInput` with the bad fields of `message`, as many as `Violations` keeps."""
    violations = Violations()
    add_violations(message, violations)
    violations.raise_if_any()


def add_media_type_violation(
    content_type: str, method: MethodDescriptor, violations: Violations
) -> None:
    """Add it where the `body` of a request, of this type, is none that `method` takes."""
    types = body_media_types(method)
    if content_type not in ("", *types):
        violations.add("body.content_type", f"must be one of {', '.join(types)}")
