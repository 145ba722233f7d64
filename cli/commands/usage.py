"""`girih usage`: what the tenant uses, beside what its plan allows."""

from typing import TYPE_CHECKING

from cli.terminal import options, output

if TYPE_CHECKING:
    from cli.client.rest import Json


def usage(url: options.Url = None, as_json: options.AsJson = False) -> None:
    """Show what the tenant uses, and what its plan allows."""
    with options.gateway(url) as gateway:
        answer = gateway.get("/v1/usage")
    if as_json:
        output.document(answer)
        return
    plan, month = answer["plan"], answer["month"]
    output.table(
        ("", "used>", "allowed>"),
        [
            (
                f"calls in {month}",
                *_pair(answer, "callCount", plan, "monthlyCallCountMax"),
            ),
            ("lattices", *_pair(answer, "latticeCount", plan, "latticeCountMax")),
            ("axes of a lattice", "", _allowed(plan, "axisCountMax")),
            ("sites along an axis", "", _allowed(plan, "extentMax")),
            ("events", f"{int(answer.get('eventCount', 0)):,}", ""),
            ("plan", "", plan["name"]),
        ],
        nothing="",
    )


def _pair(answer: "Json", used: str, plan: "Json", allowed: str) -> tuple[str, str]:
    return f"{int(answer.get(used, 0)):,}", _allowed(plan, allowed)


def _allowed(plan: "Json", name: str) -> str:
    number = int(plan.get(name, 0))
    return f"{number:,}" if number else "no limit"
