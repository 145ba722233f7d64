"""Who may call, for every kind of rpc: nobody, but those whose token allows it."""

import asyncio
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from girih.ids import TenantId
from services.plumbing import correlation
from services.plumbing.correlation import Call
from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.errors import RemoteError, from_rpc_error
from services.plumbing.grpc.ops import add_metrics_service
from services.plumbing.identity import OPS_READ, PUBLIC, SIGNED_IN
from services.plumbing.settings import ServerSettings
from services.policy import GATEWAY
from tests.authority import USER, Authority
from tests.plumbing.conftest import Log, MakeSettings, Served, serving, until
from tests.plumbing.knots import DOMAIN, KINDS, SCOPE, KnotClient, Knots

every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def stranger(served: Served) -> KnotClient:
    """Has no token."""
    return KnotClient(served.channel)


async def refused(client: KnotClient, kind: str, **options: Any) -> RemoteError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await client.ask(kind, **options)
    return from_rpc_error(caught.value)


def bearer(token: str, scheme: str = "Bearer") -> list[tuple[str, str]]:
    return [("authorization", f"{scheme} {token}")]


@every_kind
@pytest.mark.parametrize("environment", ["development", "production"])
async def test_a_call_without_a_token_is_refused(
    make_settings: MakeSettings, environment: str, kind: str, log: Log
) -> None:
    async with serving(make_settings(environment=environment), Knots()) as served:
        error = await refused(KnotClient(served.channel), kind)

        assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_REQUIRED")
        assert served.knots.seen.calls == []


@every_kind
async def test_the_handler_knows_who_calls(
    served: Served, stranger: KnotClient, authority: Authority, kind: str
) -> None:
    token = authority.token("acme", [SCOPE], aud=[DOMAIN])

    await stranger.ask(kind, "ok", metadata=bearer(token))

    (call,) = served.knots.seen.calls
    assert call.principal is not None
    assert (call.tenant, call.principal.tenant, call.principal.subject) == ("acme", "acme", USER)
    assert call.token == token
    assert token not in repr(call)


@every_kind
async def test_whose_data_it_is_comes_from_the_token_alone(
    served: Served, stranger: KnotClient, authority: Authority, kind: str
) -> None:
    names = [(name, "delft") for name in ("x-tenant-id", "tenant", "x-user-id", "x-girih-tenant")]

    error = await refused(stranger, kind, metadata=names)
    await stranger.ask(kind, "ok", metadata=[*names, *authority.metadata("acme", aud=[DOMAIN])])

    assert error.reason == "TOKEN_REQUIRED"
    assert [call.tenant for call in served.knots.seen.calls] == ["acme"]


@every_kind
async def test_a_token_without_the_scope_is_refused(
    served: Served, stranger: KnotClient, authority: Authority, kind: str
) -> None:
    token = authority.token(scopes=["events.append"], aud=[DOMAIN])

    error = await refused(stranger, kind, metadata=bearer(token))

    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "SCOPE_MISSING")
    assert error.metadata == {"scope": SCOPE}
    assert served.knots.seen.calls == []


@every_kind
async def test_a_token_for_other_services_is_refused(
    served: Served, stranger: KnotClient, authority: Authority, kind: str
) -> None:
    error = await refused(stranger, kind, metadata=bearer(authority.token()))

    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
    assert error.message == "the token is not valid"
    assert served.knots.seen.calls == []


@every_kind
async def test_an_expired_token_is_told_apart(
    served: Served, stranger: KnotClient, authority: Authority, kind: str
) -> None:
    token = authority.token(aud=[DOMAIN], exp=int(time.time()) - 1)

    error = await refused(stranger, kind, metadata=bearer(token))

    assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_may_be_spelled_as_one_likes(
    stranger: KnotClient, authority: Authority, scheme: str
) -> None:
    token = authority.token(aud=[DOMAIN])

    assert await stranger.ask("Unary", "ok", metadata=bearer(token, scheme))


@pytest.mark.parametrize(
    "form",
    [
        "{0}",
        "Bearer",
        "Bearer ",
        "Bearer  {0}",
        "Basic {0}",
        "Bearer {0}, Bearer {0}",
        "Bearer {0} {0}",
        "Bearer:{0}",
        "",
    ],
)
async def test_what_is_not_one_bearer_token_is_refused(
    stranger: KnotClient, authority: Authority, form: str
) -> None:
    sent = form.format(authority.token(aud=[DOMAIN]))

    error = await refused(stranger, "Unary", metadata=[("authorization", sent)])

    assert error.reason == "TOKEN_INVALID"


