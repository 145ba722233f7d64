"""The metrics of all processes of a gateway at one place, each with the number of its process."""

import http.client
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from services.plumbing.logging import get_logger

LABEL: Final = "process"
PARENT: Final = 0
"""The number of the parent; the processes that serve have those from 1 on."""

_TIMEOUT_S = 2.0
_OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0"
"""The one form that tells examples of what was measured, too."""

_log = get_logger("gateway")


class MergedMetrics(Collector):
    """Reads what each process tells on its own port of the loopback, when it is asked."""

    def __init__(self, own: CollectorRegistry, ports: Callable[[], Mapping[int, int]]) -> None:
        """`own` is of this process; `ports` gives those of the others, by their numbers."""
        self._own = own
        self._ports = ports

    def collect(self) -> Iterator[Metric]:
        merged: dict[str, Metric] = {}
        _add(merged, PARENT, self._own.collect())
        for number, port in sorted(self._ports().items()):
            try:
                _add(merged, number, _families(_read(port)))
            except (OSError, http.client.HTTPException) as error:
                # It has just died: its successor will tell.
                _log.warning("a process tells no metrics", process=number, problem=str(error))
        yield from merged.values()


def _add(merged: dict[str, Metric], number: int, families: Iterable[Metric]) -> None:
    for family in families:
        same = merged.setdefault(
            family.name, Metric(family.name, family.documentation, family.type)
        )
        for sample in family.samples:
            labels = {**sample.labels, LABEL: str(number)}
            same.add_sample(sample.name, labels, sample.value, exemplar=sample.exemplar)


def _families(text: str) -> Iterable[Metric]:
    families: Iterable[Metric] = text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
    return families


def _read(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics", headers={"Accept": _OPENMETRICS})
        return connection.getresponse().read().decode()
    finally:
        connection.close()
