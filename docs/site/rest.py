"""The REST API as pages, from the OpenAPI document: a page a tag, and one of all schemas."""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from docs.site.prose import inline, joined, paragraphs, table
from gateway.contract.descriptors import Contract
from gateway.contract.rules import rules_of
from gateway.openapi.document import document

Json = dict[str, Any]

FOLDER: Final = "reference/rest"
_METHODS: Final = ("get", "put", "post", "delete", "patch")


def pages(contract: Contract) -> Iterator[tuple[str, str]]:
    """An overview, the operations of each tag, and what they take and answer."""
    openapi = document(contract, list(rules_of(contract)))
    operations = list(_operations(openapi))
    yield f"{FOLDER}/README.md", _overview(openapi, operations)
    for tag in openapi["tags"]:
        those = [one for one in operations if tag["name"] in one[2]["tags"]]
        yield f"{FOLDER}/{tag['name']}.md", _page(tag["name"], those, openapi)
    schemas = openapi["components"]["schemas"]
    yield (
        f"{FOLDER}/schemas.md",
        joined("# Schemas", *(_schema(name, one) for name, one in sorted(schemas.items()))),
    )


def _operations(openapi: Json) -> Iterator[tuple[str, str, Json]]:
    """Method, path and operation."""
    for path, item in openapi["paths"].items():
        for method in _METHODS:
            if method in item:
                shared = item.get("parameters", [])
                one = item[method]
                yield method, path, {**one, "parameters": [*shared, *one.get("parameters", [])]}


def _overview(openapi: Json, operations: list[tuple[str, str, Json]]) -> str:
    rows = [
        (
            f"[`{method.upper()} {path}`]({one['tags'][0]}.md#{one['operationId']})",
            inline(one["summary"]),
        )
        for method, path, one in operations
    ]
    return joined(
        "# REST",
        paragraphs(openapi["info"]["description"]),
        "The gateway draws the same with forms to try it on `/docs`, and `/openapi.json` is for"
        " generators. Reasons of failures are in [errors](../errors.md), types in"
        " [schemas](schemas.md).",
        table(("Route", "What it does"), rows),
    )


def _page(tag: str, operations: list[tuple[str, str, Json]], openapi: Json) -> str:
    return joined(f"# REST: {tag}", *(_operation(*one, openapi) for one in operations))


def _operation(method: str, path: str, one: Json, openapi: Json) -> str:
    parameters = [_resolved(parameter, openapi) for parameter in one["parameters"]]
    return joined(
        f"## {method.upper()} {_escaped(path)} {{#{one['operationId']}}}",
        _scopes(one),
        paragraphs(one.get("description") or one["summary"]),
        table(("Parameter", "In", "Type", "Means"), map(_parameter, parameters)),
        _body(one),
        "Answers:",
        table(
            ("Status", "Type", "When"),
            (
                _response(status, _resolved(answer, openapi))
                for status, answer in one["responses"].items()
            ),
        ),
    )


def _scopes(one: Json) -> str:
    scopes = {
        scope for entry in one.get("security", ()) for those in entry.values() for scope in those
    }
    if scopes:
        return "Scope " + " or ".join(f"`{scope}`" for scope in sorted(scopes)) + "."
    return "Needs no token." if one.get("security") == [] else "Any token will do."


def _parameter(one: Json) -> tuple[str, str, str, str]:
    must = " Required." if one.get("required") else ""
    return (
        f"`{one['name']}`",
        one["in"],
        _kind(one["schema"]),
        inline(one.get("description", "")) + must,
    )


def _body(one: Json) -> str:
    content = one.get("requestBody", {}).get("content", {})
    parts = []
    for media, schema in content.items():
        parts.append(f"The body, as `{media}`: {_kind(schema['schema'])}.")
        if "example" in schema and media == "application/json":
            example = orjson.dumps(schema["example"], option=orjson.OPT_INDENT_2).decode()
            parts.append(f"```json\n{example}\n```")
    return joined(*parts).strip() if parts else ""


def _response(status: str, answer: Json) -> tuple[str, str, str]:
    kinds = {_kind(one["schema"]) for one in answer.get("content", {}).values() if "schema" in one}
    words = inline(answer.get("description", "").replace("\n- ", " "))
    return f"`{status}`", " or ".join(sorted(kinds)), words


def _schema(name: str, schema: Json) -> str:
    required = set(schema.get("required", ()))
    rows = [
        (
            f"`{field}`",
            _kind(one),
            inline(_words(one)) + (" Always there." if field in required else ""),
        )
        for field, one in schema.get("properties", {}).items()
    ]
    values = [f"`{value}`" for value in schema.get("enum", ())]
    return joined(
        f"## {name} {{#{name}}}",
        paragraphs(schema.get("description", "")),
        f"One of {', '.join(values)}." if values else "",
        table(("Field", "Type", "Means"), rows),
    )


def _words(schema: Json) -> str:
    return str(schema.get("description", "")).replace("\n- ", " ")


def _kind(schema: Json) -> str:
    """What a value is, in a few words of Markdown."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](schemas.md#{name})"
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _choice(schema[choice])
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map to {_kind(schema['additionalProperties'])}"
    named = schema.get("format") or schema.get("type", "any JSON")
    return " or ".join(named) if isinstance(named, list) else str(named)


def _choice(schemas: list[Json]) -> str:
    """Of the spellings of one value the first: the others are the same number, or null."""
    return next((_kind(one) for one in schemas if one.get("type") != "null"), "null")


def _resolved(one: Json, openapi: Json) -> Json:
    if "$ref" not in one:
        return one
    node: Any = openapi
    for name in one["$ref"].removeprefix("#/").split("/"):
        node = node[name]
    return dict(node)


def _escaped(path: str) -> str:
    """A brace would begin attributes of the heading."""
    return f"`{path}`"
