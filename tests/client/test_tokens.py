"""Tokens are renewed by themselves, before they expire, by one at a time, and errors are typed."""

import asyncio
import inspect
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest

from girih.client import (
    AsyncClient,
    Client,
    GirihError,
    KeyInvalid,
    NewEvent,
    NotLoggedIn,
    Unavailable,
)
from girih.client.connecting import grants, target
from girih.client.connecting.target import Target, Wanted
from girih.client.connecting.transport import Transport
from girih.client.context import current_context
from girih.client.retry import RetryPolicy
from girih.client.tokens import Grant, RenewedToken
from girih.credentials import Credential, CredentialsFile
from girih.servers import Server
from tests.authority import Authority
from tests.client.between import Between, Failure
from tests.client.gateways import FakeGateway, fake_gateway, refusal

HERE = Transport()


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with fake_gateway() as gateway:
        yield gateway


class Mint:
    """Makes tokens, and notes how many make one at the same time."""

    def __init__(self, valid_s: float = 300.0) -> None:
        self.valid_s = valid_s
        self.refused: list[str] = []
        self.at_once = self.at_once_max = 0
        self.is_away = False

    def __call__(self, refused: str) -> Grant:
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        try:
            self.refused.append(refused)
            if self.is_away:
                raise Unavailable.no_answer("away")
            threading.Event().wait(0.01)
            return Grant(f"token-{len(self.refused)}", self.valid_s)
        finally:
            self.at_once -= 1


def test_many_threads_renew_a_token_once() -> None:
    mint = Mint()
    token = RenewedToken(mint)

    with ThreadPoolExecutor(16) as pool:
        given = set(pool.map(lambda _: token.get(30), range(64)))

    assert given == {"token-1"}
    assert (len(mint.refused), mint.at_once_max) == (1, 1)


async def test_many_tasks_renew_a_token_once() -> None:
    mint = Mint()
    token = RenewedToken(mint)

    given = await asyncio.gather(*(token.get_async() for _ in range(64)))

    assert set(given) == {"token-1"}
    assert (len(mint.refused), mint.at_once_max) == (1, 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> "Clock":
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.now_s)
    return clock


@dataclass
class Clock:
    now_s: float = 1000.0


def until_renewed() -> None:
    """Once nobody renews a token any longer."""
    for thread in threading.enumerate():
        if thread.name == "girih token":
            thread.join(30)


def test_a_token_is_renewed_before_it_expires_and_nobody_waits(clock: Clock) -> None:
    token = RenewedToken(Mint(valid_s=300.0))
    first = token.get(30)
    clock.now_s += 239.0
    still = token.get(30)

    clock.now_s += 2.0
    meanwhile = token.get(30)
    until_renewed()

    assert (first, still, meanwhile, token.get(30)) == ("token-1", "token-1", "token-1", "token-2")


def test_a_token_that_is_valid_serves_while_nobody_renews_it(clock: Clock) -> None:
    mint = Mint(valid_s=300.0)
    token = RenewedToken(mint)
    token.get(30)
    mint.is_away = True
    clock.now_s += 298.0
    valid = []
    for _ in range(5):
        valid.append(token.get(30))
        until_renewed()

    clock.now_s += 3.0

    assert valid == ["token-1"] * 5
    assert len(mint.refused) == 2, "a gateway that is away is not asked with every call"
    with pytest.raises(Unavailable):
        token.get(30)


def test_a_gateway_that_hangs_holds_up_no_call_that_has_a_token(clock: Clock) -> None:
    hangs, ends = threading.Event(), threading.Event()
    grants_given = iter([Grant("token-1", 300.0), Grant("token-2", 300.0)])

    def renew(_refused: str) -> Grant:
        if clock.now_s > 1000.0:
            hangs.set()
            ends.wait(30)
        return next(grants_given)

    token = RenewedToken(renew)
    token.get(30)
    clock.now_s += 290.0

    meanwhile = [token.get(30) for _ in range(3)]
    assert hangs.wait(30)
    meanwhile += [token.get(30) for _ in range(3)]
    ends.set()
    until_renewed()

    assert meanwhile == ["token-1"] * 6
    assert token.get(30) == "token-2"


