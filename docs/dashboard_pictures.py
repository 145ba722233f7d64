"""Draws the dashboards of deploy/grafana without Grafana: `python -m docs.dashboard_pictures`.

Asks a Prometheus at URL for all that panels ask, over the last minutes, and writes a page for each
dashboard: panels with their unit, lines and legends, for a browser to show or to photograph. A
panel without data says so. For whoever changes dashboards, and has no Grafana.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode
from urllib.request import urlopen

from docs.dashboards import DASHBOARDS, RATE, Panel

_STEP_S: Final = 5
_TIMEOUT_S: Final = 30
_WIDTH, _HEIGHT = 560, 180
_COLORS: Final = ("#1f78b4", "#e66101", "#1a7f37", "#984ea3", "#b8860b", "#17a2b8", "#cf222e")
_LEGENDS_MAX: Final = 12

_HEAD: Final = """\
<!doctype html><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 13px system-ui, sans-serif; width: 1790px; margin: 12px; }}
h2 {{ margin: 14px 0 4px; }} .row {{ display: flex; flex-wrap: wrap; gap: 12px; }}
figure {{ margin: 0; width: 570px; border: 1px solid #d0d7de; padding: 4px; }}
figcaption {{ font-weight: 600; }} .none {{ color: #cf222e; }}
ul {{ margin: 2px; padding-left: 8px; }} li {{ display: inline; margin-right: 12px; }}
</style><h1>{title}</h1>
"""


class Line(NamedTuple):
    legend: str
    points: Sequence[tuple[float, float]]
    """Seconds, and values."""


def lines(url: str, panel: Panel, minutes: float) -> Iterator[Line]:
    """What a panel shows. Raises OSError when Prometheus refuses a query."""
    now_s = time.time()
    for query, legend in panel.queries:
        asked = {
            "query": query.replace(RATE, "1m"),
            "start": now_s - 60 * minutes,
            "end": now_s,
            "step": _STEP_S,
        }
        with urlopen(f"{url}/api/v1/query_range?{urlencode(asked)}", timeout=_TIMEOUT_S) as answer:  # noqa: S310 - it is http
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        for series in result:
            points = [(at, float(value)) for at, value in series["values"] if value != "NaN"]
            yield Line(_legend(legend, series["metric"]), points)


def _legend(form: str, labels: dict[str, str]) -> str:
    return re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), form)


def page(url: str, name: str, minutes: float) -> str:
    title, rows = DASHBOARDS[name]
    parts = [_HEAD.format(title=escape(title))]
    for row in rows:
        parts.append(f'<h2>{escape(row.title)}</h2><div class="row">')
        parts += [figure(panel, list(lines(url, panel, minutes))) for panel in row.panels]
        parts.append("</div>")
    return "\n".join(parts)


def figure(panel: Panel, shown: Sequence[Line]) -> str:
    """A panel: the top of its axis, its lines, and what they are called."""
    caption = f"<figcaption>{escape(panel.title)}</figcaption>"
    points = [point for line in shown for point in line.points]
    if not points:
        return f'<figure>{caption}<p class="none">No data</p></figure>'
    first_s, last_s = min(at for at, _ in points), max(at for at, _ in points)
    most = max(value for _, value in points) or 1.0

    def place(at_s: float, value: float) -> str:
        x = _WIDTH * (at_s - first_s) / ((last_s - first_s) or 1.0)
        return f"{x:.1f},{_HEIGHT * (1 - value / most):.1f}"

    drawn = "".join(
        f'<polyline fill="none" stroke-width="1.5" stroke="{_COLORS[n % len(_COLORS)]}"'
        f' points="{" ".join(place(*point) for point in line.points)}"/>'
        for n, line in enumerate(shown)
    )
    legends = " ".join(
        f'<li style="color:{_COLORS[n % len(_COLORS)]}">{escape(line.legend)}</li>'
        for n, line in enumerate(shown[:_LEGENDS_MAX])
    )
    more = f" <li>and {len(shown) - _LEGENDS_MAX} more</li>" if len(shown) > _LEGENDS_MAX else ""
    return (
        f"<figure>{caption}<div>{_formatted(most, panel.unit)}</div>"
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" style="background:#f6f8fa">{drawn}</svg>'
        f"<ul>{legends}{more}</ul></figure>"
    )


_UNITS: Final = {"s": "s", "bytes": "B", "Bps": "B/s", "reqps": "req/s", "cps": "/s", "short": ""}


def _formatted(value: float, unit: str) -> str:
    """The top of the axis, as people read it."""
    if unit == "percentunit":
        return f"{value:.1%}"
    size = 1024 if unit == "bytes" else 1000
    for prefix in ("", "k", "M", "G"):
        if value < size or prefix == "G":
            return f"{value:.3g} {prefix}{_UNITS[unit]}"
        value /= size
    raise AssertionError


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="of a Prometheus, as http://127.0.0.1:9090")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    asked = parser.parse_args(words)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for name in DASHBOARDS:
        (asked.folder / f"{name}.html").write_text(page(asked.url, name, asked.minutes), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
