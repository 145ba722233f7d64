"""Keys: which are taken, which are refused, and that their files can be changed at any time."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from girih.ids import TenantId
from services.plumbing.auth import keys
from services.plumbing.auth.keys import (
    SigningKey,
    SigningKeyFile,
    TrustedKeys,
    WrongKey,
    read_trusted,
    write_atomically,
    write_jwks,
)
from services.plumbing.auth.tokens import LIFETIME_S_MAX, Issuer, Verifier
from services.plumbing.base64url import to_base64url
from services.policy import GATEWAY, LATTICE, POLICY
from tests.authority import UNLIMITED, USER, Authority
from tests.plumbing.conftest import Log, until

SAMPLES = [  # the secret keys of RFC 8032, 7.1
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
]


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    """An authority that a test may change."""
    return Authority.create(tmp_path / "keys")


def pem(private: Any, encryption: Any = None) -> bytes:
    data: bytes = private.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption()
    )
    return data


def test_a_key_is_the_same_after_it_was_saved(tmp_path: Path) -> None:
    key, path = SigningKey.generate(), tmp_path / "key.pem"

    key.save(path)

    assert SigningKey.load(path).kid == key.kid
    assert path.stat().st_mode & 0o777 == 0o600
    assert [result.name for result in tmp_path.iterdir()] == ["key.pem"]


def test_a_key_is_called_by_its_thumbprint() -> None:
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")

    # The example of RFC 8037, A.3.
    assert keys.thumbprint(public) == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def test_the_text_of_a_key_tells_nothing_of_it(own: Authority) -> None:
    secret = own.gateway.private.private_bytes_raw()

    assert repr(own.gateway) == f"SigningKey({own.gateway.kid})"
    assert secret.hex() not in repr(own)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_private_key_that_others_may_read_is_refused(own: Authority, mode: int) -> None:
    own.gateway_key.chmod(mode)

    with pytest.raises(WrongKey, match=r"gateway\.pem: must be open to its owner") as caught:
        SigningKey.load(own.gateway_key)

    assert caught.value.exit_code == 78
    assert SigningKey.load(own.gateway_key, private=False).kid == own.gateway.kid


@pytest.mark.parametrize(
    "data",
    [
        pem(rsa.generate_private_key(65537, 2048)),
        pem(ec.generate_private_key(ec.SECP256R1())),
        pem(ed448.Ed448PrivateKey.generate()),
        pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"secret")),
        b"",
        b"not a key",
        b"\xff" * 300_000,
    ],
    ids=["rsa", "p256", "ed448", "encrypted", "empty", "text", "huge"],
)
def test_what_is_no_ed25519_key_is_refused_by_the_name_of_its_file(
    tmp_path: Path, data: bytes
) -> None:
    path = tmp_path / "key.pem"
    write_atomically(path, data, mode=0o600)

    with pytest.raises(WrongKey, match=r"key\.pem: "):
        SigningKey.load(path)


@pytest.mark.parametrize("seed", [bytes(32), b"\x01" * 32, b"0123456789abcdef"[:8] * 4])
def test_a_private_key_that_is_not_random_is_refused(seed: bytes) -> None:
    with pytest.raises(ValueError, match="must be random"):
        SigningKey(Ed25519PrivateKey.from_private_bytes(seed))


@pytest.mark.parametrize("seed", SAMPLES)
def test_a_sample_key_is_refused(seed: str) -> None:
    with pytest.raises(ValueError, match="sample"):
        SigningKey(Ed25519PrivateKey.from_private_bytes(bytes.fromhex(seed)))


def test_a_missing_file_is_told_by_its_name(tmp_path: Path) -> None:
    for read in (SigningKey.load, read_trusted, TrustedKeys.load):
        with pytest.raises(WrongKey, match=r"nothing: No such file"):
            read(tmp_path / "nothing")
        with pytest.raises(WrongKey, match=str(tmp_path)):
            read(tmp_path)


def test_the_trust_store_says_who_may_sign_with_which_key(own: Authority) -> None:
    trusted = TrustedKeys.load(own.trusted_keys)

    gateway, lattice = trusted.find(own.gateway.kid), trusted.find(own.lattice.kid)

    assert gateway is not None
    assert lattice is not None
    assert (gateway.issuer, lattice.issuer) == (GATEWAY, LATTICE)
    assert trusted.find(own.gateway.kid.swapcase()) is None
    assert own.trusted_keys.stat().st_mode & 0o777 == 0o644


def test_a_retired_key_is_found_no_more(own: Authority) -> None:
    own.retire(own.gateway, at=1_000_000)

    trusted = TrustedKeys.load(own.trusted_keys)

    assert trusted.find(own.gateway.kid) is None
    assert trusted.find(own.lattice.kid) is not None


Change = Callable[[dict[str, Any]], object]
WRONG_JWKS: dict[str, Change] = {
    "another curve": lambda jwk: jwk.update(crv="Ed448"),
    "another type": lambda jwk: jwk.update(kty="oct"),
    "another algorithm": lambda jwk: jwk.update(alg="HS256"),
    "for encryption": lambda jwk: jwk.update(use="enc"),
    "a private key": lambda jwk: jwk.update(d="AAAA"),
    "a kid of its own": lambda jwk: jwk.update(kid="1"),
    "no kid": lambda jwk: jwk.pop("kid"),
    "no issuer": lambda jwk: jwk.pop("iss"),
    "an issuer without a name": lambda jwk: jwk.update(iss=""),
    "a list for an issuer": lambda jwk: jwk.update(iss=[GATEWAY]),
    "padding": lambda jwk: jwk.update(x=jwk["x"] + "="),
    "too short": lambda jwk: jwk.update(x=jwk["x"][:-2]),
    "a number": lambda jwk: jwk.update(x=7),
    "a moment in words": lambda jwk: jwk.update(retire_at="soon"),
    "a moment that is true": lambda jwk: jwk.update(retire_at=True),
    "a moment beyond all numbers": lambda jwk: jwk.update(retire_at=10**400),
}


@pytest.mark.parametrize("change", WRONG_JWKS.values(), ids=WRONG_JWKS)
def test_a_trust_store_with_one_wrong_key_is_refused(own: Authority, change: Change) -> None:
    jwks = json.loads(own.trusted_keys.read_text())
    change(jwks["keys"][1])
    own.trusted_keys.write_text(json.dumps(jwks))

    with pytest.raises(WrongKey, match=r"trusted\.json: keys\[1\]"):
        read_trusted(own.trusted_keys)


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", '{"keys": []}', '{"keys": {}}', '{"keys": [1]}', "[" * 10_000]
)
def test_what_is_no_trust_store_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "trusted.json"
    path.write_text(text)

    with pytest.raises(WrongKey, match=r"trusted\.json: "):
        read_trusted(path)


def test_two_issuers_never_share_a_key(own: Authority) -> None:
    jwks = [own.gateway.public_jwk(GATEWAY), own.gateway.public_jwk(LATTICE)]

    with pytest.raises(WrongKey, match="each key once"):
        write_jwks(own.trusted_keys, jwks)

    assert TrustedKeys.load(own.trusted_keys).find(own.lattice.kid)


def _double(x: int, y: int) -> tuple[int, int]:
    p = keys._P
    d = -121665 * pow(121666, -1, p) % p
    product = d * x * x * y * y % p
    return (
        2 * x * y * pow(1 + product, -1, p) % p,
        (y * y + x * x) * pow(1 - product, -1, p) % p,
    )


def _x(y: int) -> int:
    p = keys._P
    d = -121665 * pow(121666, -1, p) % p
    square = (y * y - 1) * pow(d * y * y + 1, -1, p) % p
    root = pow(square, (p + 3) // 8, p)
    if (root * root - square) % p:
        root = root * pow(2, (p - 1) // 4, p) % p
    assert (root * root - square) % p == 0
    return root


@pytest.mark.parametrize("y", sorted(keys._SMALL_ORDER))
def test_a_point_of_small_order_is_no_key(y: int) -> None:
    point = (_x(y), y)
    for _ in range(3):
        point = _double(*point)
    assert point == (0, 1)  # eight times itself is nothing: the table is right

    for sign in (0, 2**255):
        public = (y + sign).to_bytes(32, "little")
        jwk = SigningKey.generate().public_jwk(GATEWAY)
        jwk |= {"x": to_base64url(public), "kid": keys.thumbprint(public)}
        with pytest.raises(ValueError, match="weak"):
            keys._parsed(jwk)


def test_a_point_has_one_encoding() -> None:
    public = (keys._P + 3).to_bytes(32, "little")

    with pytest.raises(ValueError, match="32 bytes of a point"):
        keys._refuse_weak(public)


async def test_a_changed_trust_store_is_taken(own: Authority, log: Log) -> None:
    trusted, added = TrustedKeys.load(own.trusted_keys), SigningKey.generate()
    assert not await trusted.reread()

    own.publish(added, LATTICE)

    assert await trusted.reread()
    assert trusted.find(added.kid) is not None
    assert trusted.find(own.gateway.kid) is not None


@pytest.mark.parametrize("text", ["{", '{"keys": []}', None])
async def test_a_broken_trust_store_leaves_the_one_before(
    own: Authority, text: str | None, log: Log
) -> None:
    trusted, good = TrustedKeys.load(own.trusted_keys), own.trusted_keys.read_bytes()
    if text is None:
        own.trusted_keys.unlink()
    else:
        own.trusted_keys.write_text(text)

    for _ in range(3):
        assert not await trusted.reread()

    assert trusted.find(own.gateway.kid) is not None
    (line,) = log.lines("not taken, the one before stays")  # told once
    assert (line["level"], line["what"]) == ("error", "trusted keys")
    assert "trusted.json: " in line["problem"]
    own.trusted_keys.write_bytes(good)
    assert await trusted.reread()


async def test_a_file_is_followed_by_a_task(own: Authority, log: Log) -> None:
    source, key = SigningKeyFile(own.gateway_key), SigningKey.generate()
    watching = asyncio.create_task(source.watch(interval_s=0.001))

    key.save(own.gateway_key)

    await until(lambda: source.current.kid == key.kid)
    watching.cancel()


async def test_nobody_is_refused_while_keys_are_replaced(own: Authority, log: Log) -> None:
    trusted, source = TrustedKeys.load(own.trusted_keys), SigningKeyFile(own.gateway_key)
    verifier, issuer = Verifier(trusted, "events.girih", POLICY), Issuer(source, GATEWAY)
    watching = [asyncio.create_task(each.watch(interval_s=0.002)) for each in (trusted, source)]
    tokens: list[str] = []

    async def call_until(seen: Callable[[], bool]) -> None:
        while not seen():
            tokens.append(_access_token(issuer))
            verifier.verify(tokens[-1])  # raises for a refusal
            verifier.verify(tokens[0])
            await asyncio.sleep(0)

    for _ in range(3):
        old, new = source.current, SigningKey.generate()
        own.publish(new, GATEWAY)
        await call_until(lambda kid=new.kid: trusted.find(kid) is not None)  # type: ignore[misc]
        new.save(own.gateway_key)
        await call_until(lambda kid=new.kid: source.current.kid == kid)  # type: ignore[misc]
        own.retire(old, at=time.time() + LIFETIME_S_MAX)
        await call_until(lambda kid=old.kid: trusted.current[kid].retire_at < 2**63)  # type: ignore[misc]

    for token in tokens[:: max(1, len(tokens) // 100)]:
        verifier.verify(token)
    assert len({token.partition(".")[0] for token in tokens}) == 4
    for task in watching:
        task.cancel()


def _access_token(issuer: Issuer) -> str:
    return issuer.access_token(
        tenant=TenantId("acme"),
        subject=USER,
        audiences=POLICY.audiences,
        scopes=["events.read"],
        role="viewer",
        session="s-1",
        plan=UNLIMITED,
    )
