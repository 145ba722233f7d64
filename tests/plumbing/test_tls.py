"""Calls between processes, encrypted: who is believed, who is not, and which files are refused."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.plumbing.grpc.channel import open_channel
from services.plumbing.grpc.health import SERVING
from services.plumbing.grpc.server import Server, running
from services.plumbing.settings import (
    PeerSettings,
    ServerSettings,
    SettingsConfig,
    WrongSettings,
)
from services.plumbing.tls import ServerFiles, WrongCertificate, channel_credentials
from services.policy import POLICY
from tests.authority import Authority
from tests.plumbing.certificates import DAY, CertificateAuthority, Identity
from tests.plumbing.conftest import Log, MakeSettings
from tests.plumbing.knots import DOMAIN, SERVICE, KnotClient, Knots

both = pytest.mark.parametrize("transport", ["tls", "mtls"])


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path / "ours")


@pytest.fixture
def stranger(tmp_path: Path) -> CertificateAuthority:
    """Somebody else's authority."""
    return CertificateAuthority.create(tmp_path / "theirs")


@asynccontextmanager
async def serving(settings: ServerSettings) -> AsyncIterator[str]:
    """The knots, encrypted as `settings` say; gives their address."""
    server = Server(DOMAIN, settings, policy=POLICY)
    server.add_service(SERVICE, Knots())
    async with running(server, "127.0.0.1:0") as port:
        yield f"127.0.0.1:{port}"


async def ask(address: str, settings: ServerSettings | None) -> list[str]:
    """The answer to a client whose settings these are; without any, it does not encrypt."""
    tls = None if settings is None else channel_credentials(settings)
    path = authority_of(settings).token(aud=[DOMAIN]) if settings else ""
    async with open_channel(address, bearer=lambda: path, tls=tls) as channel:
        answer = await KnotClient(channel).ask("Unary", "ok", timeout=30)
        return answer.values


def authority_of(settings: PeerSettings) -> Authority:
    return Authority.load(settings.trusted_keys.parent)


async def refused(address: str, settings: ServerSettings | None) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await ask(address, settings)
    return caught.value.code()


@both
async def test_a_call_is_answered_and_a_token_is_asked_for_as_ever(
    make_settings: MakeSettings, ca: CertificateAuthority, transport: str, log: Log
) -> None:
    settings = make_settings(transport=transport, **ca.issue("server").settings)
    caller = make_settings(transport=transport, **ca.issue("caller").settings)

    async with serving(settings) as address:
        assert await ask(address, caller) == ["ok"]
        async with open_channel(address, tls=channel_credentials(caller)) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await KnotClient(channel).ask("Unary", "ok")

    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@both
async def test_a_caller_that_does_not_encrypt_gets_nowhere(
    make_settings: MakeSettings, ca: CertificateAuthority, transport: str, log: Log
) -> None:
    settings = make_settings(transport=transport, **ca.issue("server").settings)

    async with serving(settings) as address:
        assert await refused(address, None) is grpc.StatusCode.UNAVAILABLE


@both
async def test_a_caller_does_not_believe_a_server_of_another_authority(
    make_settings: MakeSettings,
    ca: CertificateAuthority,
    stranger: CertificateAuthority,
    transport: str,
    log: Log,
) -> None:
    settings = make_settings(transport=transport, **ca.issue("server").settings)
    wary = ca.issue("caller", ca=stranger.directory / "ca.pem")
    caller = make_settings(transport=transport, **wary.settings)

    async with serving(settings) as address:
        assert await refused(address, caller) is grpc.StatusCode.UNAVAILABLE


async def test_mtls_refuses_callers_without_a_certificate(
    make_settings: MakeSettings, ca: CertificateAuthority, log: Log
) -> None:
    settings = make_settings(transport="mtls", **ca.issue("server").settings)
    caller = make_settings(transport="tls", **ca.issue("caller").settings)

    async with serving(settings) as address:
        assert await refused(address, caller) is grpc.StatusCode.UNAVAILABLE


