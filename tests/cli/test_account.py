"""Who one is: registered, logged in, refreshed and logged out, against a real gateway."""

import json
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import grpc
import httpx
import pytest

from cli.client.credentials import Credential, CredentialsFile
from girih.events.v1 import events_pb2 as pb
from girih.events.v1 import events_pb2_grpc as rpc
from tests.cli.conftest import PASSWORD, Person
from tests.cli.typing_at import typing
from tests.processes import ROOT, System

pytestmark = pytest.mark.e2e


def held_by(person: Person) -> Credential:
    return CredentialsFile(person.credentials).read()[person.environ["GIRIH_URL"]]


def let_expire(person: Person) -> Credential:
    """As if the access token had grown old; answers what was held before."""
    before = held_by(person)
    with CredentialsFile(person.credentials).locked() as sessions:
        sessions[person.environ["GIRIH_URL"]] = replace(before, expires_at_s=0.0)
    return before


def test_who_registers_is_logged_in_as_the_owner_of_a_tenant(ada: Person) -> None:
    answer = ada.does("whoami", "--json").json

    assert answer["user"]["email"] == ada.email
    assert answer["role"] == "ROLE_OWNER"
    assert ada.email in ada.does("whoami").out


def test_secrets_are_in_a_file_of_ones_own_and_in_no_output(
    somebody: Callable[[], Person],
) -> None:
    person = somebody()
    done = person.does("register", person.email, "--password-stdin", stdin=f"{PASSWORD}\n")

    held = held_by(person)
    assert stat.S_IMODE(person.credentials.stat().st_mode) == 0o600
    for secret in (PASSWORD, held.access_token, held.refresh_token):
        assert secret not in done.out + done.err


def test_nothing_is_made_when_a_session_could_not_be_kept(somebody: Callable[[], Person]) -> None:
    person = somebody()
    nowhere = "/proc/nowhere/credentials.json"

    refused = person.girih(
        "register", person.email, GIRIH_PASSWORD=PASSWORD, GIRIH_CREDENTIALS=nowhere
    )

    assert refused.code == 78
    assert f"{nowhere} cannot be used" in refused.err
    assert person.girih("register", person.email, GIRIH_PASSWORD=PASSWORD).code == 0


def test_an_address_registers_once(ada: Person) -> None:
    again = ada.girih("register", ada.email, "--password-stdin", stdin=f"{PASSWORD}\n")

    assert again.code == 73
    assert "EMAIL_TAKEN, correlation id " in again.err


def test_a_wrong_password_is_77_and_says_no_more(ada: Person) -> None:
    wrong = ada.girih("login", ada.email, GIRIH_PASSWORD="not this one")
    unknown = ada.girih("login", f"x{ada.email}", GIRIH_PASSWORD="not this one")

    assert (wrong.code, unknown.code) == (77, 77)
    assert wrong.err.splitlines()[0] == unknown.err.splitlines()[0]
    assert "CREDENTIALS_INVALID" in wrong.err


def test_the_printed_token_is_taken_by_the_gateway_and_by_the_services(
    ada: Person, system: System
) -> None:
    token = ada.does("token").out.strip()
    headers = {"Authorization": f"Bearer {token}"}

    assert httpx.get(f"{system.url}/v1/log", headers=headers, timeout=30).status_code == 200
    with grpc.insecure_channel(system.events_address) as channel:
        metadata = (("authorization", f"Bearer {token}"),)
        rpc.EventStoreServiceStub(channel).GetLog(pb.GetLogRequest(), metadata=metadata, timeout=30)


def test_register_asks_again_for_what_cannot_be_and_says_what_is_next(
    somebody: Callable[[], Person],
) -> None:
    person = somebody()
    with typing(person.command("register"), person.environ) as terminal:
        terminal.wait_for("Email: ")
        terminal.type("ada at girih")
        terminal.wait_for("must be an address")
        terminal.wait_for("Email: ")
        terminal.type(person.email)
        for again in (PASSWORD[:-1], PASSWORD):
            terminal.wait_for("Password: ")
            terminal.type(PASSWORD)
            terminal.wait_for("Password, again: ")
            terminal.type(again)
        assert terminal.end() == 0, terminal.shown

    assert "The two are not the same; once more." in terminal.shown
    assert "Next: girih lattices create" in terminal.shown
    assert PASSWORD not in terminal.shown


def test_a_password_that_everybody_knows_is_asked_for_again(somebody: Callable[[], Person]) -> None:
    person = somebody()
    with typing(person.command("register", person.email), person.environ) as terminal:
        for secret in ("password", PASSWORD):
            terminal.wait_for("Password: ")
            terminal.type(secret)
            terminal.wait_for("Password, again: ")
            terminal.type(secret)
        assert terminal.end() == 0, terminal.shown

    assert "password: must be one that not everybody knows; once more." in terminal.shown


