"""What browsers are told: whose pages may call, and what they must not do with answers."""

import asyncio
import ssl
from pathlib import Path

import httpx
import pytest

from gateway.serving import connection, server
from gateway.settings import Settings
from services.plumbing.settings import WrongSettings
from tests.authority import Authority
from tests.gateway.sample import Gateway, SampleService, gateway_before
from tests.plumbing.certificates import CertificateAuthority

_OURS = "https://app.girih.dev"
_LARGE = 2**23
_PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "x-y"}


def _cors(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if "access-control" in name}


async def test_pages_of_other_sites_may_do_nothing(client: httpx.AsyncClient) -> None:
    headers = {"origin": _OURS}

    answers = [
        await client.options("/v1/echo", headers=headers | _PREFLIGHT),
        await client.post("/v1/echo", headers=headers),
        await client.get("/nope", headers=headers),
    ]

    assert [_cors(answer) for answer in answers] == [{}, {}, {}]


async def test_a_page_of_a_named_origin_may_call(service: SampleService) -> None:
    async with gateway_before(service, {"GATEWAY_CORS_ORIGINS": f"{_OURS}, https://b.dev"}) as made:
        headers = {"origin": _OURS}
        preflight = await made.client.options("/v1/echo", headers=headers | _PREFLIGHT)
        called = await made.client.post("/v1/echo", headers=headers)
        refused = await made.client.post("/v1/echo", headers=headers | {"authorization": "x"})

    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == _OURS
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"]
    for answer in (called, refused):
        assert answer.headers["access-control-allow-origin"] == _OURS
        assert "x-correlation-id" in answer.headers["access-control-expose-headers"]
        assert answer.headers["vary"] == "origin"
        assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize(
    "origin", ["https://evil.dev", "null", _OURS + ".evil.dev", "http://app.girih.dev", _OURS + "/"]
)
async def test_a_page_of_another_origin_may_not(origin: str, service: SampleService) -> None:
    async with gateway_before(service, {"GATEWAY_CORS_ORIGINS": _OURS}) as made:
        preflight = await made.client.options("/v1/echo", headers={"origin": origin} | _PREFLIGHT)
        called = await made.client.post("/v1/echo", headers={"origin": origin})

    assert _cors(preflight) == _cors(called) == {}
    assert called.headers["vary"] == "origin"


async def test_every_page_may_call_where_a_developer_says_so(service: SampleService) -> None:
    async with gateway_before(service, {"GATEWAY_CORS_ORIGINS": "*"}) as made:
        answer = await made.client.post("/v1/echo", headers={"origin": "https://any.dev"})

    assert answer.headers["access-control-allow-origin"] == "*"


@pytest.mark.documented
@pytest.mark.parametrize("path", ["/v1/echo", "/nope", "/health", "/docs", "/v1/count?to=1"])
async def test_every_answer_carries_the_security_headers(
    path: str, client: httpx.AsyncClient
) -> None:
    answer = await client.get(path)

    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert "strict-transport-security" not in answer.headers


async def test_answers_behind_tls_tell_browsers_to_stay_with_it(service: SampleService) -> None:
    async with gateway_before(service, {"GATEWAY_HTTP_TRANSPORT": "proxy"}) as made:
        answer = await made.client.get("/nope")

    assert answer.headers["strict-transport-security"] == "max-age=63072000"


async def test_nothing_of_the_api_is_kept_anywhere(gateway: Gateway) -> None:
    for path in (
        "/v1/numbers/5",
        "/v1/count?to=1",
        "/v1/download?chunkCount=1",
        "/nope",
        "/v1/fail",
    ):
        answer = await gateway.client.get(path)

        assert answer.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


async def test_the_public_keys_are_those_of_the_gateway(gateway: Gateway) -> None:
    answer = await gateway.client.get("/.well-known/jwks.json")

    (key,) = answer.json()["keys"]
    assert key["kid"] == gateway.service.authority.gateway.kid
    assert set(key) == {"kty", "crv", "alg", "use", "kid", "x"}
    assert answer.headers["cache-control"] == "public, max-age=60"


def _problems(authority: Authority, **environ: str) -> str:
    response = authority.environ | {
        "GIRIH_ENVIRONMENT": "production",
        "GIRIH_TRANSPORT": "mesh",
        "GATEWAY_HTTP_TRANSPORT": "proxy",
    }
    try:
        Settings.from_environ(response | environ)
    except WrongSettings as wrong:
        return "\n".join(wrong.problems)
    return ""


def test_production_refuses_what_would_open_the_door(authority: Authority) -> None:
    assert _problems(authority) == ""
    assert _problems(authority, GATEWAY_CORS_ORIGINS=_OURS) == ""
    assert "GATEWAY_CORS_ORIGINS" in _problems(authority, GATEWAY_CORS_ORIGINS="*")
    assert "GATEWAY_CORS_ORIGINS" in _problems(authority, GATEWAY_CORS_ORIGINS=f"{_OURS},*")
    assert "GATEWAY_HTTP_TRANSPORT" in _problems(authority, GATEWAY_HTTP_TRANSPORT="plain")
    assert "GATEWAY_HTTP_TRANSPORT" in _problems(authority, GATEWAY_HTTP_TRANSPORT="")
    assert "GATEWAY_TLS_KEY" in _problems(authority, GATEWAY_HTTP_TRANSPORT="tls")


