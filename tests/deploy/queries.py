"""What queries of Prometheus ask for, as far as it takes to see whether it is there."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml

from docs import dashboards, metrics_table
from tests.processes import ROOT

RULES = ROOT / "deploy" / "prometheus" / "girih.rules.yaml"

OF_PROCESSES = {
    name: {"job", "instance"}
    for name in (
        "up",
        "process_cpu_seconds_total",
        "process_max_fds",
        "process_open_fds",
        "process_resident_memory_bytes",
    )
}
"""What every process tells, with Prometheus's own labels."""

SEVERAL_PROCESSES = {"gateway_process_deaths_total", "gateway_processes_serving"}
"""What a gateway of one process does not tell."""

_WORDS = {"by", "or", "and", "unless", "without"}
_row = re.compile(r"^\| `([a-z_]+)` \| ([a-z]+) \| ([^|]*) \|", re.MULTILINE)


class Asked(NamedTuple):
    """A query, the metrics in it, and the labels that it asks for anywhere."""

    who: str
    query: str
    metrics: frozenset[str]
    labels: frozenset[str]


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(RULES.read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def all_queries() -> Iterator[Asked]:
    """Those of the alerts, and of the dashboards."""
    for rule in alerts():
        yield asked(rule["alert"], rule["expr"])
    for who, query in dashboards.queries():
        yield asked(who, query)


def asked(who: str, query: str) -> Asked:
    bare = re.sub(r'"[^"]*"', '""', query.replace(f"[{dashboards.RATE}]", ""))
    bare = re.sub(r"\[\w+\]", "", bare)
    labels = set(re.findall(r"(\w+) *(?:=~|!=|!~|=) *\"", bare))
    for group in re.findall(r"\bby *\(([^)]*)\)", bare):
        labels |= set(re.findall(r"\w+", group))
    bare = re.sub(r"\bby *\([^)]*\)|\{[^}]*\}", "", bare)
    names = set(re.findall(r"\b[a-z_]\w*\b(?! *\()", bare)) - _WORDS
    return Asked(who, query, frozenset(names), frozenset(labels - {"le", "job", "instance"}))


def samples_on_the_page() -> dict[str, set[str]]:
    """The names of what the page of metrics lists, as they are asked for, with their labels."""
    samples: dict[str, set[str]] = {}
    for name, kind, labels in _row.findall(metrics_table.PAGE.read_text()):
        ends = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("_sum", "_count")}
        for end in ends.get(kind, ("",)):
            samples[name + end] = set(re.findall(r"\w+", labels))
    return samples
