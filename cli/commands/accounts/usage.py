"""`girih usage`: what the tenant uses, beside what its plan allows."""

from operator import itemgetter
from typing import TYPE_CHECKING

from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Json


def usage(url: options.Url = None, output_format: options.Output = Format.table) -> None:
    """Show what the tenant uses, and what its plan allows."""
    with options.gateway(url) as gateway:
        answer = gateway.get("/v1/usage")
    plan, month = answer["plan"], answer["month"]
    rows = [
        (f"calls in {month}", *_pair(answer, "callCount", plan, "monthlyCallCountMax")),
        ("lattices", *_pair(answer, "latticeCount", plan, "latticeCountMax")),
        ("axes of a lattice", "", _allowed(plan, "axisCountMax")),
        ("sites along an axis", "", _allowed(plan, "extentMax")),
        ("versions of schemas", "", _allowed(plan, "schemaCountMax")),
        ("consumer groups", "", _allowed(plan, "groupCountMax")),
        ("jobs that wait or run", "", _allowed(plan, "jobCountMax")),
        ("events", f"{int(answer.get('eventCount', 0)):,}", ""),
        ("plan", "", plan["name"]),
    ]
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.listing(rows, _USAGE, output_format, pager=False)


_USAGE = output.Listing(
    name=itemgetter(0),
    columns=(
        Column(title="", cell=itemgetter(0)),
        Column(title="used", cell=itemgetter(1), is_number=True),
        Column(title="allowed", cell=itemgetter(2), is_number=True),
    ),
)


def _pair(answer: "Json", used: str, plan: "Json", allowed: str) -> tuple[str, str]:
    return f"{int(answer.get(used, 0)):,}", _allowed(plan, allowed)


def _allowed(plan: "Json", name: str) -> str:
    number = int(plan.get(name, 0))
    return f"{number:,}" if number else "no limit"