def test_ctrl_c_at_a_prompt_is_130(somebody: Callable[[], Person]) -> None:
    person = somebody()
    with typing(person.command("login", person.email), person.environ) as terminal:
        terminal.wait_for("Password: ")
        terminal.interrupt()

        assert terminal.end() == 130, terminal.shown
    assert "Traceback" not in terminal.shown


def test_no_password_is_asked_for_where_nobody_answers(somebody: Callable[[], Person]) -> None:
    person = somebody()
    environ = person.environ | {"GIRIH_URL": "http://127.0.0.1:1"}
    with typing(person.command("register", person.email), environ) as terminal:
        code = terminal.end()

    assert code == 69
    assert "girih is not running there; start it: girih up" in terminal.shown
    assert "Password" not in terminal.shown


def test_a_token_that_grows_old_is_refreshed_unnoticed(ada: Person) -> None:
    before = let_expire(ada)

    ada.does("whoami")

    after = held_by(ada)
    assert after.refresh_token != before.refresh_token
    assert after.email == ada.email


def test_commands_at_once_refresh_once(ada: Person, system: System) -> None:
    let_expire(ada)
    before = refresh_count(system)

    children = [
        subprocess.Popen(
            ada.command("whoami", "--json"), cwd=ROOT, env=ada.environ, stdout=subprocess.DEVNULL
        )
        for _ in range(6)
    ]

    assert [child.wait(timeout=60) for child in children] == [0] * 6
    assert refresh_count(system) == before + 1


def refresh_count(system: System) -> int:
    # Beside them is what Python says by itself, of a gateway that was killed.
    lines = [
        json.loads(line)
        for line in system.gateway.log.read_text().splitlines()
        if line.startswith("{")
    ]
    return sum("/auth/refresh" in str(line) for line in lines)


def test_a_token_that_is_refused_is_replaced_once(ada: Person) -> None:
    with CredentialsFile(ada.credentials).locked() as sessions:
        url = ada.environ["GIRIH_URL"]
        broken = f"{sessions[url].access_token[:-8]}AAAAAAAA"
        sessions[url] = replace(sessions[url], access_token=broken)

    ada.does("whoami")

    assert held_by(ada).access_token != broken


def test_a_session_that_has_ended_says_log_in_again(ada: Person, tmp_path: Path) -> None:
    elsewhere = replace(
        ada, environ={**ada.environ, "GIRIH_CREDENTIALS": str(tmp_path / "elsewhere.json")}
    )
    elsewhere.does("login", ada.email, GIRIH_PASSWORD=PASSWORD)
    elsewhere.does("logout", "--everywhere")
    let_expire(ada)

    done = ada.girih("whoami")

    assert done.code == 77
    assert "the session has ended" in done.err
    assert "girih login" in done.err


def test_who_logs_out_is_not_logged_in(ada: Person) -> None:
    ada.does("logout")

    assert ada.girih("whoami").code == 77
    assert ada.girih("logout").code == 77


def test_the_new_password_is_the_one_that_counts(ada: Person) -> None:
    new = "another strapwork of stars"
    ada.does("password", "--password-stdin", stdin=f"{PASSWORD}\n{new}\n")

    ada.does("whoami")
    assert ada.girih("login", ada.email, GIRIH_PASSWORD=PASSWORD).code == 77
    ada.does("login", ada.email, GIRIH_PASSWORD=new)


def test_a_session_is_ended_from_another(ada: Person) -> None:
    elsewhere = {"GIRIH_CREDENTIALS": f"{ada.environ['GIRIH_CREDENTIALS']}-elsewhere"}
    ada.does("login", ada.email, GIRIH_PASSWORD=PASSWORD, **elsewhere)
    listed = ada.does("sessions", "list", "--json").json
    other = next(one["sessionId"] for one in listed if not one["isCurrent"])

    ada.does("sessions", "end", other, "--yes")

    assert ada.girih("whoami", **elsewhere).code == 77
    assert ada.girih("sessions", "end", other, "--yes").code == 66
    tenants = ada.does("tenants", "list", "--json").json
    assert [one["tenant"]["tenantId"] for one in tenants] == [held_by(ada).tenant_id]