@every_kind
async def test_two_tokens_are_none(stranger: KnotClient, authority: Authority, kind: str) -> None:
    both = [*authority.metadata("acme", aud=[DOMAIN]), *authority.metadata("delft", aud=[DOMAIN])]
    same = authority.metadata("acme", aud=[DOMAIN]) * 2

    for metadata in (both, same):
        assert (await refused(stranger, kind, metadata=metadata)).reason == "TOKEN_INVALID"


async def test_a_token_of_1_mb_is_refused(served: Served, authority: Authority) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await served.client.ask("Unary", "ok", metadata=bearer("x" * 2**20), timeout=10)

    assert served.knots.seen.calls == []


@every_kind
@pytest.mark.parametrize("sent", [[], bearer("nonsense")], ids=["no token", "a wrong token"])
async def test_anybody_may_call_what_the_contract_makes_public(
    settings: ServerSettings, kind: str, sent: list[tuple[str, str]], log: Log
) -> None:
    async with serving(settings, Knots(), scope_of=lambda _method: PUBLIC) as served:
        await KnotClient(served.channel).ask(kind, "ok", metadata=sent)

        (call,) = served.knots.seen.calls
        assert (call.tenant, call.principal, call.token) == ("", None, "")


@every_kind
async def test_any_token_will_do_for_those_who_are_signed_in(
    settings: ServerSettings, authority: Authority, kind: str, log: Log
) -> None:
    token = authority.token(scopes=[], aud=[DOMAIN])
    async with serving(settings, Knots(), scope_of=lambda _method: SIGNED_IN) as served:
        assert await KnotClient(served.channel, token).ask(kind, "ok")

        assert (await refused(KnotClient(served.channel), kind)).reason == "TOKEN_REQUIRED"


@every_kind
async def test_only_operators_need_no_tenant(
    settings: ServerSettings, authority: Authority, kind: str, log: Log
) -> None:
    everything = [OPS_READ, SCOPE]
    token = authority.service_token(DOMAIN, "", everything, service=GATEWAY, sub=GATEWAY)

    async with serving(settings, Knots(), scope_of=lambda _method: OPS_READ) as served:
        assert await KnotClient(served.channel, token).ask(kind, "ok")
        assert served.knots.seen.calls[0].tenant == ""
    async with serving(settings, Knots()) as served:
        error = await refused(KnotClient(served.channel, token), kind)

    assert (error.code, error.reason) == (grpc.StatusCode.PERMISSION_DENIED, "TENANT_REQUIRED")


