"""From `google.api.http` rules to a table of routes. Knows paths, and not how a call is made.

A template's literals match as they are, `{field}` one segment, `{field=a/*}` what it says,
and `**` the rest. Where several templates match a path, the most literal one wins, whatever
its methods.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Generic, TypeVar
from urllib.parse import unquote

from google.api import http_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor

from gateway.contract.descriptors import (
    HTTP_BODY,
    Contract,
    ContractError,
    header_of,
    http_rules,
)
from gateway.contract.streams import stream_shape
from girih.rules.together import message_rules_of

_PATTERNS = ("get", "put", "post", "delete", "patch")
_BODILESS = frozenset({"GET", "DELETE"})

_variable = re.compile(r"\{([a-z0-9_.]+)(?:=([^{}]+))?\}")
_literal = re.compile(r"[A-Za-z0-9._~$-]+")
_SEGMENT = "[^/]+"

WHOLE_BODY = "*"


@dataclass(frozen=True)
class Variable:
    """A part of the path that is the value of a field."""

    field_path: str
    """In proto names, such as `lattice_id` or `start.name`."""
    pattern: str
    """A regular expression for the part, still percent-encoded."""


@dataclass(frozen=True)
class Template:
    """A path with variables."""

    text: str
    variables: tuple[Variable, ...]
    pattern: str
    """A regular expression with one group per variable."""
    specificity: tuple[int, ...]
    """Of two templates that match a path, the one with the lesser value is meant."""

    @classmethod
    def parse(cls, text: str) -> "Template":
        """Raises ContractError for what is no template."""
        matches = list(_variable.finditer(text))
        variables = tuple(
            Variable(match[1], _segments_pattern(match[2] or "*", text)) for match in matches
        )
        literals = _variable.split(text)[::3]
        _check_literals(literals, text)
        pattern = re.escape(literals[0]) + "".join(
            f"({_before(literal, variable.pattern)}){re.escape(literal)}"
            for variable, literal in zip(variables, literals[1:], strict=True)
        )
        return cls(text, variables, pattern, _specificity(text))

    @property
    def verb(self) -> str:
        """What every path that it matches has behind its last colon; empty where that is open."""
        end = self.text.rpartition("}")[2]
        return end.rpartition(":")[2] if ":" in end else ""


@dataclass(frozen=True)
class Rule:
    """One way to call a method through HTTP."""

    method: MethodDescriptor
    http_method: str
    template: Template
    body: str
    """`*`, the name of the field that the body is, or empty when there is no body."""
    response_body: str
    """The name of the field that the answer's body is, or empty when it is all of them."""
    binding_index: int
    """0 for the rule itself, 1 and more for its additional bindings."""

    @property
    def is_event_stream(self) -> bool:
        """Whether a browser's `EventSource` can read the route."""
        is_body = self.method.output_type.full_name == HTTP_BODY
        return self.http_method == "GET" and self.method.server_streaming and not is_body

    @property
    def takes_bytes(self) -> bool:
        """Whether its body is bytes of any type, which no JSON stands for."""
        if self.body in ("", WHOLE_BODY):
            return False
        message = resolve(self.method.input_type, self.body)[-1].message_type
        return message is not None and message.full_name == HTTP_BODY

    @property
    def outside_query(self) -> set[str]:
        """The fields that no query tells: path, headers and body do, or they are never given beside
        one that is in the path."""
        in_path = {variable.field_path for variable in self.template.variables}
        one_of = [set(rule.fields) for rule in message_rules_of(self.method.input_type).oneof]
        never = set().union(*(fields for fields in one_of if fields & in_path))
        return in_path | never | {self.body, *self.headers.values()}

    @property
    def headers(self) -> Mapping[str, str]:
        """The fields of the request that headers tell, by the names of these."""
        fields = self.method.input_type.fields
        return {header_of(field): field.name for field in fields if header_of(field)}

    @property
    def answer(self) -> Descriptor:
        """The message that an answer shows."""
        if not self.response_body:
            return self.method.output_type
        answer = resolve(self.method.output_type, self.response_body)[-1].message_type
        assert answer is not None, "checked when the rule was read"
        return answer


