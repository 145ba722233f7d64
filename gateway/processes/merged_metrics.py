"""The metrics of all processes of a gateway at one place, each with the number of its process."""

import http.client
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
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

_NOTHING: Final = "# EOF\n"

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
        ports = sorted(self._ports().items())
        # At once: each that stands still takes as long as is waited for one.
        with ThreadPoolExecutor(max_workers=max(1, len(ports))) as reading:
            texts = list(reading.map(lambda asked: _scraped(*asked), ports))
        for (number, _), text in zip(ports, texts, strict=True):
            _add(merged, number, _families(text))
        yield from merged.values()


def _add(merged: dict[str, Metric], number: int, families: Iterable[Metric]) -> None:
    for family in families:
        same = merged.setdefault(
            family.name, Metric(family.name, family.documentation, family.type)
        )
        for sample in family.samples:
            labels = {**sample.labels, LABEL: str(number)}
            same.add_sample(sample.name, labels, sample.value, exemplar=sample.exemplar)


def _scraped(number: int, port: int) -> str:
    """What a process tells, or the text of nothing."""
    try:
        return _read(port)
    except (OSError, http.client.HTTPException) as error:
        # It has just died, and its successor will tell, or it stands still.
        _log.warning("a process tells no metrics", process=number, problem=str(error))
        return _NOTHING


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