async def test_mtls_refuses_callers_of_another_authority(
    make_settings: MakeSettings,
    ca: CertificateAuthority,
    stranger: CertificateAuthority,
    log: Log,
) -> None:
    settings = make_settings(transport="mtls", **ca.issue("server").settings)
    theirs = stranger.issue("caller", ca=ca.directory / "ca.pem")
    caller = make_settings(transport="mtls", **theirs.settings)

    async with serving(settings) as address:
        assert await refused(address, caller) is grpc.StatusCode.UNAVAILABLE


@both
async def test_health_is_asked_for_encrypted_too(
    make_settings: MakeSettings, ca: CertificateAuthority, transport: str, log: Log
) -> None:
    settings = make_settings(transport=transport, **ca.issue("server").settings)

    async with (
        serving(settings) as address,
        open_channel(address, tls=channel_credentials(settings)) as channel,
    ):
        stub = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status == SERVING


@both
async def test_a_new_certificate_is_shown_without_a_restart(
    make_settings: MakeSettings, ca: CertificateAuthority, transport: str, log: Log
) -> None:
    identity = ca.issue("server")
    settings = make_settings(transport=transport, **identity.settings)
    server = Server(DOMAIN, settings, policy=POLICY)
    server.add_service(SERVICE, Knots())

    async with running(server, "127.0.0.1:0") as port:
        await ask(f"127.0.0.1:{port}", settings)
        before = await _shown(port)
        ca.issue("server")
        assert server._tls is not None
        assert await server._tls.reread()
        await ask(f"127.0.0.1:{port}", settings)
        after = await _shown(port)

    own = x509.load_pem_x509_certificate(identity.certificate.read_bytes())
    assert before != after
    assert after == own.serial_number


async def _shown(port: int) -> int:
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


async def test_a_broken_certificate_leaves_the_one_before(
    make_settings: MakeSettings, ca: CertificateAuthority, log: Log
) -> None:
    identity = ca.issue("server")
    settings = make_settings(transport="tls", **identity.settings)
    files = ServerFiles(settings)
    before = files.current

    ca.issue("server", lives=-DAY)
    assert not await files.reread()
    identity.certificate.write_text("nothing")
    assert not await files.reread()

    assert files.current is before
    problems = [line["problem"] for line in log.lines("not taken, the one before stays")]
    assert len(problems) == 2
    assert "must not have expired" in problems[0]


class Settings(ServerSettings):
    model_config = SettingsConfig(env_prefix="KNOTS_")


class Calling(PeerSettings):
    model_config = SettingsConfig(env_prefix="KNOTS_")


def problems(kind: type[PeerSettings], authority: Authority, **environ: str) -> list[str]:
    response = {"GIRIH_TRUSTED_KEYS": str(authority.trusted_keys)} | environ
    try:
        kind.from_environ(response)
    except WrongSettings as wrong:
        return wrong.problems
    return []


@pytest.mark.parametrize("environ", [{}, {"GIRIH_TRANSPORT": "plain"}], ids=["unset", "plain"])
def test_production_must_not_talk_in_the_open(
    authority: Authority, environ: dict[str, str]
) -> None:
    result = problems(Settings, authority, **environ)

    assert result == ["GIRIH_TRANSPORT: must be tls, mtls or mesh in production"]
    assert not problems(Settings, authority, GIRIH_ENVIRONMENT="development", **environ)
    assert not problems(Settings, authority, GIRIH_TRANSPORT="mesh")


@pytest.mark.parametrize(
    ("kind", "transport", "asked_for"),
    [
        (Settings, "tls", ["CERTIFICATE", "KEY"]),
        (Settings, "mtls", ["CA", "CERTIFICATE", "KEY"]),
        (Calling, "tls", []),
        (Calling, "mtls", ["CA", "CERTIFICATE", "KEY"]),
    ],
)
def test_the_files_that_are_needed_are_asked_for_at_once(
    authority: Authority, kind: type[PeerSettings], transport: str, asked_for: list[str]
) -> None:
    assert problems(kind, authority, GIRIH_TRANSPORT=transport) == [
        f"GIRIH_TLS_{name}: is required when GIRIH_TRANSPORT is {transport}" for name in asked_for
    ]