async def test_no_rpc_of_a_server_is_forgotten(settings: ServerSettings, log: Log) -> None:
    async with serving(settings, Knots()) as served:
        add_metrics_service(served.server)
        open_to_all = {
            path for path in served.server._handlers if await _answers_anybody(served.channel, path)
        }

    assert open_to_all == {
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/List",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    }


async def _answers_anybody(channel: grpc.aio.Channel, path: str) -> bool:
    """Whether a caller without a token gets further than being refused for that."""
    ask: Any = channel.unary_stream(path)
    call = ask(b"", timeout=5)
    try:
        if await call.read() is not grpc.aio.EOF:
            return True  # and more would follow
    except grpc.aio.AioRpcError:
        pass
    finally:
        call.cancel()
    return await call.code() is not grpc.StatusCode.UNAUTHENTICATED


async def test_a_stream_ends_with_the_token_it_was_opened_with(
    served: Served, stranger: KnotClient, authority: Authority, log: Log
) -> None:
    token = authority.token(aud=[DOMAIN], exp=int(time.time()) + 2)
    streams = [kind for kind in KINDS if kind != "Unary"]

    errors = await asyncio.gather(
        *(_ended(stranger.start(kind, "wait", metadata=bearer(token))) for kind in streams)
    )

    assert len(served.knots.seen.calls) == len(streams)
    for error in errors:
        assert (error.code, error.reason) == (grpc.StatusCode.UNAUTHENTICATED, "TOKEN_EXPIRED")
    assert served.knots.seen.cancelled.is_set()
    assert log.lines("a call was refused") == [], "they were let in"
    assert refused_by_reason(served) == {}


async def _ended(call: Any) -> RemoteError:
    try:
        if hasattr(call, "__await__"):
            await call
        else:
            [_ async for _ in call]
    except grpc.aio.AioRpcError as error:
        return from_rpc_error(error)
    pytest.fail("it went well")


async def test_a_stream_that_ends_for_another_reason_says_so(
    make_settings: MakeSettings, log: Log
) -> None:
    async with serving(make_settings(stream_timeout_s=0.05), Knots()) as served:
        call = served.client.start("ServerStream", "wait")

        assert (await _ended(call)).reason == "DEADLINE_EXCEEDED"


def refused_by_reason(served: Served) -> dict[str, float]:
    return {
        sample.labels["reason"]: sample.value
        for metric in served.server.registry.collect()
        for sample in metric.samples
        if sample.name == "girih_calls_refused_total"
    }


async def test_refusals_are_counted_by_reason(
    served: Served, stranger: KnotClient, authority: Authority
) -> None:
    sent = [
        [],
        [],
        bearer("nonsense"),
        authority.metadata(scopes=[], aud=[DOMAIN]),
        authority.metadata(aud=[DOMAIN], exp=0),
    ]
    for metadata in sent:
        await refused(stranger, "Unary", metadata=metadata)

    assert refused_by_reason(served) == {
        "TOKEN_REQUIRED": 2,
        "TOKEN_INVALID": 1,
        "SCOPE_MISSING": 1,
        "TOKEN_EXPIRED": 1,
    }


async def test_a_refusal_is_a_line_of_the_security_log(
    stranger: KnotClient, authority: Authority, log: Log
) -> None:
    metadata = [
        *authority.metadata("acme", scopes=[], aud=[DOMAIN]),
        ("x-correlation-id", "c-1"),
    ]
    await refused(stranger, "Unary", metadata=metadata)

    (line,) = log.lines("a call was refused")
    assert (line["component"], line["level"]) == ("security", "warning")
    assert line["method"] == "/girih.test.v1.KnotService/Unary"
    assert (line["tenant"], line["subject"], line["service"]) == ("acme", USER, "")
    assert line["reason"] == "SCOPE_MISSING"
    assert line["peer"].startswith("ipv4:127.0.0.1:")
    assert line["correlation_id"] == "c-1"


async def test_the_log_says_why_and_the_caller_does_not_learn_it(
    stranger: KnotClient, authority: Authority, log: Log
) -> None:
    error = await refused(stranger, "Unary", metadata=authority.metadata("acme"))

    (line,) = log.lines("a call was refused")
    assert line["why"] == "it is meant for another service"
    assert (error.message, error.metadata) == ("the token is not valid", {})


async def test_no_token_is_ever_written_down(
    served: Served, stranger: KnotClient, authority: Authority, log: Log
) -> None:
    tokens = [
        authority.token(aud=[DOMAIN]),
        authority.token(),
        authority.token(aud=[DOMAIN], exp=0),
        authority.token(aud=[DOMAIN], scopes=[]),
        "canary.canary.canary",
    ]
    for token in tokens:
        for what in ("ok", "crash", "refuse"):
            call = stranger.start("Unary", what, metadata=bearer(token))
            await until(call.done)

    text = log.text()
    for token in tokens:
        _header, claims, signature = token.split(".")
        assert claims not in text
        assert signature not in text


async def test_a_channel_asks_for_the_token_of_every_call(
    served: Served, authority: Authority
) -> None:
    address = f"127.0.0.1:{served.server.port}"

    def token() -> str:
        tenant = correlation.current().tenant
        return authority.token(tenant, aud=[DOMAIN]) if tenant else ""

    async with open_channel(address, bearer=token) as channel:
        client = KnotClient(channel)
        for tenant in ("acme", "delft"):
            with correlation.bind(Call("c-1", tenant=TenantId(tenant))):
                await client.ask("Unary", "ok")
        assert (await refused(client, "Unary")).reason == "TOKEN_REQUIRED"

    assert [call.tenant for call in served.knots.seen.calls] == ["acme", "delft"]


async def test_a_callers_own_token_is_passed_on_where_that_is_asked_for(
    served: Served, authority: Authority
) -> None:
    address = f"127.0.0.1:{served.server.port}"
    caller = Call("c-1", token=authority.token("acme", aud=[DOMAIN]))

    async with open_channel(address, bearer=lambda: correlation.current().token) as channel:
        with correlation.bind(caller):
            await KnotClient(channel).ask("Unary", "ok")

    assert served.knots.seen.calls[0].token == caller.token
