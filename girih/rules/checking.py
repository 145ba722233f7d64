"""Whether a message keeps the rules of its contract, compiled once per message type.

`MessageCheck.holds` is for every message: its predicates are methods of C wherever they can
be, and no path is built. `all_hold` is for many at once, field by field: what is equal is looked
at once. `examine` is for those that do not hold: it names every bad field.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from keyword import iskeyword
from operator import attrgetter
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from girih.options.v1 import options_pb2
from girih.rules.together import rules_together
from girih.rules.violations import Violations
from girih.rules.words import (
    FieldRules,
    enum_numbers,
    may_be_zero,
    pattern_of,
    requires_one,
    rules_of,
    value_words,
)

Predicate = Callable[[Any], object]
"""Whether a value is as it must be, as what is true or false."""
Predicates = Callable[[Iterable[Any]], object]
"""The same of several values: whether each is."""
Examine = Callable[[Any, str, Violations], None]
"""Adds what is wrong with a value at a path, which ends where the value is."""

_INT64_MAX = 2**63 - 1


def is_required(field: FieldDescriptor) -> bool:
    """Whether a message that leaves the field out is refused."""
    rules = rules_of(field)
    if rules.required or field.has_presence:
        return bool(rules.required)
    value = _value(field, rules, {})
    return value is not None and not value.holds(value.default)


def add_violations(message: Message, violations: Violations) -> None:
    """Add the bad fields of `message`."""
    compiled = check_of(message.DESCRIPTOR)
    if not compiled.holds(message):
        compiled.examine(message, "", violations)


def add_count_violations(message: Message, name: str, violations: Violations) -> None:
    """Add what is wrong with the number of items of a repeated field, and look at none of them."""
    least, most = _count_bounds(message.DESCRIPTOR, name)
    if not least <= len(getattr(message, name)) <= most:
        field: Any = message.DESCRIPTOR.fields_by_name[name]
        violations.add(name, value_words(field, rules_of(field)))


@cache
def _count_bounds(descriptor: Descriptor, name: str) -> tuple[int, float]:
    rules = rules_of(descriptor.fields_by_name[name])
    return rules.repeated.min_items, _items_max(rules)


@cache
def check_of(descriptor: Descriptor) -> "MessageCheck":
    """The rules of a message type. Raises ValueError for rules that cannot be checked."""
    return _compiled(descriptor, {})


class MessageCheck:
    """The rules of one message type."""

    def __init__(self) -> None:
        self._terms: list[str] = []
        self._terms_of_all: list[str] = []
        self._names: dict[str, Predicate] = {}
        self._examines: list[Examine] = []
        self.holds: Predicate = _holds_always
        """Tells whether a message of this type keeps all rules."""
        self.all_hold: Predicate = _holds_always
        """Tells whether each message of a sequence does. Takes half as long as to ask for each."""
        self.is_empty = False
        """Every message keeps them. Known once it is complete."""

    def add_value(self, name: str, value: "_Value") -> None:
        """One more rule, of the value of a field."""
        predicate = self._named(value.holds)
        read = f"getattr(message, {name!r})" if iskeyword(name) else f"message.{name}"
        may_be_empty = value.holds(value.default)
        shortcut = f"not (value := {read}) or {predicate}(value)"
        self._terms.append(f"({shortcut})" if may_be_empty else f"{predicate}({read})")
        get, examine = attrgetter(name), value.examine
        values = f"map({self._named(get)}, messages)"
        if may_be_empty:
            values = f"filter(None, {values})"
        self._terms_of_all.append(f"{self._named(value.all_hold)}({values})")
        self._examines.append(lambda m, path, bad: examine(get(m), path + name, bad))

    def add(self, holds: Predicate, examine: Examine) -> None:
        """One more rule, of the message itself."""
        predicate = self._named(holds)
        self._terms.append(f"{predicate}(message)")
        self._terms_of_all.append(f"all(map({predicate}, messages))")
        self._examines.append(examine)

    def examine(self, message: Any, path: str, violations: Violations) -> None:  # noqa: ANN401
        """Add the bad fields of `message`, each behind `path`, until there are enough."""
        for examine in self._examines:
            if violations.is_full:
                return
            examine(message, path, violations)

    def _named(self, function: Predicate) -> str:
        name = f"function_{len(self._names)}"
        self._names[name] = function
        return name

    def complete(self) -> None:
        """Make one function of all rules, as a loop over them takes twice as long."""
        self.is_empty = not self._terms
        if self._terms:
            one = f"lambda message: {' and '.join(self._terms)}"
            self.holds = eval(one, self._names)  # noqa: S307 - of names of fields alone
            each = f"lambda messages: {' and '.join(self._terms_of_all)}"
            self.all_hold = eval(each, self._names)  # noqa: S307 - the same


@dataclass(frozen=True)
class _Value:
    """What a single value must be: a field's, an item's, a key's."""

    holds: Predicate
    all_hold: Predicates
    examine: Examine
    default: object