class Hung:
    """A gateway that takes what it is asked, and answers when the test ends."""

    def __init__(self) -> None:
        self.asked = 0
        self.ends = threading.Event()

    def __call__(self, _refused: str) -> Grant:
        self.asked += 1
        self.ends.wait(60)
        return Grant("token", 300.0)


@pytest.fixture
def hung() -> Iterator[Hung]:
    hung = Hung()
    yield hung
    hung.ends.set()
    until_renewed()


def test_no_call_waits_for_a_token_longer_than_it_may(hung: Hung) -> None:
    token = RenewedToken(hung)

    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(token.get, 0.01) for _ in range(8)]

    assert {type(outcome.exception()) for outcome in outcomes} == {Unavailable}
    assert hung.asked == 1


async def test_tasks_that_give_up_leave_one_thread_that_asks(hung: Hung) -> None:
    token = RenewedToken(hung)
    before = threading.active_count()

    for _ in range(20):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.001):
                await token.get_async()
    waiting = asyncio.create_task(token.get_async())
    await asyncio.sleep(0)
    hung.ends.set()

    assert await waiting == "token"
    assert hung.asked == 1
    assert threading.active_count() <= before + 1


def test_whatever_a_renewal_ends_with_reaches_those_who_wait() -> None:
    def renew(_refused: str) -> Grant:
        raise ZeroDivisionError

    token = RenewedToken(renew)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            token.get(30)


@pytest.mark.parametrize("rubbish", [None, 5, b"token", "a\nb", "é"])
async def test_what_is_no_token_is_told_to_who_gives_it(rubbish: object) -> None:
    def token() -> Any:
        return rubbish

    with Client(events="127.0.0.1:1", token=token) as client:
        async with AsyncClient(events="127.0.0.1:1", token=token) as girih:
            for call in (girih.log, client.log):
                with pytest.raises((TypeError, ValueError), match="token must be"):
                    await answered(call)


async def answered(call: Callable[[], Any]) -> None:
    answer = call()
    if inspect.isawaitable(answer):
        await answer


def test_a_token_that_was_refused_is_not_given_again() -> None:
    mint = Mint()
    token = RenewedToken(mint)
    first = token.get(30)

    token.refused("another")
    still = token.get(30)
    token.refused(first)

    assert (still, token.get(30)) == ("token-1", "token-2")
    assert mint.refused == ["", "token-1"]


def test_a_key_is_traded_for_a_token(gateway: FakeGateway) -> None:
    grant = grants.of_key("girih_key", gateway.url, HERE)("")

    assert grant == Grant("token-1", 300.0)
    assert gateway.requests == [("/auth/token", {"key": "girih_key"})]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, refusal("UNAUTHENTICATED", "KEY_INVALID"), KeyInvalid),
        (429, refusal("RESOURCE_EXHAUSTED", "RATE_LIMITED", retryAfterS=7), Unavailable),
        (502, "<html>", Unavailable),
        (200, "<html>", GirihError),
        (200, {"token": "?"}, GirihError),
        (404, "<html>", GirihError),
        (302, "", GirihError),
        (200, "[" * 100_000, GirihError),
        (503, "[" * 100_000, Unavailable),
        (200, {"access_token": None, "expires_in": 300}, GirihError),
        (200, {"access_token": "", "expires_in": 300}, GirihError),
        (200, {"access_token": "a\nb", "expires_in": 300}, GirihError),
        (200, {"access_token": "a", "expires_in": float("nan")}, GirihError),
        (200, {"access_token": "a", "expires_in": 10**400}, GirihError),
        (200, {"access_token": "a", "expires_in": 0}, GirihError),
        (429, refusal("UNAVAILABLE", "RATE_LIMITED", retryAfterS=7), Unavailable),
        (503, refusal("UNAVAILABLE", "AWAY", retryAfterS=float("nan")), Unavailable),
        (503, refusal("UNAVAILABLE", "AWAY", retryAfterS=10**400), Unavailable),
    ],
)
def test_what_a_gateway_answers_instead_is_an_error_by_name(
    gateway: FakeGateway, status: int, body: object, kind: type[GirihError]
) -> None:
    gateway.answers = [(status, body)]

    with pytest.raises(kind) as refused:
        grants.of_key("girih_key", gateway.url, HERE)("")

    assert type(refused.value) is kind
    assert refused.value.retry_after_s == (7.0 if status == 429 else None)
    assert len(gateway.requests) == 1