@pytest.mark.parametrize("origins", ["app.girih.dev", "https://a/b", "ftp://a", "https://*.dev"])
def test_what_is_no_origin_is_refused(origins: str, authority: Authority) -> None:
    assert "GATEWAY_CORS_ORIGINS" in _problems(authority, GATEWAY_CORS_ORIGINS=origins)


async def test_clients_are_served_over_tls(service: SampleService, tmp_path: Path) -> None:
    authority = CertificateAuthority.create(tmp_path / "ours")
    files = authority.issue("gateway")
    environ = {
        "GATEWAY_HTTP_TRANSPORT": "tls",
        "GATEWAY_TLS_CERTIFICATE": str(files.certificate),
        "GATEWAY_TLS_KEY": str(files.key),
    }
    trusting = ssl.create_default_context(cafile=files.ca)
    old = ssl.create_default_context(cafile=files.ca)
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    async with gateway_before(service, environ) as gateway, gateway.listening() as plain:
        url = str(plain.base_url).replace("http:", "https:")
        headers = service.authority.headers()
        async with httpx.AsyncClient(verify=trusting, base_url=url, trust_env=False) as client:
            answer = await client.post("/v1/echo", headers=headers)
            async with client.stream("GET", "/v1/count?follow=true", headers=headers) as stream:
                status = stream.status_code
        with pytest.raises(httpx.TransportError):
            await plain.post("/v1/echo")
        async with httpx.AsyncClient(verify=old, base_url=url, trust_env=False) as client:
            with pytest.raises(httpx.ConnectError):
                await client.post("/v1/echo", headers=headers)

    assert (answer.status_code, status) == (201, 200)
    assert "strict-transport-security" in answer.headers


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_an_answer_over_tls_is_not_cut_off_before_its_client_had_time_to_take_it(
    version: str, service: SampleService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_LAST_ANSWERS_S", 0.02)
    monkeypatch.setattr(connection, "_DISCARD_DURATION_S", 0.02)
    files = CertificateAuthority.create(tmp_path / "ours").issue("gateway")
    environ = {
        "GATEWAY_HTTP_TRANSPORT": "tls",
        "GATEWAY_TLS_CERTIFICATE": str(files.certificate),
        "GATEWAY_TLS_KEY": str(files.key),
    }
    request = (
        f"GET /v1/picture?chunk_bytes={_LARGE} HTTP/{version}\r\nhost: x\r\n"
        f"authorization: Bearer {service.authority.token()}\r\nconnection: close\r\n\r\n"
    )
    trusting = ssl.create_default_context(cafile=files.ca)
    async with gateway_before(service, environ) as gateway, gateway.listening() as plain:
        reader, writer = await asyncio.open_connection(
            plain.base_url.host, plain.base_url.port, ssl=trusting, limit=2**10
        )
        writer.write(request.encode())
        head = await reader.readuntil(b"\r\n\r\n")
        # Longer than what is granted to connections that only have to say that they end.
        await asyncio.sleep(0.3)
        body = await reader.read(-1)
        writer.transport.abort()

    assert b" 200 " in head.splitlines()[0]
    assert len(body) == _LARGE


async def test_a_new_certificate_is_shown_without_a_restart(
    service: SampleService, tmp_path: Path
) -> None:
    authority = CertificateAuthority.create(tmp_path / "ours")
    current, later = authority.issue("gateway"), authority.issue("later")
    environ = {
        "GATEWAY_HTTP_TRANSPORT": "tls",
        "GATEWAY_TLS_CERTIFICATE": str(current.certificate),
        "GATEWAY_TLS_KEY": str(current.key),
    }
    async with gateway_before(service, environ) as gateway, gateway.listening() as client:
        before = await _certificate(client, current.ca)
        later.key.replace(current.key)
        later.certificate.replace(current.certificate)
        async with asyncio.timeout(60):
            while (after := await _certificate(client, current.ca)) == before:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.1)

    assert b"gateway" in before
    assert b"later" in after


async def _certificate(client: httpx.AsyncClient, ca: Path) -> bytes:
    """The certificate that a new connection is shown."""
    context = ssl.create_default_context(cafile=ca)
    _, writer = await asyncio.open_connection(
        client.base_url.host, client.base_url.port, ssl=context
    )
    result: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return result


def test_a_key_that_is_not_the_certificates_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    issuing = CertificateAuthority.create(tmp_path / "ours")
    one, other = issuing.issue("one"), issuing.issue("other")
    environ = {
        "GATEWAY_HTTP_TRANSPORT": "tls",
        "GATEWAY_TLS_CERTIFICATE": str(one.certificate),
        "GATEWAY_TLS_KEY": str(other.key),
    }

    assert "GATEWAY_TLS_KEY" in _problems(authority, **environ)
    assert _problems(authority, **environ | {"GATEWAY_TLS_KEY": str(one.key)}) == ""
