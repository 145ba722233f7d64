"""How Schemathesis sends NDJSON: a line for each item of a list, or one for anything else."""

import json
from typing import Any

import schemathesis


def serialize(_context: Any, value: Any) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


schemathesis.serializer("application/x-ndjson")(serialize)
