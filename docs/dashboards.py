"""Writes the dashboards of deploy/grafana: `python -m docs.dashboards`.

A dashboard is rows of panels, a panel is a title, a unit and what Prometheus is asked. Grafana's
own form of that, with its places and defaults, is made here and edited by nobody.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).parent.parent / "deploy" / "grafana"

RATE: Final = "$__rate_interval"
_WIDTH: Final = 8
_HEIGHT: Final = 8
_COLUMNS: Final = 24 // _WIDTH
_SCHEMA_VERSION: Final = 39
_SOURCE: Final = {"type": "prometheus", "uid": "${source}"}


class Panel(NamedTuple):
    """Lines over time. `queries` are pairs: what is asked, and how a line is called."""

    title: str
    unit: str
    """Of Grafana's: `s`, `bytes`, `short`, `percentunit`; of rates `reqps`, `cps`, `Bps`."""
    queries: Sequence[tuple[str, str]]


class Row(NamedTuple):
    title: str
    panels: Sequence[Panel]


def _quantiles(metric: str, by: str, where: str = "") -> tuple[tuple[str, str], ...]:
    """The median and the 99th percentile of a histogram, with its examples."""
    labels = f"le, {by}" if by else "le"
    legend = f"{{{{{by}}}}} " if by else ""
    buckets = f"sum by ({labels}) (rate({metric}_bucket{where}[{RATE}]))"
    return tuple(
        (f"histogram_quantile({quantile}, {buckets})", f"{legend}p{round(quantile * 100)}")
        for quantile in (0.5, 0.99)
    )


def _rate(metric: str, by: str = "", where: str = "") -> tuple[tuple[str, str]]:
    grouped = f"sum by ({by}) " if by else "sum "
    legend = " ".join(f"{{{{{label}}}}}" for label in by.split(", ")) if by else "all"
    return ((f"{grouped}(rate({metric}{where}[{RATE}]))", legend),)


def _seldom(metric: str, by: str, where: str) -> tuple[tuple[str, str]]:
    """The rate of what mostly does not happen: hundreds of lines at zero would hide the one."""
    ((query, legend),) = _rate(metric, by, where)
    return ((f"{query} > 0", legend),)


def _now(metric: str, legend: str = "{{instance}}") -> tuple[tuple[str, str]]:
    return ((metric, legend),)


def _part(metric: str, where: str) -> tuple[tuple[str, str]]:
    """Which part of all that a counter counts some is."""
    return ((f"sum (rate({metric}{where}[{RATE}])) / sum (rate({metric}[{RATE}]))", "part"),)


def _hits(cache: str, by: str) -> tuple[tuple[str, str]]:
    """Which part of what was asked for was in memory."""
    hits, misses = (
        f"sum by ({by}) (rate({cache}_{what}_total[{RATE}]))" for what in ("hits", "misses")
    )
    return ((f"{hits} / ({hits} + {misses})", f"{{{{{by}}}}}"),)


def _most(query: str, legend: str) -> tuple[tuple[str, str]]:
    return ((f"topk(10, {query})", legend),)


_BY_ROUTE: Final = f"rate(http_request_seconds_bucket[{RATE}])"
_BY_STATEMENT: Final = f"rate(database_statement_seconds_sum[{RATE}])"
_FAILED: Final = '{grpc_code=~"Internal|Unknown|Unavailable|DataLoss|DeadlineExceeded"}'
_UNARY: Final = '{grpc_type="unary"}'
_UNARY_FAILED: Final = '{grpc_type="unary", grpc_code!="OK"}'
_BROKEN_OFF: Final = '{grpc_type!="unary", grpc_code!~"OK|Canceled|Unauthenticated"}'
"""Who follows goes away some time, or comes back with a new token: that is no failure."""

_PROCESS: Final = Row(
    "Processes",
    [
        Panel("CPU", "percentunit", _rate("process_cpu_seconds_total", "job", '{job=~"girih-.*"}')),
        Panel("Memory", "bytes", _now('process_resident_memory_bytes{job=~"girih-.*"}', "{{job}}")),
        Panel("Open files", "short", _now('process_open_fds{job=~"girih-.*"}', "{{job}}")),
        Panel(
            "What is depended on", "short", _now("girih_dependency_up", "{{job}} {{dependency}}")
        ),
        Panel("Lines of the log lost", "cps", _rate("girih_log_lines_dropped_total", "job")),
        Panel("Memory of requests", "bytes", _now("girih_request_memory_bytes", "{{job}}")),
    ],
)

