"""What Schemathesis is told beside the document, where it does not read all of that."""

import json
from collections.abc import Iterator
from typing import Any

import schemathesis


def serialize(_context: Any, value: Any) -> bytes:
    """NDJSON: a line for each item of a list, or one for anything else."""
    lines = value if isinstance(value, list) else [value]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


schemathesis.serializer("application/x-ndjson")(serialize)


def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    # Every case has a token, and a ticket is not taken beside one.
    raw_schema["components"]["securitySchemes"].pop("StreamTicket")
    for operation in _operations(raw_schema):
        if "security" in operation:
            operation["security"] = [
                one for one in operation["security"] if "StreamTicket" not in one
            ]
        for parameter in operation.get("parameters", []):
            # It reads no `contentSchema`, and would send any string.
            if "contentSchema" in parameter.get("schema", {}).get("items", {}):
                parameter["schema"]["items"] = {"enum": ['{"types":["a"]}', '{"category":"b"}']}


schemathesis.hook(before_load_schema)


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from (one for one in item.values() if isinstance(one, dict))
