"""Writes docs/reference/errors.md from the list of reasons: `python -m docs.errors_table`."""

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from gateway.app import read_contract
from gateway.contract.reasons import Reason, reasons_of

PAGE = Path(__file__).parent / "reference" / "errors.md"

_HEAD = """\
# Errors

Whatever fails tells a **reason**: a name that never changes, for programs to match on. Over REST it
is `error.details.reason`, over gRPC the `reason` of the `google.rpc.ErrorInfo` in the status, in
`girih.client` the attribute `reason`. Messages are for people and may change. What a reason means
for one call stands with that call, in [protos/](../../protos/girih) and on the page `/docs` of
every gateway.

```json
{
  "error": {
    "code": "NOT_FOUND",
    "message": "there is no such stream",
    "details": {"reason": "STREAM_NOT_FOUND", "domain": "events.girih"},
    "correlation_id": "0b6f9f52-6f0e-7cc3-a3dd-f6cf6e9a1b2c"
  },
  "timestamp": "2026-11-29T05:24:59.113Z"
}
```

**May the call be made again?** *The same call* may succeed: after `retryAfterS` when the answer
tells it (over gRPC `RetryInfo`, in `girih.client` `retry_after_s`), else after pauses that grow.
Appends are repeated with the same event ids, which are stored once whatever happened. *Not
unchanged*: it fails again. *With another token*: refresh it, or log in. *After reading again*: what
is read may lead to another call.

**Names.** JSON is in camelCase, and so are the names of details on this page: over gRPC
`error.details.metadata.sharedPosition` is the key `shared_position` of the metadata of `ErrorInfo`,
and in `girih.client` the attribute `shared_position`. The exceptions are `correlation_id`,
as the logs have it, and OAuth's own: `access_token`, `refresh_token`, `token_type`, `expires_in`.

Beside the status of HTTP stands that of gRPC; where there is none, only the gateway says it. The
list is [reasons.proto](../../protos/girih/errors/v1/reasons.proto), an enum that becomes constants
in every language that stubs are made for. `make docs` writes this page from it.
"""


def page() -> str:
    """The whole page."""
    contract = read_contract()
    reasons = sorted(reasons_of(contract), key=lambda one: (one.http_status, one.name))
    return "\n".join([_HEAD, *_tables(reasons)])


def _tables(reasons: list[Reason]) -> Iterator[str]:
    for status, those in groupby(reasons, key=lambda one: one.status):
        yield f"## {status}\n"
        yield "| Reason | gRPC | Means | What to do | Again? |"
        yield "|---|---|---|---|---|"
        for one in those:
            code = f"`{one.code}`" if one.code else ""
            yield f"| `{one.name}` | {code} | {one.meaning} | {one.remedy} | {one.retry} |"
        yield ""


def main() -> int:
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
