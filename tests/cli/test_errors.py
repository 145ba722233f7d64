"""What a person reads of a gateway's refusal."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from cli import exit_codes
from cli.client.credentials import CredentialsFile
from cli.client.rest import ErrorBody, Gateway, Refused
from cli.client.session import SessionTokens
from cli.failure import Failed
from girih.credentials import Credential
from girih.servers import Server
from tests import forked
from tests.client.gateways import fake_gateway


def refusal(*violations: tuple[str, str]) -> Refused:
    fields = [{"field": field, "description": text} for field, text in violations]
    details: dict[str, Any] = {"reason": "INVALID_INPUT", "violations": fields}
    first = "{}: {}".format(*violations[0]) if violations else "the request is not valid"
    error = {"code": "INVALID_ARGUMENT", "message": f"{first} (and more)", "details": details}
    body = ErrorBody.of(400, {"error": error}, "c-1")
    assert body is not None
    refused = body.refusal()
    assert isinstance(refused, Refused)
    return refused


def test_every_bad_field_is_told_by_the_name_of_its_option() -> None:
    refused = refusal(("size", "must be 1 or more"), ("shape[2]", "must be 1 or more"))

    assert str(refused.naming({"size": "--size", "shape": "--shape"})).splitlines() == [
        "--size: must be 1 or more",
        "--shape[2]: must be 1 or more",
        "INVALID_INPUT, correlation id c-1",
    ]


def test_a_refusal_without_fields_is_told_by_its_message() -> None:
    assert str(refusal()).splitlines()[0] == "the request is not valid (and more)"


def test_what_a_gateway_says_of_a_field_does_not_move_the_cursor() -> None:
    assert "\x1b" not in str(refusal(("\x1b[2Ja", "must be"), ("b", "must be \x1b[1A")))


def test_a_time_to_wait_that_is_none_is_not_told() -> None:
    error = {"code": "UNAVAILABLE", "message": "m", "details": {"retryAfterS": "soon"}}

    body = ErrorBody.of(503, {"error": error}, "c-1")

    assert body is not None
    assert body.sentence() == "m\nUNAVAILABLE, correlation id c-1"


@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("answer", ["", "<html>", "[]", "null", "[" * 100_000])
def test_what_is_no_girih_is_told_as_such(status: int, answer: str) -> None:
    with fake_gateway() as stranger, Gateway(stranger.url) as gateway:
        stranger.answers = [(status, answer)]

        with pytest.raises(Failed, match="as a gateway of girih does"):
            gateway.get("/v1/me")


def test_a_password_is_not_sent_to_who_is_no_girih(tmp_path: Path) -> None:
    environ = {"PATH": os.environ["PATH"], "GIRIH_CREDENTIALS": str(tmp_path / "sessions.json")}
    with fake_gateway() as stranger:
        stranger.answers = [(200, {"status": "SERVING"})] * 2
        for command in ("register", "login"):
            words = (command, "ada@girih.test", "--password-stdin", "--url", stranger.url)
            done = forked.run(words, environ, stdin="secret\n")

            assert done.returncode == exit_codes.UNAVAILABLE
            assert done.stderr == f"{stranger.url} does not answer as a gateway of girih does\n"

    assert [path for path, _ in stranger.requests] == ["/health/live"] * 2


def test_a_gateway_that_is_too_busy_to_read_is_no_stranger() -> None:
    busy = {"error": {"code": "UNAVAILABLE", "message": "busy", "details": {}}}
    with fake_gateway() as served, Gateway(served.url) as gateway:
        served.answers = [(503, busy)]

        gateway.check_alive()


@pytest.mark.parametrize(
    "tokens",
    [
        {},
        {"access_token": None, "refresh_token": "r", "expires_in": 300},
        {"access_token": "a\nb", "refresh_token": "r", "expires_in": 300},
        {"access_token": "a", "refresh_token": 5, "expires_in": 300},
        {"access_token": "a", "refresh_token": "r", "expires_in": "soon"},
        {"access_token": "a", "refresh_token": "r", "expires_in": 10**400},
        {"access_token": "a", "refresh_token": "r", "expires_in": 300, "user": [1]},
    ],
    ids=range(7),
)
def test_what_is_no_token_takes_no_place_of_a_session(
    tmp_path: Path, tokens: dict[str, object]
) -> None:
    file = CredentialsFile(tmp_path / "sessions.json")
    with fake_gateway() as gateway:
        held = Credential(
            access_token="held", refresh_token="r", expires_at_s=time.time(), url=gateway.url
        )
        with file.locked() as sessions:
            sessions["a"] = held
        gateway.answers = [(200, tokens)]

        with pytest.raises(Failed, match="as a gateway of girih does"):
            SessionTokens(Server(url=gateway.url), file).for_gateway()

    assert file.read() == {"a": held}


def test_a_refresh_token_stays_where_no_other_comes(tmp_path: Path) -> None:
    file = CredentialsFile(tmp_path / "sessions.json")
    with fake_gateway() as gateway:
        with file.locked() as sessions:
            sessions["a"] = Credential(
                access_token="held", refresh_token="r", expires_at_s=0, url=gateway.url
            )
        gateway.answers = [(200, {"access_token": "new", "expires_in": 300})]

        token = SessionTokens(Server(url=gateway.url), file).for_gateway()

    assert (token, file.read()["a"].refresh_token) == ("new", "r")