def test_the_numbers_of_an_error_have_the_names_of_grpc(gateway: FakeGateway) -> None:
    metadata = {"eventIds": "a,b", "limit": "1"}
    gateway.answers = [(409, refusal("ALREADY_EXISTS", "EVENT_ID_REUSED", metadata=metadata))]

    with pytest.raises(GirihError) as refused:
        grants.of_key("girih_key", gateway.url, HERE)("")

    assert refused.value.metadata == {"event_ids": "a,b", "limit": "1"}


def test_an_answer_that_breaks_off_is_a_gateway_that_is_away(gateway: FakeGateway) -> None:
    gateway.breaks_off = True
    for status in (200, 503):
        gateway.answers = [(status, "{}")]

        with pytest.raises(Unavailable):
            grants.of_key("girih_key", gateway.url, HERE)("")


def test_a_refresh_without_another_refresh_token_leaves_the_session_as_it_is(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    file = session(tmp_path / "sessions.json", gateway.url, ends_in_s=0)
    before = file.read()
    gateway.answers = [
        (200, {"access_token": "a", "expires_in": 300}),
        (200, {"access_token": "a", "expires_in": 300, "refresh_token": None}),
    ]

    for _ in range(2):
        with pytest.raises(GirihError, match="no token"):
            grants.of_login(Server(url=gateway.url), file, HERE)("")

    assert file.read() == before


def test_a_gateway_that_is_away_is_away_by_name() -> None:
    with pytest.raises(Unavailable):
        grants.of_key("girih_key", "http://127.0.0.1:1", HERE)("")


def test_a_key_is_not_sent_for_everybody_to_read() -> None:
    with pytest.raises(ValueError, match="must be https"):
        grants.of_key("girih_key", "http://girih.example", HERE)

    grants.of_key("girih_key", "http://girih.example", Transport(is_encrypted=False))
    grants.of_key("girih_key", "https://girih.example", HERE)


def session(file: Path, url: str, *, ends_in_s: float) -> CredentialsFile:
    with CredentialsFile(file).locked() as sessions:
        sessions[url] = Credential(
            access_token="held",
            refresh_token="refresh",
            expires_at_s=time.time() + ends_in_s,
            email="ada@girih.test",
            url=url,
        )
    return CredentialsFile(file)


def test_a_login_gives_its_token_while_that_is_good(gateway: FakeGateway, tmp_path: Path) -> None:
    file = session(tmp_path / "sessions.json", gateway.url, ends_in_s=200)

    grant = grants.of_login(Server(url=gateway.url), file, HERE)("")

    assert grant.token == "held"
    assert 190 < grant.valid_s <= 200
    assert gateway.requests == []


@pytest.mark.parametrize(("ends_in_s", "refused"), [(30, ""), (200, "held")])
def test_a_login_is_refreshed_and_kept_for_other_programs(
    gateway: FakeGateway, tmp_path: Path, ends_in_s: float, refused: str
) -> None:
    file = session(tmp_path / "sessions.json", gateway.url, ends_in_s=ends_in_s)

    grant = grants.of_login(Server(url=gateway.url), file, HERE)(refused)

    kept = file.read()[gateway.url]
    assert grant.token == kept.access_token == "token-1"
    assert (kept.refresh_token, kept.email) == ("refresh-1", "ada@girih.test")
    assert gateway.requests == [("/auth/refresh", {"refresh_token": "refresh"})]


def test_a_refresh_whose_answer_is_lost_is_asked_for_again(
    gateway: FakeGateway, tmp_path: Path
) -> None:
    file = session(tmp_path / "sessions.json", gateway.url, ends_in_s=0)
    gateway.answers = [(503, "")]

    grant = grants.of_login(Server(url=gateway.url), file, HERE)("")

    assert grant.token == "token-2"
    assert [body["refresh_token"] for _, body in gateway.requests] == ["refresh", "refresh"]


def test_a_session_that_has_ended_is_told_by_name(gateway: FakeGateway, tmp_path: Path) -> None:
    file = session(tmp_path / "sessions.json", gateway.url, ends_in_s=0)
    gateway.answers = [(401, refusal("UNAUTHENTICATED", "REFRESH_TOKEN_INVALID"))]

    with pytest.raises(NotLoggedIn, match="girih login"):
        grants.of_login(Server(url=gateway.url), file, HERE)("")


def target_of(environ: dict[str, str], folder: Path, **options: object) -> Target:
    nothing = dict.fromkeys(("server", "events", "lattice", "token", "api_key", "timeout"))
    wanted = {"retry": RetryPolicy(), "context": current_context, **nothing, **options}
    environ = {"GIRIH_CREDENTIALS": str(folder / "sessions.json"), **environ}
    return target.find(Wanted(**wanted), HERE, environ, folder)  # type: ignore[arg-type]


def addresses(of: Target) -> tuple[str, str]:
    return of.events_address, of.lattice_address


def test_services_are_beside_the_gateway_unless_they_are_named(tmp_path: Path) -> None:
    url = {"GIRIH_URL": "https://girih.example", "GIRIH_API_KEY": "k"}
    named = {"GIRIH_EVENTS_ADDRESS": "e:1", "GIRIH_LATTICE_ADDRESS": "l:2"}

    assert addresses(target_of(url, tmp_path)) == ("girih.example:50051", "girih.example:50052")
    assert addresses(target_of(url | named, tmp_path)) == ("e:1", "l:2")
    assert addresses(target_of(url | named, tmp_path, events="a:1")) == ("a:1", "l:2")
    assert addresses(target_of({}, tmp_path, events="a:1", token="t")) == ("a:1", "a:50052")
    assert addresses(target_of({}, tmp_path, server="http://[::1]:8000", api_key="k")) == (
        "[::1]:50051",
        "[::1]:50052",
    )


def test_a_login_is_found_without_a_word(gateway: FakeGateway, tmp_path: Path) -> None:
    session(tmp_path / "sessions.json", gateway.url, ends_in_s=200)

    token = target_of({}, tmp_path).caller.token

    assert isinstance(token, RenewedToken)
    assert token.get(30) == "held"


def test_nothing_known_and_nonsense_are_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="GIRIH_URL"):
        target_of({}, tmp_path)
    with pytest.raises(ValueError, match="must not both"):
        target_of({}, tmp_path, token="t", api_key="k")
    with pytest.raises(ValueError, match="printable"):
        target_of({"GIRIH_URL": "http://127.0.0.1:1"}, tmp_path, api_key="k k")


