"""What leaves the machine is encrypted, and with whom is said as everywhere."""

import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from girih.client import AsyncClient, Client, Unavailable
from girih.client.connecting import grants
from girih.client.connecting.transport import Transport, host_of
from girih.events.v1 import events_pb2 as pb
from tests.client.gateways import fake_gateway
from tests.plumbing.certificates import CertificateAuthority, Identity

NOTHING: dict[str, Any] = dict.fromkeys(("tls", "ca_file", "cert_file", "key_file"))


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path / "ours")


@pytest.fixture
def identity(ca: CertificateAuthority) -> Identity:
    return ca.issue("program")


@pytest.fixture
def address(ca: CertificateAuthority) -> Iterator[str]:
    """A server that tells where a log ends, to who shows a certificate of the authority."""
    server_identity = ca.issue("server")

    class Handler(grpc.GenericRpcHandler):
        def service(self, handler_call_details: Any) -> Any:
            del handler_call_details
            answer = pb.GetLogResponse(head_position=7).SerializeToString()
            return grpc.unary_unary_rpc_method_handler(lambda _request, _context: answer)

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handler(),))
    pair = (server_identity.key.read_bytes(), server_identity.certificate.read_bytes())
    tls = grpc.ssl_server_credentials([pair], server_identity.ca.read_bytes(), True)
    port = server.add_secure_port("127.0.0.1:0", tls)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def files(identity: Identity) -> dict[str, Any]:
    return {
        "ca_file": identity.ca,
        "cert_file": identity.certificate,
        "key_file": str(identity.key),
    }


async def test_both_clients_show_and_check_certificates(address: str, identity: Identity) -> None:
    async with AsyncClient(events=address, token="t", **files(identity)) as girih:
        assert await girih.head() == 7

    with Client(events=address, token="t", **files(identity)) as blocking:
        assert blocking.head() == 7


def test_the_environment_says_the_same_as_arguments(address: str, identity: Identity) -> None:
    environ = {"GIRIH_TRANSPORT": "mtls", **identity.environ}

    with Client(events=address, token="t", environ=environ) as girih:
        assert girih.head() == 7


def test_a_stranger_is_neither_believed_nor_answered(
    address: str, identity: Identity, tmp_path: Path
) -> None:
    strangers = CertificateAuthority.create(tmp_path / "theirs").issue("stranger")

    for wrong in (
        {"tls": False},
        {"ca_file": identity.ca},
        {**files(identity), "ca_file": strangers.ca},
        {**files(strangers), "ca_file": identity.ca},
    ):
        with (
            Client(events=address, token="t", timeout=0.5, **wrong) as girih,
            pytest.raises(Unavailable),
        ):
            girih.head()


def test_a_token_is_asked_for_over_https(ca: CertificateAuthority, identity: Identity) -> None:
    server_identity = ca.issue("gateway")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(server_identity.certificate, server_identity.key)

    with fake_gateway(context) as gateway:
        ours = grants.of_key("k", gateway.url, Transport(ca_file=identity.ca))
        machines = grants.of_key("k", gateway.url, Transport())

        assert gateway.url.startswith("https://")
        assert ours("").token == "token-1"
        with pytest.raises(Unavailable, match="certificate"):
            machines("")


def encrypts(address: str, environ: dict[str, str], **options: Any) -> bool:
    transport = Transport.chosen(**{**NOTHING, **options}, environ=environ)
    return transport.credentials(address) is not None


def test_what_stays_on_the_machine_is_plain_and_all_else_encrypted() -> None:
    assert not encrypts("127.0.0.1:1", {})
    assert not encrypts("localhost:1", {})
    assert not encrypts("[::1]:1", {})
    assert encrypts("events:1", {})
    assert encrypts("dns:///events.example:1", {})
    assert encrypts("127.0.0.1:1", {}, tls=True)
    assert encrypts("127.0.0.1:1", {"GIRIH_TRANSPORT": "tls"})
    assert not encrypts("events:1", {}, tls=False)
    assert not encrypts("events:1", {"GIRIH_TRANSPORT": "plain"})
    assert encrypts("events:1", {"GIRIH_TRANSPORT": "plain"}, tls=True)


def test_nonsense_is_refused_at_once() -> None:
    for options in ({"cert_file": "a.pem"}, {"tls": False, "ca_file": "a.pem"}):
        with pytest.raises(ValueError, match="must"):
            Transport.chosen(**{**NOTHING, **options}, environ={})


@pytest.mark.parametrize(
    ("address", "host"),
    [
        ("a:1", "a"),
        ("dns:///a.b:1", "a.b"),
        ("[::1]:1", "::1"),
        ("ipv4:127.0.0.1:1", "ipv4:127.0.0.1"),
    ],
)
def test_a_host_is_read_out_of_an_address(address: str, host: str) -> None:
    assert host_of(address) == host
