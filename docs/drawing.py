"""What the pictures of the concepts are drawn from: boxes, sites, arrows and words, as SVG.

A picture follows the reader's light or dark scheme, and says in words what it shows.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from typing import Self

Point = tuple[float, float]
"""x to the right and y down, in pixels."""

_STYLE = """\
text { font: 14px system-ui, sans-serif; fill: #24292f; }
.small { font-size: 12px; fill: #57606a; }
.line { stroke: #8c959f; stroke-width: 1.5; fill: none; }
.faint { stroke: #d0d7de; stroke-width: 1; fill: none; }
.way { stroke: #0969da; stroke-width: 3; fill: none; }
.bad { stroke: #cf222e; stroke-width: 2.5; fill: none; stroke-dasharray: 5 4; }
.box { fill: #f6f8fa; stroke: #8c959f; stroke-width: 1.5; }
.one { fill: #ddf4ff; stroke: #0969da; stroke-width: 1.5; }
.two { fill: #dafbe1; stroke: #1a7f37; stroke-width: 1.5; }
.free { fill: #fff; stroke: #8c959f; stroke-width: 1.5; }
.blocked { fill: #57606a; stroke: #57606a; stroke-width: 1.5; }
.near { fill: #0969da; stroke: #0969da; stroke-width: 1.5; }
.here { fill: #bc4c00; stroke: #bc4c00; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9198a1; }
  .faint { stroke: #3d444d; }
  .way { stroke: #4493f8; }
  .bad { stroke: #f85149; }
  .box { fill: #151b23; }
  .one { fill: #121d2f; stroke: #4493f8; }
  .two { fill: #12261e; stroke: #3fb950; }
  .free { fill: #0d1117; }
  .blocked { fill: #9198a1; stroke: #9198a1; }
  .near { fill: #4493f8; stroke: #4493f8; }
  .here { fill: #f0883e; stroke: #f0883e; }
}"""

_ARROW = """\
<defs>
<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
 orient="auto-start-reverse"><path d="M0,0 L8,4 L0,8 z" fill="#8c959f"/></marker>
</defs>"""


@dataclass
class Drawing:
    """One picture. What is drawn later lies on top; every method answers the drawing."""

    title: str
    """What it shows, for those who do not see it."""
    width: int
    height: int
    _parts: list[str] = field(default_factory=list)

    def text(self, at: Point, words: str, style: str = "", anchor: str = "middle") -> Self:
        """Words on one line; `at` is the middle of its base line, or its "start" or "end"."""
        x, y = at
        css = f' class="{style}"' if style else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}"{css}>{escape(words)}</text>'
        )
        return self

    def box(
        self, at: Point, size: tuple[float, float], words: str = "", style: str = "box"
    ) -> Self:
        """A rectangle from its upper left corner, with words in its middle."""
        (x, y), (width, height) = at, size
        self._parts.append(
            f'<rect class="{style}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"'
            ' rx="5"/>'
        )
        return self.text((x + width / 2, y + height / 2 + 5), words) if words else self

    def site(self, at: Point, style: str = "free") -> Self:
        """A site of a lattice: a disc, or where it is blocked a square."""
        x, y = at
        self._parts.append(
            f'<rect class="blocked" x="{x - 8:g}" y="{y - 8:g}" width="16" height="16" rx="2"/>'
            if style == "blocked"
            else f'<circle class="{style}" cx="{x:g}" cy="{y:g}" r="7"/>'
        )
        return self

    def line(
        self, points: Iterable[Point], style: str = "line", *, has_arrow: bool = False
    ) -> Self:
        """Straight from point to point."""
        way = " ".join(f"{x:g},{y:g}" for x, y in points)
        arrow = ' marker-end="url(#arrow)"' if has_arrow else ""
        self._parts.append(f'<polyline class="{style}" points="{way}"{arrow}/>')
        return self

    def curve(self, start: Point, bend: Point, end: Point, style: str = "line") -> Self:
        """An arc that is drawn towards `bend`."""
        path = "M{:g},{:g} Q{:g},{:g} {:g},{:g}".format(*start, *bend, *end)
        self._parts.append(f'<path class="{style}" d="{path}"/>')
        return self

    def svg(self) -> str:
        """The file."""
        size = f'width="{self.width}" height="{self.height}"'
        view = f'viewBox="0 0 {self.width} {self.height}" role="img"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} {view}>',
            f"<title>{escape(self.title)}</title>",
            f"<style>\n{_STYLE}\n</style>",
            _ARROW,
            *self._parts,
            "</svg>",
        ]
        return "\n".join(lines) + "\n"