def rules_of(contract: Contract) -> Iterator[Rule]:
    """Every http rule of the contract; raises ContractError for one that cannot be served."""
    for service in contract.services:
        for method in service.methods:
            for index, http in enumerate(http_rules(method)):
                yield _rule(method, http, index)


def resolve(message: Descriptor, field_path: str) -> tuple[FieldDescriptor, ...]:
    """The fields that lead from `message` to `a.b.c`; raises ContractError."""
    fields: list[FieldDescriptor] = []
    parent: Descriptor | None = message
    for name in field_path.split("."):
        field = parent.fields_by_name.get(name) if parent is not None else None
        if field is None:
            raise ContractError(f"{message.full_name} has no field {field_path}")
        fields.append(field)
        parent = None if field.is_repeated else field.message_type
    return tuple(fields)


Target = TypeVar("Target")
Captured = tuple[str, ...]
_Ranked = tuple[int, Template, Mapping[str, Target]]
"""A template and what it leads to. Of two that match a path, the one with the lesser rank is
meant."""


class Routes(Generic[Target]):
    """Finds what a path leads to: templates without variables by their text, and others by regular
    expressions, those with a verb only where the path ends with it.

    A collection may have dozens of verbs, and each that is tried goes back through the whole id.
    """

    def __init__(self, entries: Iterable[tuple[str, Template, Target]]) -> None:
        by_pattern: dict[str, tuple[Template, dict[str, Target]]] = {}
        for http_method, template, target in sorted(entries, key=lambda one: one[1].specificity):
            by_pattern.setdefault(template.pattern, (template, {}))[1][http_method] = target
        ranked: list[_Ranked[Target]] = [
            (rank, template, targets)
            for rank, (template, targets) in enumerate(by_pattern.values())
        ]
        self._targets = [targets for _, _, targets in ranked]
        by_verb: dict[str, list[_Ranked[Target]]] = {}
        for one in ranked:
            if one[1].variables:
                by_verb.setdefault(one[1].verb, []).append(one)
        self._verbless = _Alternatives(by_verb.pop("", []))
        self._by_verb = {verb: _Alternatives(some) for verb, some in by_verb.items()}
        self._literal = {
            template.text: self._of_literal(rank, template.text, targets)
            for rank, template, targets in ranked
            if not template.variables
        }

    @property
    def methods(self) -> frozenset[str]:
        """The HTTP methods that some path has."""
        return frozenset(chain.from_iterable(self._targets))

    def find(self, raw_path: str) -> "Match[Target] | None":
        """What a percent-encoded path leads to; None when it leads nowhere."""
        literal = self._literal.get(raw_path)
        if literal is not None:
            return literal
        best = self._best(raw_path)
        return None if best is None else best[1]

    def _of_literal(self, rank: int, text: str, targets: Mapping[str, Target]) -> "Match[Target]":
        best = self._best(text)
        return Match(targets, ()) if best is None or best[0] > rank else best[1]

    def _best(self, raw_path: str) -> "tuple[int, Match[Target]] | None":
        """What a path leads to by templates with variables, and the rank of the one that is
        meant."""
        alternatives = self._by_verb.get(raw_path.rpartition(":")[2])
        best = None if alternatives is None else alternatives.find(raw_path)
        if best is not None and best[0] < self._verbless.rank_min:
            return best
        other = self._verbless.find(raw_path)
        return other if best is None or (other is not None and other[0] < best[0]) else best


class _Alternatives(Generic[Target]):
    """Templates in one regular expression, the one with the least rank first."""

    def __init__(self, ranked: Sequence[_Ranked[Target]]) -> None:
        self.rank_min: float = ranked[0][0] if ranked else math.inf
        # An empty group ends each alternative: the last group that matched tells which.
        alternatives = "|".join(f"{template.pattern}()" for _, template, _ in ranked)
        self._match = re.compile(alternatives).fullmatch
        self._by_last_group: dict[int, tuple[int, Mapping[str, Target], int]] = {}
        group = 0
        for rank, template, targets in ranked:
            first = group + 1
            group = first + len(template.variables)
            self._by_last_group[group] = (rank, targets, first)

    def find(self, raw_path: str) -> "tuple[int, Match[Target]] | None":
        """What a path leads to, and its rank."""
        match = self._match(raw_path)
        if match is None or match.lastindex is None:
            return None
        rank, targets, first = self._by_last_group[match.lastindex]
        return rank, Match(targets, match.groups()[first - 1 : match.lastindex - 1])