def test_a_girih_that_does_not_run_is_away_by_name(tmp_path: Path) -> None:
    (tmp_path / ".girih").mkdir()
    (tmp_path / ".girih" / "lock").touch()

    with pytest.raises(Unavailable) as away:
        target_of({}, tmp_path)

    assert away.value.reason == "NOT_RUNNING"


async def test_a_client_renews_a_token_that_a_service_refuses(
    broken: Between, gateway: FakeGateway, authority: Authority, tenant: str
) -> None:
    good = {"access_token": authority.token(tenant), "expires_in": 300}
    gateway.answers = [(200, good), (200, good)]
    broken.failures = [Failure(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")]

    async with AsyncClient(gateway.url, api_key="k", events=broken.address) as girih:
        await girih.append([NewEvent(stream="a", type="x")])

    assert len(gateway.requests) == 2


async def test_a_client_waits_for_a_gateway_that_is_away_for_a_moment(
    broken: Between, gateway: FakeGateway, authority: Authority, tenant: str
) -> None:
    good = {"access_token": authority.token(tenant), "expires_in": 300}
    gateway.answers = [(503, ""), (502, ""), (200, good)]

    def append() -> None:
        with Client(gateway.url, api_key="k", events=broken.address) as girih:
            girih.append([NewEvent(stream="a", type="x")])

    await asyncio.to_thread(append)

    assert len(broken.requests) == 1


def test_secrets_are_in_no_text_of_a_grant() -> None:
    assert "secret" not in repr(Grant("secret", 1.0))
    assert "secret" not in json.dumps(repr(RenewedToken(lambda _: Grant("secret", 1.0))))
