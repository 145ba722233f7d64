"""`girih members`: who belongs to the tenant, and who may join."""

import os
from enum import StrEnum
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import asking, ids, options, output, passwords
from cli.terminal.formats import Format
from cli.terminal.help import Commands
from cli.terminal.output import Listing, listing, moment
from cli.terminal.table import Column

if TYPE_CHECKING:
    from cli.client.rest import Gateway, Json

app = Commands("Who belongs to the tenant.")


class Role(StrEnum):
    """What a member may do; each may do what those before may."""

    viewer = "viewer"
    member = "member"
    admin = "admin"
    owner = "owner"

    @property
    def wire(self) -> str:
        return f"ROLE_{self.name.upper()}"


Who = Annotated[str, typer.Argument(metavar="MEMBER", help="The user's id or address.")]


_MEMBERS = Listing(
    name=lambda one: one["user"]["userId"],
    columns=(
        Column(title="user", cell=lambda one: one["user"]["userId"], is_id=True, rank=2),
        Column(title="email", cell=lambda one: one["user"]["email"], is_text=True),
        Column(title="name", cell=lambda one: one["user"]["name"], is_text=True, rank=3),
        Column(title="role", cell=lambda one: output.word(one["role"])),
        Column(title="joined", cell=lambda one: moment(one.get("joinedAt", "")), rank=4),
    ),
    nothing="There are no members.",
)


@app.verb("list", examples="girih members list\ngirih members list -o jsonl | jq -r .user.email")
def list_(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the members in the order in which they joined."""
    with options.gateway(url) as gateway:
        rows = gateway.pages("/v1/members", "members")
        listing(rows, _MEMBERS, output_format, limit=limit, pager=pager)


@app.verb("set-role", examples="girih members set-role omar@example.org admin")
def set_role(
    member: Who,
    role: Annotated[Role, typer.Argument(metavar="ROLE", help="The new one.")],
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Give a member another role, from the next refresh of its tokens on."""
    with options.gateway(url) as gateway:
        path = f"/v1/members/{options.segment(_user_id(gateway, member))}"
        answer = gateway.patch(path, {"role": role.wire})
    if output_format.is_document:
        output.document(answer, output_format)
    else:
        output.message(f"{member} is {output.word(answer['role'])} now.")


@app.verb(examples="girih members remove omar@example.org\ngirih members remove 3f2a9c1e --yes")
def remove(
    members: Annotated[
        list[str],
        typer.Argument(
            metavar="MEMBER", help="The users' addresses, their ids, or how these begin."
        ),
    ],
    yes: options.Yes = False,
    url: options.Url = None,
) -> None:
    """Take members out of the tenant, and end their sessions there."""
    with options.gateway(url) as gateway:
        users = {_user_id(gateway, member): member for member in members}
        asking.confirm(f"Take {', '.join(users.values())} out of the tenant?", yes=yes)

        def remove_one(user_id: str) -> None:
            gateway.delete(f"/v1/members/{options.segment(user_id)}")
            output.message(f"{users[user_id]} is no member any more.")

        asking.each(list(users), remove_one)


@app.verb(examples="girih members invite omar@example.org --role viewer")
def invite(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who shall join.")],
    role: Annotated[Role, typer.Option(help="As what.")] = Role.member,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Invite somebody and print the invitation's token, which is not shown again.

    Pass it on: who is invited says `girih members accept`.
    """
    with options.gateway(url) as gateway:
        answer = gateway.post("/v1/invitations", {"email": email, "role": role.wire})
    if output_format.is_document:
        output.document(answer, output_format)
        return
    output.message(f"Invited {email} as {role.value}. The token is shown this once:")
    print(answer["token"])


_INVITATIONS = Listing(
    name=itemgetter("invitationId"),
    columns=(
        Column(title="invitation", cell=itemgetter("invitationId"), is_id=True),
        Column(title="email", cell=itemgetter("email"), is_text=True),
        Column(title="role", cell=lambda one: output.word(one["role"])),
        Column(title="made", cell=lambda one: moment(one.get("createdAt", "")), rank=2),
        Column(title="expires", cell=lambda one: moment(one.get("expiresAt", "")), rank=1),
    ),
    nothing="No invitation is open.",
)


@app.verb(examples="girih members invitations")
def invitations(
    limit: options.Limit = 0,
    pager: options.Pager = True,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """List the invitations that are open."""
    with options.gateway(url) as gateway:
        listing(_invitations(gateway), _INVITATIONS, output_format, limit=limit, pager=pager)


@app.verb("revoke-invitation", examples="girih members revoke-invitation 3f2a9c1e")
def revoke_invitation(
    invitation_ids: Annotated[
        list[str], typer.Argument(metavar="INVITATION", help="Their ids, or how they begin.")
    ],
    yes: options.Yes = False,
    url: options.Url = None,
) -> None:
    """Revoke invitations."""
    with options.gateway(url) as gateway:
        whole = ids.whole(invitation_ids, lambda: map(_INVITATIONS.name, _invitations(gateway)))
        asking.confirm(f"Revoke {' '.join(whole)}?", yes=yes)

        def revoke_one(invitation_id: str) -> None:
            gateway.delete(f"/v1/invitations/{options.segment(invitation_id)}")
            output.message(f"Revoked {invitation_id}.")

        asking.each(whole, revoke_one)


@app.verb(
    examples="""
    girih members accept --name Omar
    GIRIH_INVITATION=... girih members accept --password-stdin < secret
    """
)
def accept(
    name: Annotated[str, typer.Option(help="What to call you, if you are new.")] = "",
    password_stdin: passwords.FromStdin = False,
    url: options.Url = None,
    output_format: options.Output = Format.table,
) -> None:
    """Join the tenant that an invitation is for. Log in afterwards.

    The token is GIRIH_INVITATION, or asked for. The password is the present one of who has the
    invited address already, or a new one.
    """
    from cli.client.rest import Gateway

    server = options.server(url)
    token = os.environ.get("GIRIH_INVITATION") or passwords.asked(
        "Invitation", "set GIRIH_INVITATION"
    )
    secret = passwords.password(from_stdin=password_stdin)
    with Gateway(server.url) as gateway:
        body = {"token": token, "password": secret, "name": name}
        answer = gateway.post("/auth/invitations:accept", body)
    if output_format.is_document:
        output.document(answer, output_format)
        return
    tenant, role = answer["tenant"], output.word(answer["role"])
    output.message(f"{answer['user']['email']} is {role} of {tenant['name']} now. Log in with:")
    print(f"girih login {answer['user']['email']} --tenant {tenant['tenantId']}")


def _user_id(gateway: "Gateway", member: str) -> str:
    """The id of a member that was named by address, by id, or by how that begins."""
    from cli.failure import Failed

    if "@" not in member:
        known = lambda: map(_MEMBERS.name, gateway.pages("/v1/members", "members"))  # noqa: E731
        return ids.whole([member], known)[0]
    wanted = member.casefold()
    for one in gateway.pages("/v1/members", "members"):
        if one["user"]["email"].casefold() == wanted:
            return str(one["user"]["userId"])
    raise Failed(f"no member has the address {member}", exit_codes.NOINPUT)


def _invitations(gateway: "Gateway") -> list["Json"]:
    return list(gateway.get("/v1/invitations").get("invitations", []))