def _compiled(descriptor: Descriptor, known: dict[str, MessageCheck]) -> MessageCheck:
    compiled = known.get(descriptor.full_name)
    if compiled is not None:
        return compiled
    # Before its fields, which may hold messages of the same type.
    compiled = known[descriptor.full_name] = MessageCheck()
    for field in descriptor.fields:
        _add_field(compiled, field, known)
    for oneof in descriptor.oneofs:
        if requires_one(oneof):
            members = " or ".join(field.name for field in oneof.fields)
            _add_oneof(compiled, oneof.name, members)
    for holds, examine in rules_together(descriptor):
        compiled.add(holds, examine)
    compiled.complete()
    return compiled


def _add_oneof(compiled: MessageCheck, name: str, members: str) -> None:
    def holds(message: Message) -> bool:
        return message.WhichOneof(name) is not None

    def examine(message: Message, path: str, violations: Violations) -> None:
        if not holds(message):
            violations.add(path + name, f"must be given, as {members}")

    compiled.add(holds, examine)


def _add_field(
    compiled: MessageCheck, field: FieldDescriptor, known: dict[str, MessageCheck]
) -> None:
    rules, name = rules_of(field), field.name
    value = _value(field, rules, known)
    if field.has_presence:
        _add_with_presence(compiled, name, value, is_required=rules.required)
    elif value is not None:
        compiled.add_value(name, value)


def _add_with_presence(
    compiled: MessageCheck, name: str, value: _Value | None, *, is_required: bool
) -> None:
    if value is None and not is_required:
        return
    get = attrgetter(name)

    def holds(message: Message) -> object:
        if not message.HasField(name):
            return not is_required
        return value is None or value.holds(get(message))

    def examine(message: Message, path: str, violations: Violations) -> None:
        if message.HasField(name):
            if value is not None:
                value.examine(get(message), path + name, violations)
        elif is_required:
            violations.add(path + name, "must be given")

    compiled.add(holds, examine)


def _value(
    field: FieldDescriptor, rules: FieldRules, known: dict[str, MessageCheck]
) -> _Value | None:
    if not field.is_repeated:
        return _single(field, rules, known)
    return _map(field, rules) if _is_map(field) else _list(field, rules, known)


def _single(
    field: FieldDescriptor, rules: FieldRules, known: dict[str, MessageCheck]
) -> _Value | None:
    """The rules of one value of a field; None where it has none."""
    if field.message_type is not None:
        nested = _compiled(field.message_type, known)
        if nested.is_empty:
            return None
        holds_nested = _holds_nested(nested)
        return _Value(holds_nested, _each(holds_nested), _examine_nested(nested), default=None)
    predicates = list(_predicates(field, rules))
    if not predicates:
        return None
    holds, words = _all_of(predicates), value_words(field, rules)
    form = _form_of(rules.string)
    all_hold = _all_of_form(form) if form and len(predicates) == 1 else _each_once(holds)

    def examine(value: object, path: str, violations: Violations) -> None:
        if not holds(value):
            violations.add(path, words)

    return _Value(holds, all_hold, examine, field.default_value)


def _each(holds: Predicate) -> Predicates:
    return lambda values: all(map(holds, values))


def _each_once(holds: Predicate) -> Predicates:
    """Of values that can be in a set: in many messages the same recurs."""
    return lambda values: all(map(holds, set(values)))


def _holds_nested(nested: MessageCheck) -> Predicate:
    def holds(message: object) -> object:
        # Looked up now: a type that holds itself was not complete before.
        return nested.holds(message)

    return holds


def _examine_nested(nested: MessageCheck) -> Examine:
    return lambda message, path, violations: nested.examine(message, f"{path}.", violations)


