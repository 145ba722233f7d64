"""Whether two servers hold the same logs, by digests that the servers compute. For drills.

Asks of each log what never changes: where events are, when and as what they were recorded, and
the digests of their content; and of each snapshot its seal. Payloads that rules take away, and what
projections hold, are not compared: these move on.
"""

import json
from dataclasses import dataclass
from typing import Final

from cli.backups.tools import Tools

_LOGS: Final = """
SELECT coalesce(json_object_agg(logs.tenant, newest.position), '{}')
FROM events.logs
CROSS JOIN LATERAL (
    SELECT coalesce(max(position), 0) AS position FROM events.records WHERE log = logs.log
) AS newest
"""
# In pieces, since the database puts together what it hashes.
_EVENTS: Final = """
SELECT encode(sha256(string_agg(piece.hash, ''::bytea ORDER BY piece.number)), 'hex')
FROM (
    SELECT (position - 1) / 10000 AS number, sha256(string_agg(
        digest || uuid_send(event_id) || convert_to(concat_ws(
            '/', position, revision, stream, extract(epoch FROM recorded_at), type, correlation_id
        ), 'UTF8'),
        ''::bytea ORDER BY position
    )) AS hash
    FROM events.records
    WHERE log = (SELECT log FROM events.logs WHERE tenant = {tenant}) AND position <= {head}
    GROUP BY 1
) AS piece
"""
_SNAPSHOTS: Final = """
SELECT coalesce(json_object_agg(concat_ws('/', stream, revision), encode(seal || sha256(content), 'hex')), '{{}}')
FROM events.snapshots
WHERE log = (SELECT log FROM events.logs WHERE tenant = {tenant})
"""  # noqa: E501 - one column


@dataclass(frozen=True, kw_only=True)
class LogComparison:
    """A log in both."""

    tenant: str
    head: int
    """Where it ends in the restored one."""
    behind_count: int
    """Events that only the other has."""
    is_same: bool
    snapshot_count: int
    """That both have; those that only one has come and go."""
    snapshots_differ: tuple[str, ...]


def compare(tools: Tools, restored_url: str, other_url: str) -> list[LogComparison]:
    """The logs of the restored server, each with the other's up to where it ends."""
    restored, other = _logs(tools, restored_url), _logs(tools, other_url)
    return [
        _compared(tools, restored_url, other_url, tenant, head, other.get(tenant, 0))
        for tenant, head in sorted(restored.items())
    ]


def _compared(
    tools: Tools, restored_url: str, other_url: str, tenant: str, head: int, other_head: int
) -> LogComparison:
    hashes = {_events(tools, url, tenant, head) for url in (restored_url, other_url)}
    mine, theirs = (_snapshots(tools, url, tenant) for url in (restored_url, other_url))
    shared = mine.keys() & theirs.keys()
    return LogComparison(
        tenant=tenant,
        head=head,
        behind_count=other_head - head,
        is_same=len(hashes) == 1 and other_head >= head,
        snapshot_count=len(shared),
        snapshots_differ=tuple(sorted(name for name in shared if mine[name] != theirs[name])),
    )


def _logs(tools: Tools, url: str) -> dict[str, int]:
    logs: dict[str, int] = json.loads(tools.query(url, _LOGS))
    return logs


def _events(tools: Tools, url: str, tenant: str, head: int) -> str:
    return tools.query(url, _EVENTS.format(tenant=_quoted(tenant), head=head))


def _snapshots(tools: Tools, url: str, tenant: str) -> dict[str, str]:
    found: dict[str, str] = json.loads(tools.query(url, _SNAPSHOTS.format(tenant=_quoted(tenant))))
    return found


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
