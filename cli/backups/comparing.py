"""Whether two servers hold the same logs, by digests that the servers compute. For drills.

Asks of each log what never changes: where events are, when and as what they were recorded, and
the digests of their content; and of each snapshot its seal. Payloads that rules take away, and what
projections hold, are not compared: these move on.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from cli.backups.tools import Tools

# Of logs that are there: of one that has left, a part may be there still. Old backups know no
# places.
_LOGS: Final = """
SELECT coalesce(
    json_object_agg(
        logs.tenant,
        json_build_array(coalesce(to_jsonb(logs) ->> 'move', '0')::bigint, newest.position)
    ) FILTER (WHERE to_jsonb(logs) ->> 'moved_to' IS NULL),
    '{}'
)
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


class _LogHead(NamedTuple):
    """Where a log is on one side."""

    move: int
    head: int
    url: str


def compare(
    tools: Tools, restored_urls: Sequence[str], other_urls: Sequence[str]
) -> list[LogComparison]:
    """The logs of the restored servers, each with the other's up to where it ends, wherever it is.

    A log that came back in two places, since it moved between the backups of them, is where it
    moved last.
    """
    restored, others = _logs(tools, restored_urls), _logs(tools, other_urls)
    nowhere = _LogHead(0, 0, other_urls[0])
    return [
        _compared(tools, restored_log, others.get(tenant, nowhere), tenant)
        for tenant, restored_log in sorted(restored.items())
    ]


def _compared(tools: Tools, restored_log: _LogHead, other: _LogHead, tenant: str) -> LogComparison:
    hashes = {_events(tools, one.url, tenant, restored_log.head) for one in (restored_log, other)}
    mine, theirs = (_snapshots(tools, one.url, tenant) for one in (restored_log, other))
    shared = mine.keys() & theirs.keys()
    return LogComparison(
        tenant=tenant,
        head=restored_log.head,
        behind_count=other.head - restored_log.head,
        is_same=len(hashes) == 1 and other.head >= restored_log.head,
        snapshot_count=len(shared),
        snapshots_differ=tuple(sorted(name for name in shared if mine[name] != theirs[name])),
    )


def _logs(tools: Tools, urls: Sequence[str]) -> dict[str, _LogHead]:
    logs: dict[str, _LogHead] = {}
    for url in urls:
        heads: dict[str, tuple[int, int]] = json.loads(tools.query(url, _LOGS))
        for tenant, (move, head) in heads.items():
            logs[tenant] = max(logs.get(tenant, _LogHead(-1, 0, "")), _LogHead(move, head, url))
    return logs


def _events(tools: Tools, url: str, tenant: str, head: int) -> str:
    return tools.query(url, _EVENTS.format(tenant=_quoted(tenant), head=head))


def _snapshots(tools: Tools, url: str, tenant: str) -> dict[str, str]:
    digests: dict[str, str] = json.loads(
        tools.query(url, _SNAPSHOTS.format(tenant=_quoted(tenant)))
    )
    return digests


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