DASHBOARDS: Final[dict[str, tuple[str, Sequence[Row]]]] = {
    "overview": (
        "girih",
        [
            Row(
                "What users see",
                [
                    Panel("Requests", "reqps", _rate("http_requests_total", "status")),
                    Panel("Duration of requests", "s", _quantiles("http_request_seconds", "")),
                    Panel(
                        "Requests that fail",
                        "percentunit",
                        _part("http_requests_total", '{status=~"5.."}'),
                    ),
                    Panel("Calls", "reqps", _rate("grpc_server_handled_total", "grpc_service")),
                    Panel(
                        "Duration of calls",
                        "s",
                        _quantiles("grpc_server_handling_seconds", "job", _UNARY),
                    ),
                    Panel(
                        "Calls that fail",
                        "reqps",
                        _seldom("grpc_server_handled_total", "grpc_method, grpc_code", _FAILED),
                    ),
                    Panel("Events appended", "cps", _rate("events_appended_total")),
                    Panel(
                        "Projections behind",
                        "s",
                        (("max by (projection) (projections_lag_seconds)", "{{projection}}"),),
                    ),
                    Panel("Followers behind", "s", _now("events_follow_lag_seconds")),
                ],
            ),
            _PROCESS,
        ],
    ),
    "gateway": (
        "girih: gateway",
        [
            Row(
                "Requests",
                [
                    Panel("By route", "reqps", _rate("http_requests_total", "route")),
                    Panel(
                        "Slowest routes",
                        "s",
                        _most(
                            f"histogram_quantile(0.99, sum by (le, route) ({_BY_ROUTE}))",
                            "{{route}}",
                        ),
                    ),
                    Panel("In flight", "short", _now("http_requests_in_flight")),
                    Panel("Bodies held", "bytes", _now("http_request_body_bytes")),
                    Panel(
                        "Refused for their number",
                        "reqps",
                        _rate("gateway_calls_limited_total", "per"),
                    ),
                    Panel(
                        "Refused for the month's quota",
                        "reqps",
                        _rate("gateway_usage_quota_refusals_total"),
                    ),
                ],
            ),
            Row(
                "Calls of services",
                [
                    Panel(
                        "By rpc", "reqps", _rate("grpc_client_started_total", "job, grpc_method")
                    ),
                    Panel(
                        "Duration", "s", _quantiles("grpc_client_handling_seconds", "job", _UNARY)
                    ),
                    Panel(
                        "Failed",
                        "reqps",
                        (
                            *_seldom("grpc_client_handled_total", "job, grpc_code", _UNARY_FAILED),
                            *_seldom("grpc_client_handled_total", "job, grpc_code", _BROKEN_OFF),
                        ),
                    ),
                ],
            ),
            Row(
                "Accounts",
                [
                    Panel("Logins", "reqps", _rate("gateway_logins_total", "outcome")),
                    Panel(
                        "Logins not let through",
                        "reqps",
                        _rate("gateway_logins_throttled_total", "rule"),
                    ),
                    Panel(
                        "Events of security",
                        "cps",
                        _rate("gateway_security_events_total", "kind"),
                    ),
                    Panel(
                        "Waiting to be written", "short", _now("gateway_security_events_waiting")
                    ),
                    Panel("Tenants that call", "short", _now("gateway_usage_tenants")),
                    Panel("Processes that serve", "short", _now("gateway_processes_serving")),
                ],
            ),
        ],
    ),
    "events": (
        "girih: events and projections",
        [
            Row(
                "Appends",
                [
                    Panel("Events", "cps", _rate("events_appended_total", "instance")),
                    Panel("Bytes", "Bps", _rate("events_appended_bytes_total", "instance")),
                    Panel("Waiting", "short", _now("events_sequencer_queued_events")),
                    Panel(
                        "Time of a batch", "s", _quantiles("events_sequencer_settle_seconds", "")
                    ),
                    Panel(
                        "Events of a batch",
                        "short",
                        _quantiles("events_sequencer_batch_events", ""),
                    ),
                    Panel(
                        "Races lost",
                        "cps",
                        _rate("events_sequencer_races_lost_total", "instance"),
                    ),
                    Panel(
                        "Found in memory",
                        "percentunit",
                        _hits("events_cache", "cache"),
                    ),
                ],
            ),
            Row(
                "Followers and consumers",
                [
                    Panel("Followers", "short", _now("events_followers")),
                    Panel(
                        "Delivered",
                        "cps",
                        _rate("events_follow_delivered_events_total", "source"),
                    ),
                    Panel("Behind, in events", "short", _now("events_follow_lag_events")),
                    Panel("Consumers", "short", _now("events_group_consumers")),
                    Panel("Settled", "cps", _rate("events_group_settled_total", "outcome")),
                    Panel("Not settled yet", "short", _now("events_group_waiting_events")),
                ],
            ),
            Row(
                "Database",
                [
                    Panel(
                        "Time spent, by statement",
                        "percentunit",
                        _most(
                            f"sum by (job, statement) ({_BY_STATEMENT})", "{{job}} {{statement}}"
                        ),
                    ),
                    Panel(
                        "Waits for a connection", "s", _quantiles("database_acquire_seconds", "job")
                    ),
                    Panel("Refused", "cps", _rate("database_refusals_total", "job, reason")),
                    Panel("Connections", "short", _now("events_pool_connections")),
                    Panel("Idle", "short", _now("events_pool_idle_connections")),
                    Panel("Calls that wait", "short", _now("events_pool_waiting_calls")),
                ],
            ),
            Row(
                "Projections",
                [
                    Panel(
                        "Applied", "cps", _rate("projections_events_applied_total", "projection")
                    ),
                    Panel("Behind", "s", _now("projections_lag_seconds", "{{projection}}")),
                    Panel(
                        "Behind, in events",
                        "short",
                        _now("projections_lag_events", "{{projection}}"),
                    ),
                    Panel("Stopped", "short", _now("projections_stopped", "{{projection}}")),
                    Panel(
                        "Failed", "cps", _rate("projections_attempts_failed_total", "projection")
                    ),
                    Panel(
                        "Put aside",
                        "cps",
                        _rate("projections_events_set_aside_total", "projection"),
                    ),
                ],
            ),
        ],
    ),
    "lattice": (
        "girih: lattice",
        [
            Row(
                "Computing",
                [
                    Panel("Computations", "cps", _rate("lattice_computations_total", "method")),
                    Panel(
                        "Cores used", "short", _rate("lattice_computation_seconds_total", "method")
                    ),
                    Panel(
                        "Sites looked at", "cps", _rate("lattice_sites_expanded_total", "method")
                    ),
                    Panel("At work", "short", _now("lattice_compute_running")),
                    Panel("Waiting", "short", _now("lattice_compute_waiting")),
                    Panel("Memory lent", "bytes", _now("lattice_compute_bytes")),
                ],
            ),
            Row(
                "Memory",
                [
                    Panel("Lattices", "bytes", _now("lattice_cache_bytes")),
                    Panel(
                        "Found in memory",
                        "percentunit",
                        _hits("lattice_cache", "instance"),
                    ),
                    Panel("Answers not taken yet", "bytes", _now("lattice_unsent_bytes")),
                ],
            ),
        ],
    ),
}