def test_everything_wrong_with_the_files_is_told_at_once(
    authority: Authority, tmp_path: Path, ca: CertificateAuthority
) -> None:
    identity, broken = ca.issue("server"), tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n")

    result = problems(
        Settings,
        authority,
        GIRIH_TRANSPORT="mtls",
        GIRIH_TRUSTED_KEYS=str(tmp_path / "missing.json"),
        GIRIH_TLS_CERTIFICATE=str(broken),
        GIRIH_TLS_KEY=str(tmp_path / "missing.key"),
        GIRIH_TLS_CA=str(identity.key),
    )

    assert [problem.partition(": ")[0] for problem in result] == [
        "GIRIH_TLS_CA",
        "GIRIH_TLS_CERTIFICATE",
        "GIRIH_TLS_KEY",
        "GIRIH_TRUSTED_KEYS",
    ]
    assert "canary" not in "".join(result)


def test_a_key_must_be_the_one_of_its_certificate(
    authority: Authority, ca: CertificateAuthority
) -> None:
    one, other = ca.issue("one"), ca.issue("other")

    (result,) = problems(
        Settings,
        authority,
        GIRIH_TRANSPORT="tls",
        GIRIH_TLS_CERTIFICATE=str(one.certificate),
        GIRIH_TLS_KEY=str(other.key),
    )

    assert result == f"GIRIH_TLS_KEY: {other.key}: must be the key of {one.certificate}"


def test_an_expired_certificate_is_refused(authority: Authority, ca: CertificateAuthority) -> None:
    identity = ca.issue("server", lives=-DAY)

    result = problems(Settings, authority, GIRIH_TRANSPORT="tls", **identity.environ)

    assert any(problem.startswith("GIRIH_TLS_CERTIFICATE") for problem in result)
    assert "must not have expired" in result[0]


@pytest.mark.parametrize(("environment", "count"), [("production", 1), ("development", 0)])
def test_a_key_that_others_may_read_is_refused_in_production(
    authority: Authority, ca: CertificateAuthority, environment: str, count: int
) -> None:
    identity = ca.issue("server")
    identity.key.chmod(0o640)

    result = problems(
        Settings,
        authority,
        GIRIH_ENVIRONMENT=environment,
        GIRIH_TRANSPORT="tls",
        **identity.environ,
    )

    assert len(result) == count
    assert all("must be open to its owner alone" in problem for problem in result)


def test_a_file_that_went_away_is_told_by_its_name(
    make_settings: MakeSettings, ca: CertificateAuthority
) -> None:
    identity: Identity = ca.issue("caller")
    settings: Any = make_settings(transport="mtls", **identity.settings)
    identity.certificate.unlink()

    with pytest.raises(WrongCertificate, match=r"caller\.pem: No such file") as caught:
        channel_credentials(settings)

    assert caught.value.exit_code == 78


def test_plain_and_mesh_do_not_encrypt(make_settings: MakeSettings) -> None:
    for transport in ("plain", "mesh"):
        assert channel_credentials(make_settings(transport=transport)) is None


def test_trusted_keys_are_required_and_must_be_there(authority: Authority, tmp_path: Path) -> None:
    empty = tmp_path / "empty.json"
    empty.write_text(json.dumps({"keys": []}))

    for path, response in [
        ("", "is required"),
        (str(tmp_path / "missing"), "No such file"),
        (str(empty), 'must have "keys"'),
    ]:
        (result,) = problems(Settings, authority, GIRIH_TRANSPORT="mesh", GIRIH_TRUSTED_KEYS=path)
        assert result.startswith("GIRIH_TRUSTED_KEYS: ")
        assert response in result
