"""`girih members`: who belongs to the tenant, and who may join."""

import os
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli import exit_codes
from cli.terminal import options, output, passwords

if TYPE_CHECKING:
    from cli.client.rest import Gateway

app = typer.Typer(help="Who belongs to the tenant.", no_args_is_help=True)


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


@app.command(name="list")
def list_(url: options.Url = None, as_json: options.AsJson = False) -> None:
    """List the members in the order in which they joined."""
    with options.gateway(url) as gateway:
        rows = list(gateway.pages("/v1/members", "members"))
    if as_json:
        output.document({"members": rows})
        return
    output.table(
        ("user", "email", "name", "role", "joined"),
        [
            (
                one["user"]["userId"],
                one["user"]["email"],
                one["user"]["name"],
                output.word(one["role"]),
                output.moment(one.get("joinedAt", "")),
            )
            for one in rows
        ],
        nothing="There are no members.",
    )


@app.command(name="set-role")
def set_role(
    member: Who, role: Role, url: options.Url = None, as_json: options.AsJson = False
) -> None:
    """Give a member another role, from the next refresh of its tokens on."""
    with options.gateway(url) as gateway:
        path = f"/v1/members/{_user_id(gateway, member)}"
        answer = gateway.patch(path, {"role": role.wire})
    if as_json:
        output.document(answer)
    else:
        output.message(f"{member} is {output.word(answer['role'])} now.")


@app.command()
def remove(member: Who, url: options.Url = None) -> None:
    """Take a member out of the tenant, and end its sessions there."""
    with options.gateway(url) as gateway:
        gateway.delete(f"/v1/members/{_user_id(gateway, member)}")
    output.message(f"{member} is no member any more.")


@app.command()
def invite(
    email: Annotated[str, typer.Argument(metavar="EMAIL", help="Who shall join.")],
    role: Annotated[Role, typer.Option(help="As what.")] = Role.member,
    url: options.Url = None,
    as_json: options.AsJson = False,
) -> None:
    """Invite somebody and print the invitation's token, which is not shown again.

    Pass it on: who is invited says `girih members accept`.
    """
    with options.gateway(url) as gateway:
        answer = gateway.post("/v1/invitations", {"email": email, "role": role.wire})
    if as_json:
        output.document(answer)
        return
    output.message(f"Invited {email} as {role.value}. The token is shown this once:")
    print(answer["token"])


@app.command()
def invitations(url: options.Url = None, as_json: options.AsJson = False) -> None:
    """List the invitations that are open."""
    with options.gateway(url) as gateway:
        answer = gateway.get("/v1/invitations")
    if as_json:
        output.document(answer)
        return
    output.table(
        ("invitation", "email", "role", "made", "expires"),
        [
            (
                one["invitationId"],
                one["email"],
                output.word(one["role"]),
                output.moment(one.get("createdAt", "")),
                output.moment(one.get("expiresAt", "")),
            )
            for one in answer.get("invitations", [])
        ],
        nothing="No invitation is open.",
    )


@app.command(name="revoke-invitation")
def revoke_invitation(
    invitation_id: Annotated[str, typer.Argument(metavar="INVITATION", help="Its id.")],
    url: options.Url = None,
) -> None:
    """Revoke an invitation."""
    with options.gateway(url) as gateway:
        gateway.delete(f"/v1/invitations/{options.segment(invitation_id)}")
    output.message(f"Revoked {invitation_id}.")


@app.command()
def accept(
    name: Annotated[str, typer.Option(help="What to call you, if you are new.")] = "",
    password_stdin: passwords.FromStdin = False,
    url: options.Url = None,
    as_json: options.AsJson = False,
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
    if as_json:
        output.document(answer)
        return
    tenant, role = answer["tenant"], output.word(answer["role"])
    output.message(f"{answer['user']['email']} is {role} of {tenant['name']} now. Log in with:")
    print(f"girih login {answer['user']['email']} --tenant {tenant['tenantId']}")


def _user_id(gateway: "Gateway", member: str) -> str:
    """The id of a member that was named by id or by address."""
    from cli.failure import Failed

    if "@" not in member:
        return options.segment(member)
    wanted = member.casefold()
    for one in gateway.pages("/v1/members", "members"):
        if one["user"]["email"].casefold() == wanted:
            return str(one["user"]["userId"])
    raise Failed(f"no member has the address {member}", exit_codes.NOINPUT)