def _list(
    field: FieldDescriptor, rules: FieldRules, known: dict[str, MessageCheck]
) -> _Value | None:
    bounds = rules.repeated
    item = _single(field, bounds.items, known)
    least = bounds.min_items
    most = _items_max(rules)
    if item is None and not rules.HasField("repeated"):
        return None
    words, is_unique = value_words(field, rules), bounds.unique
    fits = _holds_always if item is None else item.holds

    def holds(items: Sequence[Any]) -> bool:
        count = len(items)
        return (
            least <= count <= most
            and all(map(fits, items))
            and not (is_unique and len(set(items)) < count)
        )

    def examine(items: Sequence[Any], path: str, violations: Violations) -> None:
        if not least <= len(items) <= most:
            violations.add(path, words)
            return
        if item is not None:
            _examine_items(item, items, path, violations)
        if is_unique:
            _examine_repeated(items, path, violations)

    return _Value(holds, _each(holds), examine, default=())


def _examine_items(item: _Value, items: Sequence[Any], path: str, violations: Violations) -> None:
    for index, one in enumerate(items):
        if violations.is_full:
            return
        if not item.holds(one):
            item.examine(one, f"{path}[{index}]", violations)


def _examine_repeated(items: Sequence[Any], path: str, violations: Violations) -> None:
    seen: set[Any] = set()
    for index, one in enumerate(items):
        if one in seen:
            violations.add(f"{path}[{index}]", "must not be given twice")
        seen.add(one)


def _map(field: FieldDescriptor, rules: FieldRules) -> _Value | None:
    if not rules.HasField("map"):
        return None
    bounds = rules.map
    assert field.message_type is not None, "a map"
    entry = field.message_type.fields_by_name
    key = _single(entry["key"], bounds.keys, {})
    value = _single(entry["value"], bounds.values, {})
    most = bounds.max_pairs if bounds.HasField("max_pairs") else _INT64_MAX
    words = value_words(field, rules)
    each_key = f"each key {value_words(entry['key'], bounds.keys)}"

    def holds(pairs: Mapping[Any, Any]) -> bool:
        return not pairs or (
            len(pairs) <= most
            and (key is None or all(map(key.holds, pairs)))
            and (value is None or all(map(value.holds, pairs.values())))
        )

    def examine(pairs: Mapping[Any, Any], path: str, violations: Violations) -> None:
        if len(pairs) > most:
            violations.add(path, words)
            return
        for name, one in pairs.items():
            if key is not None and not key.holds(name):
                violations.add(path, each_key)
            elif value is not None and not value.holds(one):
                value.examine(one, f"{path}[{name}]", violations)

    return _Value(holds, _each(holds), examine, default={})


def _predicates(field: FieldDescriptor, rules: FieldRules) -> Iterator[Predicate]:
    kind = rules.WhichOneof("type")
    if kind == "string":
        yield from _string_predicates(rules.string, is_optional=may_be_zero(rules))
    elif kind is not None:
        holds = _PREDICATES[kind](field, rules)
        yield _or_zero(holds) if may_be_zero(rules) else holds
    if rules.required:
        yield bool


def _string_predicates(rules: options_pb2.StringRules, *, is_optional: bool) -> Iterator[Predicate]:
    """Length and pattern in one regular expression, which takes one call of C."""
    most = rules.max_len if rules.HasField("max_len") else None
    pattern = pattern_of(rules)
    if form := _form_of(rules):
        yield _of_form(form, is_optional=is_optional)
    elif rules.min_len or most is not None or pattern:
        empty = r"\Z|" if is_optional else ""
        count = f"{{{rules.min_len},{'' if most is None else most}}}"
        match = re.compile(f"(?:{empty}{_whole(pattern, count)})").match
        yield match if most is None or pattern != _LINE else _line(match, rules.min_len, most)
    if names := frozenset(getattr(rules, "in")):
        yield (names | {""} if is_optional else names).__contains__
    if rules.HasField("min_bytes") or rules.HasField("max_bytes"):
        bytes_min = rules.min_bytes
        bytes_max = rules.max_bytes if rules.HasField("max_bytes") else _INT64_MAX
        yield lambda text: bytes_min <= len(text.encode()) <= bytes_max


_LINE = r"^[^\x00-\x1f\x7f-\x9f]*$"


def _line(match: Predicate, least: int, most: int) -> Predicate:
    """`match` for lines: what is printable is one, and five times as quick to tell."""

    def holds(text: str) -> object:
        return (least <= len(text) <= most and text.isprintable()) or match(text)

    return holds


