"""The contract as pages: services, rpcs, messages and fields, in the words of the protos."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from docs.site.prose import inline, joined, paragraphs, table
from gateway.contract.descriptors import Contract
from gateway.site.reference import reference

Json = dict[str, Any]

FOLDER: Final = "reference/contract"

_HEAD = """\
# The contract

Every rpc, message and field, with what it promises, from the protos in
[protos/](../../source/protos/README.md). [gRPC from other languages](../../how-to/grpc-clients.md)
tells how to call them; [REST](../rest/README.md) has the same calls as routes. A call carries a
token in the metadata key `authorization`, as `Bearer ...`. Why calls fail is in
[errors](../errors.md).
"""


def pages(contract: Contract) -> Iterator[tuple[str, str]]:
    """Each service, with the types that no service before it has."""
    packages: list[Json] = reference(contract)["packages"]
    page_of = _pages_of_types(packages)
    rows = []
    for package in packages:
        for service in package["services"]:
            name = _short(service["name"])
            yield f"{FOLDER}/{name}.md", _page(package, service, page_of)
            rows.append((f"[{name}]({name}.md)", inline(_first(service["description"]))))
    yield f"{FOLDER}/README.md", joined(_HEAD, table(("Service", "What it does"), rows))


def _pages_of_types(packages: list[Json]) -> dict[str, str]:
    """The page of each type."""
    page_of: dict[str, str] = {}
    for package in packages:
        page = _short(package["services"][0]["name"])
        for one in package["types"]:
            page_of.setdefault(one["name"], page)
    return page_of


def _page(package: Json, service: Json, page_of: Mapping[str, str]) -> str:
    name = _short(service["name"])
    types = [one for one in package["types"] if page_of[one["name"]] == name]
    return joined(
        f"# {name}",
        f"`{service['name']}`",
        paragraphs(service["description"]),
        paragraphs(package["description"]),
        _errors("Every rpc may fail with", package["errors"]),
        *(_rpc(service["name"], rpc, page_of, name) for rpc in service["rpcs"]),
        "## Types" if types else "",
        *(_type(one, package["name"], page_of, name) for one in types),
    )


def _rpc(service: str, rpc: Json, page_of: Mapping[str, str], page: str) -> str:
    asked = _flow(rpc["client_streaming"], rpc["request"], page_of, page)
    answered = _flow(rpc["server_streaming"], rpc["response"], page_of, page)
    routes = ", ".join(f"`{route}`" for route in rpc["routes"])
    return joined(
        f"## {rpc['name']} {{#{service}.{rpc['name']}}}",
        f"{asked} → {answered}",
        f"Scope `{rpc['scope']}`." + (f" Over REST: {routes}." if routes else " Not over REST."),
        paragraphs(rpc["description"]),
        _errors("Fails with", rpc["errors"]),
    )


def _flow(is_stream: bool, name: str, page_of: Mapping[str, str], page: str) -> str:
    return ("stream of " if is_stream else "") + _link(name, page_of, page)


def _errors(lead: str, errors: list[Json]) -> str:
    if not errors:
        return ""
    items = (
        f"- `{error['code']}` / "
        + ", ".join(f"`{reason}`" for reason in error["reasons"])
        + f": {inline(error['text'])}"
        for error in errors
    )
    return "\n".join((f"{lead}:", "", *items))


def _type(one: Json, package: str, page_of: Mapping[str, str], page: str) -> str:
    title = one["name"].removeprefix(f"{package}.")
    heading = f"### {title} {{#{one['name']}}}"
    if "values" in one:
        rows = [
            (f"`{value['name']}`", str(value["number"]), inline(value["description"]))
            for value in one["values"]
        ]
        return joined(
            heading, paragraphs(one["description"]), table(("Value", "Number", "Means"), rows)
        )
    fields = [
        (
            f"`{field['name']}`",
            str(field["number"]),
            _field_type(field, page_of, page),
            _description(field),
        )
        for field in one["fields"]
    ]
    return joined(
        heading,
        paragraphs(one["description"]),
        table(("Field", "Number", "Type", "Promises"), fields) or "It has no fields.",
    )


def _field_type(field: Json, page_of: Mapping[str, str], page: str) -> str:
    before, _, last = field["type"].rpartition(" ")
    if field["of"] in page_of and "<" not in last:
        return f"{before} {_link(field['of'], page_of, page)}".strip()
    return f"`{field['type']}`"


def _description(field: Json) -> str:
    parts = [inline(field["description"])]
    if field["must"]:
        parts.append(inline(f"{field['must'][:1].upper()}{field['must'][1:]}."))
    if field["choice"]:
        parts.append("One of it and " + ", ".join(f"`{name}`" for name in field["choice"]) + ".")
    return " ".join(parts)


def _link(name: str, page_of: Mapping[str, str], page: str) -> str:
    if name not in page_of:
        return f"`{name}`"
    where = "" if page_of[name] == page else f"{page_of[name]}.md"
    return f"[{_short(name)}]({where}#{name})"


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _first(text: str) -> str:
    return text.partition("\n\n")[0]