def test_a_key_stands_in_for_a_session(ada: Person) -> None:
    scopes = ("--scope", "events.append", "--scope", "events.read")
    made = ada.does("keys", "create", "importer", *scopes)
    key = {"GIRIH_API_KEY": made.out.strip(), "GIRIH_CREDENTIALS": "/nowhere/at/all"}

    answer = ada.does("whoami", "--json", **key).json
    assert answer["key"]["name"] == "importer"
    assert "user" not in answer or not answer["user"]
    assert ada.does("token", **key).out.count(".") == 2
    ada.does("events", "append", "s", "t", **key)
    refused = ada.girih("lattices", "create", "-d", "1", "-n", "3", **key)
    assert (refused.code, "SCOPE_MISSING" in refused.err) == (77, True)

    listed = ada.does("keys", "list", "--json").json
    ada.does("keys", "revoke", listed[0]["keyId"], "--yes")
    assert ada.girih("whoami", **key).code == 77
    assert ada.girih("keys", "revoke", listed[0]["keyId"], "--yes").code == 66


def test_an_import_takes_the_session_or_a_key(ada: Person, tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text('{"stream":"s","type":"t"}\n' * 30)
    key = ada.does("keys", "create", "k", "--scope=events.append", "--scope=events.read")

    first = ada.does("import", str(file), "--json").json
    again = ada.does("import", str(file), "--json", GIRIH_API_KEY=key.out.strip()).json

    assert (first["appended"], again["alreadyStored"]) == (30, 30)


def test_somebody_joins_by_invitation(ada: Person, somebody: Callable[[], Person]) -> None:
    omar = somebody()
    token = ada.does("members", "invite", omar.email, "--role", "viewer").out.strip()
    assert omar.email in ada.does("members", "invitations").out

    joined = omar.does(
        *("members", "accept", "--name", "Omar", "--json"),
        GIRIH_INVITATION=token,
        GIRIH_PASSWORD=PASSWORD,
    ).json
    login = ("login", omar.email, "--tenant", joined["tenant"]["tenantId"])
    omar.does(*login, GIRIH_PASSWORD=PASSWORD)

    refused = omar.girih("events", "append", "s", "t")
    assert (refused.code, "SCOPE_MISSING" in refused.err) == (77, True)
    ada.does("members", "set-role", omar.email, "member")
    omar.does(*login, GIRIH_PASSWORD=PASSWORD)
    omar.does("events", "append", "s", "t")

    members = ada.does("members", "list", "--json").json
    roles = {one["user"]["email"]: one["role"] for one in members}
    assert roles == {ada.email: "ROLE_OWNER", omar.email: "ROLE_MEMBER"}
    ada.does("members", "remove", omar.email, "--yes")
    assert ada.girih("members", "remove", omar.email, "--yes").code == 66


def test_an_invitation_can_be_revoked(ada: Person, somebody: Callable[[], Person]) -> None:
    omar = somebody()
    token = ada.does("members", "invite", omar.email).out.strip()
    open_ = ada.does("members", "invitations", "--json").json

    ada.does("members", "revoke-invitation", open_[0]["invitationId"], "--yes")

    refused = omar.girih(
        "members", "accept", GIRIH_INVITATION=token, GIRIH_PASSWORD=PASSWORD, GIRIH_NAME="Omar"
    )
    assert (refused.code, "INVITATION_INVALID" in refused.err) == (77, True)


def test_the_last_owner_stays(ada: Person) -> None:
    done = ada.girih("members", "set-role", ada.email, "viewer")

    assert (done.code, "LAST_OWNER" in done.err) == (75, True)


def test_an_operator_puts_a_tenant_on_another_plan(ada: Person) -> None:
    tenant = held_by(ada).tenant_id
    numbers = ("--lattices", "1", "--axes", "0", "--extent", "0", "--calls", "0")

    ada.does("tenants", "set-plan", tenant, "custom", *numbers)
    let_expire(ada)  # a plan counts from the next refresh on

    usage = ada.does("usage", "--json").json
    assert (usage["plan"]["name"], usage["plan"]["latticeCountMax"]) == ("custom", 1)
    ada.does("lattices", "create", "--shape", "1000000")
    beyond = ada.girih("lattices", "create", "--shape", "10")
    assert (beyond.code, "PLAN_LIMIT" in beyond.err) == (77, True), beyond
    assert "no limit" in ada.does("usage").out


def test_a_plan_of_nobody_is_66(ada: Person) -> None:
    nobody = "00000000-0000-4000-8000-000000000000"

    assert ada.girih("tenants", "set-plan", nobody, "free").code == 66


def test_more_calls_than_the_plan_has_are_75(ada: Person) -> None:
    numbers = ("--lattices", "0", "--axes", "0", "--extent", "0", "--calls", "1")
    ada.does("tenants", "set-plan", held_by(ada).tenant_id, "custom", *numbers)
    let_expire(ada)

    ada.does("events", "list")
    refused = ada.girih("events", "list")

    assert refused.code == 75, refused
    assert "correlation id" in refused.err
