"""Which fields of a message go together, as the option `girih.options.v1.message` says: checked,
and in words. Knows no rule of a single field.

A field is given when it is set, or holds another value than its default where it has no presence.
"""

from collections.abc import Callable, Collection, Iterator
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from girih.options.v1 import options_pb2
from girih.rules.violations import Violations

Given = Callable[[Message], bool]
Rule = tuple[Given, Callable[[Message, str, Violations], None]]
"""Whether a message keeps it; what adds what is wrong with one at a path, which ends with a dot
where the message is in another."""


def message_rules_of(message: Descriptor) -> options_pb2.MessageRules:
    """Which fields of a message go together. Raises ValueError for a name that is no field's."""
    options: Any = message.GetOptions()
    rules: options_pb2.MessageRules = options.Extensions[options_pb2.message]
    names = [name for rule in rules.oneof for name in rule.fields]
    names += [name for rule in rules.any for name in rule.fields]
    names += [name for rule in rules.need for name in (rule.field, rule.needs)]
    if strangers := set(names) - set(message.fields_by_name):
        raise ValueError(f"{message.full_name} has no field {', '.join(sorted(strangers))}")
    return rules


def rules_together(message: Descriptor) -> Iterator[Rule]:
    rules = message_rules_of(message)
    for one_of in rules.oneof:
        yield _one_of(message, one_of)
    for need in rules.need:
        yield _need(message, need)
    for any_of in rules.any:
        yield _any_of(message, any_of)


def words_together(message: Descriptor, elsewhere: Collection[str] = ()) -> Iterator[str]:
    """What must hold, a sentence for each rule: "`a` is given only with `b`."

    Not of fields that are told `elsewhere`.
    """
    rules = message_rules_of(message)
    for one_of in rules.oneof:
        if not set(one_of.fields) & set(elsewhere):
            count = "One" if one_of.required else "At most one"
            yield f"{count} of {_quoted(one_of.fields)} is given."
    for need in rules.need:
        if need.needs not in elsewhere:
            yield f"`{need.field}` is given only with `{need.needs}`."
    for any_of in rules.any:
        yield f"At least one of {_quoted(any_of.fields)} is given."


def _quoted(names: Any) -> str:  # noqa: ANN401 - strings of a message
    *first, last = [f"`{name}`" for name in names]
    return f"{', '.join(first)} and {last}"


def _one_of(message: Descriptor, rule: options_pb2.MessageOneofRule) -> Rule:
    given = [_is_given(message.fields_by_name[name]) for name in rule.fields]
    least = 1 if rule.required else 0
    first, others = rule.fields[0], " or ".join(rule.fields[1:])

    def holds(message: Message) -> bool:
        return least <= sum([is_given(message) for is_given in given]) <= 1

    def examine(message: Message, path: str, violations: Violations) -> None:
        names = [
            name for name, is_given in zip(rule.fields, given, strict=True) if is_given(message)
        ]
        if len(names) > 1:
            violations.add(path + names[0], f"must not be given beside {' and '.join(names[1:])}")
        elif len(names) < least:
            violations.add(path + first, f"must be given, or {others}")

    return holds, examine


def _need(message: Descriptor, rule: options_pb2.MessageNeedRule) -> Rule:
    is_given = _is_given(message.fields_by_name[rule.field])
    is_there = _is_given(message.fields_by_name[rule.needs])

    def holds(message: Message) -> bool:
        return is_there(message) or not is_given(message)

    def examine(message: Message, path: str, violations: Violations) -> None:
        if not holds(message):
            violations.add(path + rule.needs, f"must be given with {rule.field}")

    return holds, examine


def _any_of(message: Descriptor, rule: options_pb2.MessageAnyRule) -> Rule:
    given = [_is_given(message.fields_by_name[name]) for name in rule.fields]
    words = f"must have one or more of {', '.join(rule.fields)}"

    def holds(message: Message) -> bool:
        return any(is_given(message) for is_given in given)

    def examine(message: Message, path: str, violations: Violations) -> None:
        if not holds(message):
            violations.add(path.removesuffix(".") or rule.fields[0], words)

    return holds, examine


def _is_given(field: FieldDescriptor) -> Given:
    name = field.name
    if field.has_presence:
        return lambda message: message.HasField(name)
    get = attrgetter(name)
    return lambda message: bool(get(message))