@dataclass(frozen=True)
class Match(Generic[Target]):
    """What a path leads to."""

    targets: Mapping[str, Target]
    """By HTTP method. At least one."""
    raw_captured: Captured
    """The template's variables, percent-encoded."""

    def captured(self) -> Captured:
        """The template's variables; raises UnicodeDecodeError when one is not UTF-8."""
        return tuple([unquote(part, errors="strict") for part in self.raw_captured])


def _rule(method: MethodDescriptor, http: http_pb2.HttpRule, index: int) -> Rule:
    where = f"{method.full_name}, http rule {index}"
    pattern = http.WhichOneof("pattern")
    if pattern not in _PATTERNS:
        raise ContractError(f"{where}: {pattern or 'no'} pattern is served by this gateway")
    template = Template.parse(getattr(http, pattern))
    rule = Rule(method, pattern.upper(), template, http.body, http.response_body, index)
    _check(rule, where)
    return rule


def _check(rule: Rule, where: str) -> None:
    stream_shape(rule.method)
    is_stream = rule.method.client_streaming and not rule.takes_bytes
    if is_stream and (rule.body != WHOLE_BODY or rule.template.variables):
        # Each line of the body is a message: nothing of one can be in the path.
        raise ContractError(f"{where}: a client that streams sends its messages in the body")
    if rule.takes_bytes and (not rule.method.client_streaming or rule.method.server_streaming):
        raise ContractError(f"{where}: a body of bytes is a stream, and has one answer")
    if rule.headers and not rule.takes_bytes:
        raise ContractError(f"{where}: headers tell fields only beside a body of bytes")
    if rule.body and rule.http_method in _BODILESS:
        raise ContractError(f"{where}: {rule.http_method} has no body")
    if rule.body not in ("", WHOLE_BODY):
        resolve(rule.method.input_type, rule.body)
    if rule.response_body:
        field = resolve(rule.method.output_type, rule.response_body)[-1]
        if field.is_repeated or field.message_type is None or rule.method.server_streaming:
            raise ContractError(f"{where}: {rule.response_body} is no single message")
    for variable in rule.template.variables:
        field = resolve(rule.method.input_type, variable.field_path)[-1]
        if field.is_repeated or field.message_type is not None:
            raise ContractError(f"{where}: {variable.field_path} is no single value")


def _segments_pattern(segments: str, template: str) -> str:
    return "/".join(_segment_pattern(segment, template) for segment in segments.split("/"))


def _segment_pattern(segment: str, template: str) -> str:
    if segment == "*":
        return _SEGMENT
    if segment == "**":
        return ".+"
    if not _literal.fullmatch(segment):
        raise ContractError(f"{template}: {segment!r} is no path segment")
    return re.escape(segment)


def _before(literal: str, pattern: str) -> str:
    """The pattern of a variable that `literal` follows. Where that begins with a slash a segment
    goes up to it, and a shorter one is not looked for."""
    return f"{pattern}+" if pattern.endswith(_SEGMENT) and literal.startswith("/") else pattern


def _check_literals(literals: Sequence[str], template: str) -> None:
    if not template.startswith("/"):
        raise ContractError(f"{template}: a path begins with /")
    for literal in literals:
        path, _, verb = literal.partition(":")
        segments = [segment for segment in path.split("/") if segment]
        for segment in [*segments, *([verb] if ":" in literal else [])]:
            if not _literal.fullmatch(segment):
                raise ContractError(f"{template}: {segment!r} is no path segment")


def _specificity(template: str) -> tuple[int, ...]:
    """Literal before variable before rest, segment by segment; with a verb before without."""
    shape = _variable.sub(lambda match: match[2] or "*", template)
    verbless, _, verb = shape.rpartition(":") if ":" in shape else (shape, "", "")
    kinds = {"*": 1, "**": 2}
    return (*(kinds.get(segment, 0) for segment in verbless.split("/")), 0 if verb else 1)