def document(name: str) -> dict[str, Any]:
    """A dashboard as Grafana imports it, or finds it in a folder of its provisioning."""
    title, rows = DASHBOARDS[name]
    return {
        "uid": f"girih-{name}",
        "title": title,
        "tags": ["girih"],
        "schemaVersion": _SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [{"name": "source", "type": "datasource", "query": "prometheus"}]},
        "panels": list(_placed(rows)),
    }


def text(name: str) -> str:
    return json.dumps(document(name), indent=1) + "\n"


def queries() -> Iterator[tuple[str, str]]:
    """All that is asked, each with the panel that does."""
    for name, (_, rows) in DASHBOARDS.items():
        for row in rows:
            for panel in row.panels:
                for query, _ in panel.queries:
                    yield f"{name}: {panel.title}", query


def _placed(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for row in rows:
        number += 1
        place = {"h": 1, "w": 24, "x": 0, "y": top}
        yield {"id": number, "type": "row", "title": row.title, "gridPos": place, "panels": []}
        top += 1
        for index, panel in enumerate(row.panels):
            number += 1
            line, column = divmod(index, _COLUMNS)
            place = {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": top + line * _HEIGHT}
            yield {"id": number, "gridPos": place, **_lines(panel)}
        top += -(-len(row.panels) // _COLUMNS) * _HEIGHT


def _lines(panel: Panel) -> dict[str, Any]:
    return {
        "type": "timeseries",
        "title": panel.title,
        "datasource": _SOURCE,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {
                "refId": chr(ord("A") + number),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "exemplar": "histogram_quantile" in query,
            }
            for number, (query, legend) in enumerate(panel.queries)
        ],
    }


def main() -> int:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (FOLDER / f"{name}.json").write_text(text(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
