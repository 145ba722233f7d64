"""What things of the contract are called in the document.

Generators make names of types, functions and variables of these. So they hold no dots, and
stay the same when the contract grows.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

from google.protobuf.descriptor import Descriptor, EnumDescriptor

from gateway.contract.rules import Rule, resolve
from gateway.transcoding.query import Fields, json_path

_TAKEN: Final = {"stream": "streamName"}
"""Path parameters that are called otherwise here: clients of orval keep the answer of a call
that is answered by lines in a variable `stream`. A name in a path is in no request."""


def operation_id(rule: Rule) -> str:
    service = rule.method.containing_service
    assert service is not None, "every method is of a service"
    return f"{service.name}_{rule.method.name}{_binding_suffix(rule)}"


def body_name(rule: Rule) -> str:
    """Of the schema of a request's body, which holds what the path does not."""
    return f"{rule.method.name}{_binding_suffix(rule)}Request"


def path(rule: Rule) -> str:
    """The template with JSON names and without patterns: `/v1/lattices/{latticeId}:findPath`."""

    def name(match: "re.Match[str]") -> str:
        return f"{{{path_parameter(resolve(rule.method.input_type, match[1]))}}}"

    return re.sub(r"\{([a-z0-9_.]+)(?:=[^{}]+)?\}", name, rule.template.text)


def path_parameter(fields: Fields) -> str:
    name = json_path(fields)
    return _TAKEN.get(name, name)


def schema_names(
    descriptors: Iterable[Descriptor | EnumDescriptor], taken: Collection[str]
) -> dict[str, str]:
    """The schema of each message and enum, by its full name.

    The name it has in its package, or, when that is taken or two packages have one, with the
    package in front of it.
    """
    own = {one.full_name: _camel(_in_package(one)) for one in descriptors}
    counts = Counter([*own.values(), *taken])
    return {
        full_name: name if counts[name] == 1 else _camel(full_name)
        for full_name, name in own.items()
    }


def _in_package(descriptor: Descriptor | EnumDescriptor) -> str:
    return descriptor.full_name.removeprefix(f"{descriptor.file.package}.")


def _camel(dotted: str) -> str:
    """`events.v1.Event` as `EventsV1Event`."""
    return "".join(f"{part[0].upper()}{part[1:]}" for part in dotted.split("."))


def _binding_suffix(rule: Rule) -> str:
    """What tells a further route of a method from its first: what its path names, or its verb."""
    if not rule.binding_index:
        return ""
    words = "_".join(variable.field_path for variable in rule.template.variables)
    named = "".join(word.title() for word in re.split(r"[._]", words))
    return f"By{named}" if named else f"As{rule.http_method.title()}"
