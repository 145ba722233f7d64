"""Renders the chart without Helm: the part of its language that our templates keep to.

Values, `quote`, `if` with a value or `eq`, `else if`, `else` and `range` over a map. Whatever else
a template says is refused, so that nothing is rendered otherwise than Helm would.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).resolve().parents[2] / "deploy" / "helm" / "girih"
RELEASE = "girih"

_TOKEN = re.compile(r"\{\{(-?)\s*(.*?)\s*(-?)\}\}", re.DOTALL)
_RANGE = re.compile(r"range \$(\w+), \$(\w+) := (\S+)")
_EQ = re.compile(r'eq (\S+) "([^"]*)"')
_VALUE = re.compile(r"[.$][\w.$]*")

Scope = Mapping[str, Any]
Node = Callable[[Scope], str]


class Unknown(Exception):
    """A template says what is not rendered here."""


def rendered(values: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """All objects of the chart, with `values` over its own."""
    own = yaml.safe_load((CHART / "values.yaml").read_text())
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    scope = {
        "Values": _over(own, values or {}),
        "Release": {"Name": RELEASE},
        "Chart": {"AppVersion": chart["appVersion"]},
    }
    texts = [_text(path.read_text(), scope) for path in sorted(CHART.glob("templates/*.yaml"))]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def _over(own: Any, other: Any) -> Any:
    if not isinstance(own, dict) or not isinstance(other, Mapping):
        return other
    return own | {name: _over(own.get(name), value) for name, value in other.items()}


def _text(template: str, scope: Scope) -> str:
    tokens = list(_tokens(template))
    tokens.reverse()
    nodes, ended = _nodes(tokens)
    if ended:
        raise Unknown(f"{ended} without a beginning")
    return "".join(node(scope) for node in nodes)


def _tokens(template: str) -> Iterator[tuple[str, str]]:
    at = 0
    trims = False
    for match in _TOKEN.finditer(template):
        text = template[at : match.start()]
        text = text.lstrip() if trims else text
        yield "text", text.rstrip() if match[1] else text
        yield "action", match[2]
        at, trims = match.end(), bool(match[3])
    yield "text", template[at:].lstrip() if trims else template[at:]


def _nodes(tokens: list[tuple[str, str]]) -> tuple[list[Node], str]:
    """What comes up to an `else` or an `end`, and which of them it was."""
    nodes: list[Node] = []
    while tokens:
        kind, text = tokens.pop()
        if kind == "text":
            nodes.append(_literal(text))
        elif text == "end" or text.startswith("else"):
            return nodes, text
        elif text.startswith("range "):
            nodes.append(_range(text, tokens))
        elif text.startswith("if "):
            nodes.append(_if(text.removeprefix("if "), tokens))
        else:
            nodes.append(_value(text))
    return nodes, ""


def _literal(text: str) -> Node:
    return lambda _scope: text


def _range(text: str, tokens: list[tuple[str, str]]) -> Node:
    match = _RANGE.fullmatch(text)
    if match is None:
        raise Unknown(text)
    nodes, _ = _nodes(tokens)

    def node(scope: Scope) -> str:
        # Helm goes through a map in the order of its keys.
        items = sorted(_looked_up(match[3], scope).items())
        return "".join(
            each({**scope, f"${match[1]}": name, f"${match[2]}": item})
            for name, item in items
            for each in nodes
        )

    return node


def _if(condition: str, tokens: list[tuple[str, str]]) -> Node:
    nodes, ended = _nodes(tokens)
    otherwise: list[Node] = []
    if ended.startswith("else if "):
        otherwise = [_if(ended.removeprefix("else if "), tokens)]
    elif ended == "else":
        otherwise, _ = _nodes(tokens)

    def node(scope: Scope) -> str:
        chosen = nodes if _holds(condition, scope) else otherwise
        return "".join(each(scope) for each in chosen)

    return node


def _holds(condition: str, scope: Scope) -> bool:
    if match := _EQ.fullmatch(condition):
        return bool(_looked_up(match[1], scope) == match[2])
    return bool(_looked_up(condition, scope))


def _value(text: str) -> Node:
    path, _, pipe = text.partition(" | ")
    if pipe not in ("", "quote"):
        raise Unknown(text)

    def node(scope: Scope) -> str:
        value = _looked_up(path, scope)
        return f'"{value}"' if pipe else str(value)

    return node


def _looked_up(path: str, scope: Scope) -> Any:
    """`.Values.a`, `$.Values.a`, `$name` and `$name.a`; raises Unknown for what is not there."""
    if not _VALUE.fullmatch(path):
        raise Unknown(path)
    first, *names = path.split(".")
    value: Any = scope[first] if len(first) > 1 else scope
    for name in names:
        if name not in value:
            raise Unknown(f"{path}: there is no {name}")
        value = value[name]
    return value
