"""`girih tenants`: those one is a member of, and what operators do, who prove who they are with
the gateway's own key."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import options, output
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Tokens

app = Commands("Those you are a member of; for operators, what they may use.")

_TENANTS = Listing(
    name=lambda one: one["tenant"]["tenantId"],
    columns=(
        Column(title="tenant", cell=lambda one: one["tenant"]["tenantId"], is_id=True),
        Column(title="name", cell=lambda one: one["tenant"]["name"], is_text=True),
        Column(title="role", cell=lambda one: output.word(one["role"])),
        Column(title="joined", cell=lambda one: moment(one.get("joinedAt", "")), rank=1),
    ),
    nothing="You are a member of none any longer.",
)


_OPERATORS = "girih-accounts"
"""Whose call it is: no tenant pays for it."""


class PlanName(StrEnum):
    """What a tenant may use."""

    free = "free"
    professional = "professional"
    unlimited = "unlimited"
    custom = "custom"


@app.verb(
    "list",
    examples="""
    girih tenants list
    girih login ada@example.org --tenant 3f2a9c1e-52f4-4a0e-9f38-0b7d6c1d2e3f
    """,
)
def list_(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the tenants that you are a member of: `girih login --tenant` takes one."""
    with options.gateway(url) as gateway:
        rows = gateway.pages("/auth/tenants", "memberships")
        listing(rows, _TENANTS, output_format, limit=limit, pager=pager)


@app.verb(
    "set-plan",
    examples="""
    girih tenants set-plan 3f2a9c1e-52f4-4a0e-9f38-0b7d6c1d2e3f professional
    girih tenants set-plan TENANT custom --lattices 50 --axes 4 --extent 0 --calls 0
    """,
)
def set_plan(
    tenant: Annotated[str, typer.Argument(metavar="TENANT", help="Its id.")],
    plan: Annotated[PlanName, typer.Argument(metavar="PLAN", help="The new one.")],
    lattices: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The most lattices at once. 0 is without limit."),
    ] = None,
    axes: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The most axes of a lattice."),
    ] = None,
    extent: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The most sites along an axis."),
    ] = None,
    calls: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="The most calls a month."),
    ] = None,
    schemas: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="The most versions of schemas at once."),
    ] = 0,
    groups: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="The most consumer groups at once."),
    ] = 0,
    jobs: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="The most jobs that wait or run at once."),
    ] = 0,
    data_dir: options.DataDir = options.DATA_DIR,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Put a tenant on another plan, from the next access token on: minutes for those logged in.

    Needs the gateway's key, which lies on its machine. `custom` needs its first four numbers.
    """
    from cli.client.rest import Gateway

    numbers = {
        "latticeCountMax": lattices,
        "axisCountMax": axes,
        "extentMax": extent,
        "monthlyCallCountMax": calls,
    }
    _check(plan, list(numbers.values()))
    limits = {name: number for name, number in numbers.items() if number is not None}
    if schemas:
        limits["schemaCountMax"] = schemas
    if groups:
        limits["groupCountMax"] = groups
    if jobs:
        limits["jobCountMax"] = jobs
    with Gateway(options.server(url).url, _operator(data_dir)) as gateway:
        path = f"/v1/tenants/{options.segment(tenant)}:setPlan"
        answer = gateway.post(path, {"plan": {"name": plan.value, **limits}})
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(
            f"{answer['name']} is on the plan {answer['plan']['name']} now. Access tokens of "
            "before tell the old one until they are refreshed, minutes at most; API keys seconds."
        )


def _check(plan: PlanName, numbers: list[int | None]) -> None:
    limits = [number for number in numbers if number is not None]
    if plan is PlanName.custom and len(limits) < len(numbers):
        raise typer.BadParameter("custom needs --lattices, --axes, --extent and --calls")
    if plan is not PlanName.custom and limits:
        raise typer.BadParameter(f"{plan.value} has its own numbers")


def _operator(data_dir: Path) -> "Tokens":
    """A token that allows nothing but this, for a minute."""
    from cli.client.session import FixedToken
    from cli.failure import Failed
    from cli.local.keyfiles import KeyFiles, explained
    from girih.ids import TenantId
    from services.plumbing.auth.keys import SigningKeyFile
    from services.plumbing.auth.tokens import Issuer
    from services.policy import GATEWAY

    path = KeyFiles.of(data_dir, os.environ).private[GATEWAY]
    if not path.exists():
        message = f"operators need the gateway's key, and {path} is not there; say --data"
        raise Failed(message, exit_codes.CONFIG)
    with explained():
        issuer = Issuer(SigningKeyFile(path), GATEWAY)
    return FixedToken(issuer.service_token(GATEWAY, TenantId(_OPERATORS), ["plans.write"]))
