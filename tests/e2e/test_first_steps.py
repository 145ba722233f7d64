"""What a client of such platforms tries first, word by word, against `girih up`."""

import re
import subprocess
import sys
from typing import Any

import httpx
import pytest

from tests.asking import patient_client
from tests.installations import Installation
from tests.processes import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

REGISTER = {"email": "test@example.com", "password": "test123", "name": "Test User"}
LOGIN = {"email": "test@example.com", "password": "test123"}


@pytest.fixture(scope="module")
def url(installation: Installation) -> str:
    return installation.url


def post(url: str, path: str, body: dict[str, str]) -> httpx.Response:
    """As somebody whom nobody knows."""
    with patient_client(url) as client:
        return client.post(path, json=body)


def signed_in(url: str, login: dict[str, str]) -> httpx.Client:
    reply = post(url, "/auth/login", login)
    assert reply.status_code == 200, reply.text
    return patient_client(url, {"Authorization": f"Bearer {reply.json()['access_token']}"})


def events_of(client: httpx.Client) -> list[dict[str, Any]]:
    """What the clients' own calls left, without what the gateway notes about their safety."""
    reply = client.get("/api/v1/events", headers={"Accept": "application/x-ndjson"})
    assert reply.status_code == 200, reply.text
    events = [httpx.Response(200, text=line).json() for line in reply.text.splitlines()]
    return [event for event in events if event["event"]["stream"] != "$security"]


def test_from_registering_to_reading_the_events(url: str) -> None:
    registered = post(url, "/auth/register", REGISTER)
    assert registered.status_code == 201, registered.text
    assert registered.json()["user"]["email"] == "test@example.com"
    assert registered.json()["tenant"]["tenantId"]

    with signed_in(url, LOGIN) as client:
        created = client.post("/api/v1/lattices", json={"dimensions": 3, "size": 10})
        assert created.status_code == 201, created.text
        lattice = created.json()
        assert (int(lattice["vertices"]), int(lattice["edges"])) == (1_000, 2_700)
        assert int(lattice["bytesHeld"]) > 0

        result = client.post(
            f"/api/v1/lattices/{lattice['latticeId']}:findPath",
            json={"start": {"coordinates": [0, 0, 0]}, "goal": {"coordinates": [9, 9, 9]}},
        )
        assert result.status_code == 200, result.text
        assert result.json()["path"]["length"] == 27

        created_in = [event["event"]["stream"] for event in events_of(client)]
        assert sorted(created_in) == [f"$lattice-{lattice['latticeId']}", "$lattices"]

        _stranger_sees_nothing(url, lattice["latticeId"])


def _stranger_sees_nothing(url: str, lattice_id: str) -> None:
    stranger = {**REGISTER, "email": "stranger@example.com"}
    assert post(url, "/auth/register", stranger).status_code == 201
    with signed_in(url, {**LOGIN, "email": "stranger@example.com"}) as client:
        assert events_of(client) == []
        assert client.get("/api/v1/lattices").json().get("lattices", []) == []
        assert client.get(f"/api/v1/lattices/{lattice_id}").status_code == 404
        assert client.get(f"/api/v1/streams/$lattice-{lattice_id}").status_code == 404


@pytest.mark.parametrize("name", ["$security", "%24security"])
def test_reserved_streams_are_read_by_everybody_and_appended_to_by_nobody(
    url: str, name: str
) -> None:
    ada = {**REGISTER, "email": f"reads-{len(name)}@example.com"}
    assert post(url, "/auth/register", ada).status_code == 201
    with signed_in(url, {**LOGIN, "email": ada["email"]}) as client:
        path = f"/api/v1/streams/{name}"
        reply = client.get(f"{path}/events", headers={"Accept": "application/x-ndjson"})
        event = {"stream": "$security", "type": "security.login"}
        refused = client.post("/api/v1/events:append", json={"events": [event]})

        assert client.get(path).json()["stream"] == "$security"
    assert reply.status_code == 200
    assert '"stream":"$security"' in reply.text.replace(" ", "")
    assert (refused.status_code, refused.json()["error"]["details"]["reason"]) == (
        403,
        "STREAM_OWNED",
    )


def test_a_stranger_without_a_token_is_told_to_log_in(url: str) -> None:
    reply = httpx.get(f"{url}/api/v1/lattices", timeout=30)

    assert reply.status_code == 401
    assert reply.json()["error"]["details"]["reason"] == "TOKEN_REQUIRED"
    assert reply.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_password_and_an_unknown_user_are_answered_alike(url: str) -> None:
    post(url, "/auth/register", {**REGISTER, "email": "known@example.com"})

    wrong, unknown = (
        post(url, "/auth/login", {"email": email, "password": "wrong"})
        for email in ("known@example.com", "nobody@example.com")
    )

    assert (wrong.status_code, unknown.status_code) == (401, 401)
    answer = [reply.json()["error"] for reply in (wrong, unknown)]
    assert answer[0] | {"correlation_id": ""} == answer[1] | {"correlation_id": ""}


def test_programs_of_a_few_lines_call_as_who_is_logged_in(installation: Installation) -> None:
    words = ("register", "programs@example.com", "--password-stdin")
    registered = installation.run(*words, stdin="test123\n")
    assert registered.returncode == 0, registered.stderr
    text = (ROOT / "README.md").read_text().partition("## Use it from Python\n")[2]
    programs = re.findall(r"```python\n(.*?)```", text.partition("\n## ")[0], re.DOTALL)

    printed = [_printed(program, installation) for program in programs]

    assert [len(lines) for lines in printed] == [1, 1, 1, 2]


def _printed(program: str, installation: Installation) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=installation.environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