def _form_of(rules: options_pb2.StringRules) -> bytes:
    """Where texts of hex digits and hyphens have which, `0` for a digit, when that is all that is
    said of them; else nothing.
    """
    pattern = pattern_of(rules)
    if rules.min_len or rules.HasField("max_len") or not _is_of_digits(pattern):
        return b""
    parts = re.findall(r"\{(\d+)\}|(?<=\})(-)", pattern)
    return b"".join(b"0" * int(count) if count else b"-" for count, _ in parts)


_is_of_digits = re.compile(r"\^(?:\[0-9a-f\]\{\d+\}-?)+\$").fullmatch


_HEX_DIGITS_AS_0 = bytes(
    ord("0") if chr(byte) in "0123456789abcdef" else byte * (byte == ord("-"))
    for byte in range(256)
)


def _of_form(form: bytes, *, is_optional: bool) -> Predicate:
    """As its regular expression would tell, in half of the time."""

    def holds(text: str) -> bool:
        return text.encode().translate(_HEX_DIGITS_AS_0) == form or (is_optional and not text)

    return holds


def _all_of_form(form: bytes) -> Predicates:
    """The same of several that are not empty, with one look at all."""
    length = len(form)

    def all_hold(values: Iterable[str]) -> bool:
        texts = list(values)
        together = "".join(texts).encode()
        return set(map(len, texts)) <= {length} and together.translate(
            _HEX_DIGITS_AS_0
        ) == form * len(texts)

    return all_hold


_of_one_class = re.compile(r"\^(\[[^\]]+\])\*\$").fullmatch


def _whole(pattern: str, count: str) -> str:
    """A regular expression of strings that are `count` characters and match `pattern`."""
    if single := _of_one_class(pattern):
        return rf"{single[1]}{count}\Z"
    if not pattern:
        return rf"[\s\S]{count}\Z"
    length = "" if count == "{0,}" else rf"(?=[\s\S]{count}\Z)"
    return rf"{length}(?:{pattern[1:-1]})\Z"


def _integer_predicate(_field: FieldDescriptor, rules: FieldRules) -> Predicate:
    bounds = getattr(rules, rules.WhichOneof("type"))
    if bounds.HasField("gte") and not bounds.HasField("lte"):
        return int(bounds.gte).__le__
    least = bounds.gte if bounds.HasField("gte") else -_INT64_MAX - 1
    most = bounds.lte if bounds.HasField("lte") else _INT64_MAX
    return range(least, most + 1).__contains__


def _double_predicate(_field: FieldDescriptor, rules: FieldRules) -> Predicate:
    bounds = rules.double
    least = bounds.gte if bounds.HasField("gte") else -math.inf
    above = bounds.gt if bounds.HasField("gt") else None
    most = bounds.lte if bounds.HasField("lte") else math.inf
    below = bounds.lt if bounds.HasField("lt") else None

    def holds(value: float) -> bool:
        return (
            least <= value <= most
            and (above is None or above < value)
            and (below is None or value < below)
            and (not bounds.finite or math.isfinite(value))
        )

    return holds


def _bytes_predicate(_field: FieldDescriptor, rules: FieldRules) -> Predicate:
    bytes_max = rules.bytes.max_len
    return lambda value: len(value) <= bytes_max


def _enum_predicate(field: FieldDescriptor, rules: FieldRules) -> Predicate:
    assert field.enum_type is not None, "rules of an enum are on a field of one"
    if not rules.enum.defined_only:
        raise ValueError(f"{field.full_name}: enum rules need defined_only")
    return frozenset(enum_numbers(field.enum_type, rules.enum)).__contains__


_PREDICATES: Mapping[str, Callable[[FieldDescriptor, FieldRules], Predicate]] = {
    "double": _double_predicate,
    "int32": _integer_predicate,
    "int64": _integer_predicate,
    "bytes": _bytes_predicate,
    "enum": _enum_predicate,
}


def _all_of(predicates: Sequence[Predicate]) -> Predicate:
    if len(predicates) == 1:
        return predicates[0]
    return lambda value: all(holds(value) for holds in predicates)


def _or_zero(holds: Predicate) -> Predicate:
    return lambda value: not value or holds(value)


def _items_max(rules: FieldRules) -> int:
    return rules.repeated.max_items if rules.repeated.HasField("max_items") else _INT64_MAX


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _holds_always(_message: object) -> bool:
    return True
