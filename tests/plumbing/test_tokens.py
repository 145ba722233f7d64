"""Tokens: the few that are believed, and everything that somebody may try instead."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from girih.ids import TenantId
from services.plumbing.auth.jose import json_object
from services.plumbing.auth.keys import SigningKey, SigningKeyFile, TrustedKeys
from services.plumbing.auth.tokens import (
    ACCESS,
    SERVICE,
    TOKEN_BYTES_MAX,
    Issuer,
    TokenExpired,
    TokenInvalid,
    Verifier,
    sign,
)
from services.plumbing.base64url import from_base64url, to_base64url
from services.plumbing.identity import Principal
from services.policy import EVENTS, GATEWAY, LATTICE, POLICY, SCOPES, PlanLimits
from tests.authority import UNLIMITED, USER, Authority


@pytest.fixture
def verifier(authority: Authority) -> Verifier:
    return Verifier(TrustedKeys.load(authority.trusted_keys), EVENTS, POLICY)


def why(verifier: Verifier, token: str) -> str:
    """What the log is told of a token that must not be believed."""
    with pytest.raises(TokenInvalid) as caught:
        verifier.verify(token)
    assert (caught.value.message, caught.value.metadata) == ("the token is not valid", {})
    return caught.value.why


def test_an_access_token_says_who_calls_for_whom_and_what_they_may(
    verifier: Verifier, authority: Authority
) -> None:
    plan = PlanLimits("free", 3, 4, 256, 600)
    token = authority.token("acme", ["events.read"], role="viewer", plan=plan, exp=2**31)

    result = verifier_at(authority, 2**31 - 900).verify(_dated(authority, token, 2**31 - 900))

    assert result == Principal(
        tenant=TenantId("acme"),
        subject=USER,
        scopes=frozenset({"events.read"}),
        issuer=GATEWAY,
        role="viewer",
        session="00000000000040008000000000000002",
        plan=plan,
        expires_at=2**31,
    )


def verifier_at(authority: Authority, now: float, audience: str = EVENTS) -> Verifier:
    return Verifier(TrustedKeys.load(authority.trusted_keys), audience, POLICY, now=lambda: now)


def _dated(authority: Authority, token: str, moment: int) -> str:
    claims = _claims(token) | {"iat": moment, "nbf": moment}
    return sign(authority.gateway, ACCESS, claims)


def _claims(token: str) -> dict[str, Any]:
    return json_object(from_base64url(token.split(".")[1]))


def test_a_service_token_says_which_service_acts_and_for_whom(
    verifier: Verifier, authority: Authority
) -> None:
    result = verifier.verify(authority.service_token(EVENTS, "acme", ["events.append"]))

    assert (result.service, result.subject, result.tenant) == (LATTICE, USER, "acme")
    assert result.scopes == {"events.append"}
    assert (result.role, result.session, result.plan) == ("", "", None)


def test_every_audience_of_a_token_believes_it(authority: Authority) -> None:
    for audience in (EVENTS, LATTICE, GATEWAY):
        assert verifier_at(authority, time.time(), audience).verify(authority.token())


FUTURE_PLAN = PlanLimits("galactic", 3, 4, 256, 600)


@pytest.mark.parametrize("audience", POLICY.audiences)
def test_every_service_believes_what_it_knows_of_a_token_of_the_future(
    authority: Authority, audience: str
) -> None:
    token = authority.token(
        scopes=["events.read", "events.burn", "*"],
        plan={**FUTURE_PLAN.claim(), "console_count_max": 2, "regions": ["eu", "moon"]},
        role="archivist",
        aud=[*POLICY.audiences, "console.girih"],
        device={"kind": "watch"},
    )

    result = verifier_at(authority, time.time(), audience).verify(token)

    assert result.scopes == {"events.read"}
    assert result.plan == FUTURE_PLAN


@pytest.mark.parametrize("service", POLICY.issuers)
def test_a_service_of_the_future_is_granted_what_is_known_of_what_it_asks(
    verifier: Verifier, authority: Authority, service: str
) -> None:
    scopes = ["events.read", "events.project"]

    result = verifier.verify(authority.service_token(EVENTS, scopes=scopes, service=service))

    assert result.scopes == {"events.read"}


def test_a_number_that_a_plan_gains_is_without_bound_in_tokens_of_the_past(
    authority: Authority,
) -> None:
    @dataclass(frozen=True, slots=True)
    class LaterLimits(PlanLimits):
        console_count_max: int = 0

    later = replace(POLICY, read_plan=LaterLimits.read)
    verifier = Verifier(TrustedKeys.load(authority.trusted_keys), EVENTS, later)

    plan = verifier.verify(authority.token(plan=FUTURE_PLAN)).plan

    assert plan == LaterLimits("galactic", 3, 4, 256, 600, console_count_max=0)


def test_an_issuer_that_only_the_trust_store_knows_issues_nothing(own: Authority) -> None:
    console = SigningKey.generate()
    own.publish(console, "console.girih")
    verifier = Verifier(TrustedKeys.load(own.trusted_keys), EVENTS, POLICY)

    for token in (
        own.token(key=console, iss="console.girih"),
        sign(console, SERVICE, _claims(own.service_token(EVENTS)) | {"iss": "console.girih"}),
    ):
        assert why(verifier, token) == "its issuer may issue nothing"
    assert verifier.verify(own.token())


# Everything below is an attack, or a mistake that would be as bad.


def _b64(value: object) -> str:
    return to_base64url(value if isinstance(value, bytes) else json.dumps(value).encode())


def _forged(header: object, claims: object, key: SigningKey) -> str:
    """A token with any header and any claims, rightly signed."""
    signed = f"{_b64(header)}.{_b64(claims)}"
    return f"{signed}.{to_base64url(key.sign(signed.encode()))}"


def _header(key: SigningKey, **members: object) -> dict[str, object]:
    every = {"alg": "EdDSA", "typ": ACCESS, "kid": key.kid} | members
    return {name: value for name, value in every.items() if value is not None}


HEADERS: dict[str, dict[str, object]] = {
    "alg none": {"alg": "none"},
    "alg nOnE": {"alg": "nOnE"},
    "alg empty": {"alg": ""},
    "alg null": {"alg": None},
    "alg HS256": {"alg": "HS256"},
    "alg ES256": {"alg": "ES256"},
    "alg Ed25519": {"alg": "Ed25519"},
    "alg eddsa": {"alg": "eddsa"},
    "alg in a list": {"alg": ["EdDSA"]},
    "typ JWT": {"typ": "JWT"},
    "typ missing": {"typ": None},
    "typ in capitals": {"typ": "AT+JWT"},
    "typ with its prefix": {"typ": "application/at+jwt"},
    "typ of a service": {"typ": SERVICE},
    "kid missing": {"kid": None},
    "kid a path": {"kid": "../../../../dev/null"},
    "kid SQL": {"kid": "x' UNION SELECT 'key' --"},
    "kid a URL": {"kid": "https://evil.test/jwks.json"},
    "kid empty": {"kid": ""},
    "kid huge": {"kid": "k" * 1_000},
    "kid a number": {"kid": 0},
    "kid a list": {"kid": ["a"]},
    "jku": {"jku": "https://evil.test/jwks.json"},
    "x5u": {"x5u": "https://evil.test/cert.pem"},
    "x5c": {"x5c": ["MIIB"]},
    "jwk": {"jwk": SigningKey.generate().public_jwk(GATEWAY)},
    "crit": {"crit": ["exp"]},
    "crit and its claim": {"crit": ["b64"], "b64": False},
    "zip": {"zip": "DEF"},
    "cty": {"cty": "JWT"},
}


@pytest.mark.parametrize("members", HEADERS.values(), ids=HEADERS)
def test_a_header_that_says_anything_else_is_refused(
    verifier: Verifier, authority: Authority, members: dict[str, object]
) -> None:
    claims = _claims(authority.token())

    forged = _forged(_header(authority.gateway, **members), claims, authority.gateway)

    assert why(verifier, forged)
    unsigned = forged.rpartition(".")[0] + "."
    assert why(verifier, unsigned)


@pytest.mark.parametrize("alg", ["none", "nOnE", "HS256", "ES256", "Ed25519", "eddsa", ["EdDSA"]])
def test_another_algorithm_is_refused_before_anything_is_computed(
    verifier: Verifier, authority: Authority, alg: object
) -> None:
    forged = _forged(_header(authority.gateway, alg=alg), {}, authority.gateway)

    assert why(verifier, forged) == "it names another algorithm"


def test_a_token_that_is_too_long_is_not_even_read(
    verifier: Verifier, authority: Authority
) -> None:
    token = authority.token(scopes=["s" * TOKEN_BYTES_MAX])

    assert why(verifier, token) == "it has not the shape of a token"


def test_the_header_is_what_is_wrong_with_them(verifier: Verifier, authority: Authority) -> None:
    claims = _claims(authority.token())

    assert verifier.verify(_forged(_header(authority.gateway), claims, authority.gateway))


@pytest.mark.parametrize("alg", ["HS256", "HS384", "HS512"])
def test_a_public_key_is_no_secret_to_sign_with(
    verifier: Verifier, authority: Authority, alg: str
) -> None:
    public = authority.gateway.private.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    jwk = json.dumps(authority.gateway.public_jwk(GATEWAY)).encode()
    claims = _claims(authority.token())

    for secret in (pem, pem.strip(), der, public.public_bytes_raw(), jwk, b""):
        for named in (alg, "EdDSA"):
            signed = f"{_b64(_header(authority.gateway, alg=named))}.{_b64(claims)}"
            digest = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}[alg]
            mac = hmac.new(secret, signed.encode(), getattr(hashlib, digest)).digest()
            assert why(verifier, f"{signed}.{to_base64url(mac)}")


def test_a_token_of_a_library_with_our_key_needs_our_header(
    verifier: Verifier, authority: Authority
) -> None:
    token = jwt.encode(_claims(authority.token()), authority.gateway.private, algorithm="EdDSA")

    assert why(verifier, token) == "its header says more or less than alg, typ and kid"


def test_a_strangers_key_signs_nothing(verifier: Verifier, authority: Authority) -> None:
    stranger = SigningKey.generate()
    claims = _claims(authority.token())

    assert why(verifier, authority.token(key=stranger)) == "no such key"
    named_as_ours = _forged(_header(authority.gateway), claims, stranger)
    assert why(verifier, named_as_ours) == "its signature is wrong"


PLAN_CLAIM = dict(PlanLimits("free", 1, 1, 1, 1).claim())

CLAIMS: dict[str, dict[str, Any]] = {
    "iss missing": {"iss": None},
    "iss of another issuer": {"iss": LATTICE},
    "iss of a stranger": {"iss": "https://evil.test"},
    "iss in a list": {"iss": [GATEWAY]},
    "sub missing": {"sub": None},
    "sub empty": {"sub": ""},
    "sub of no kind": {"sub": "root"},
    "sub no uuid": {"sub": "user:1"},
    "sub with a newline": {"sub": USER + "\n"},
    "sub of a service": {"sub": GATEWAY},
    "sub a number": {"sub": 7},
    "aud missing": {"aud": None},
    "aud of another service": {"aud": [LATTICE]},
    "aud as text": {"aud": EVENTS},
    "aud that contains it": {"aud": [f"x{EVENTS}"]},
    "aud a list of lists": {"aud": [[EVENTS]]},
    "aud an object": {"aud": {EVENTS: 1}},
    "aud empty": {"aud": []},
    "exp missing": {"exp": None},
    "exp as text": {"exp": "99999999999"},
    "exp 10^30": {"exp": 10**30},
    "exp a float": {"exp": time.time() + 60.5},
    "exp infinite": {"exp": float("inf")},
    "exp not a number": {"exp": float("nan")},
    "exp true": {"exp": True},
    "exp in ten years": {"exp": int(time.time()) + 315_360_000},
    "exp in a list": {"exp": [2**31]},
    "iat missing": {"iat": None},
    "iat as text": {"iat": "0"},
    "iat tomorrow": {"iat": int(time.time()) + 86_400, "exp": int(time.time()) + 86_460},
    "iat after exp": {"iat": int(time.time()) + 5, "exp": int(time.time()) + 4},
    "iat a day before exp": {"iat": int(time.time()) - 86_400},
    "iat false": {"iat": False},
    "nbf missing": {"nbf": None},
    "nbf tomorrow": {"nbf": int(time.time()) + 86_400},
    "nbf as text": {"nbf": "0"},
    "nbf true": {"nbf": True},
    "jti missing": {"jti": None},
    "jti a number": {"jti": 1},
    "jti huge": {"jti": "j" * 1_000},
    "tenant missing": {"tenant": None},
    "tenant empty": {"tenant": ""},
    "tenant ill-formed": {"tenant": "Acme"},
    "tenant with a newline": {"tenant": "acme\n"},
    "tenant in a list": {"tenant": ["acme"]},
    "tenant of our own": {"tenant": "girih-accounts"},
    "scope missing": {"scope": None},
    "scope in a list": {"scope": ["events.read"]},
    "role missing": {"role": None},
    "role a list": {"role": ["owner"]},
    "role with a newline": {"role": "owner\nadmin"},
    "sid missing": {"sid": None},
    "plan missing": {"plan": None},
    "plan a name": {"plan": "free"},
    "plan without a bound": {"plan": PLAN_CLAIM | {"extent_max": None}},
    "plan of a name alone": {"plan": {"name": "free"}},
    "plan below nothing": {"plan": PLAN_CLAIM | {"lattice_count_max": -1}},
    "plan of truth": {"plan": PLAN_CLAIM | {"lattice_count_max": True}},
    "plan without a name": {"plan": PLAN_CLAIM | {"name": ""}},
    "an actor": {"act": {"sub": GATEWAY}},
}


@pytest.mark.parametrize("claims", CLAIMS.values(), ids=CLAIMS)
def test_a_claim_that_is_missing_or_not_as_it_must_be_refuses_the_token(
    verifier: Verifier, authority: Authority, claims: dict[str, Any]
) -> None:
    assert why(verifier, authority.token(**claims)).startswith(("its ", "it ", "an access token"))


SERVICE_CLAIMS: dict[str, dict[str, Any]] = {
    "no actor": {"act": None},
    "another actor": {"act": {"sub": GATEWAY}},
    "two actors": {"act": {"sub": LATTICE, "act": {"sub": GATEWAY}}},
    "an actor as text": {"act": LATTICE},
    "a scope it may not hold": {"scope": "events.read lattices.write"},
    "the operators' scope": {"scope": "ops.read"},
    "for nobody": {"sub": LATTICE},
    "for another service": {"sub": GATEWAY},
    "for our own tenant": {"tenant": "girih-accounts"},
    "a role": {"role": "owner"},
    "a plan": {"plan": {"name": "free"}},
    "a session": {"sid": "s"},
    "in another's name": {"iss": GATEWAY},
    "for an ill-formed tenant": {"tenant": "A"},
    "long-lived": {"exp": int(time.time()) + 86_400},
}


@pytest.mark.parametrize("claims", SERVICE_CLAIMS.values(), ids=SERVICE_CLAIMS)
def test_the_lattice_service_may_do_one_thing_only(
    verifier: Verifier, authority: Authority, claims: dict[str, Any]
) -> None:
    assert verifier.verify(authority.service_token(EVENTS))

    assert why(verifier, authority.service_token(EVENTS, **claims))


def test_only_the_gateway_issues_access_tokens(verifier: Verifier, authority: Authority) -> None:
    token = authority.token(key=authority.lattice, iss=LATTICE)

    assert why(verifier, token) == "its issuer may not issue access tokens"


def test_an_access_token_is_no_service_token_and_the_other_way_round(
    verifier: Verifier, authority: Authority
) -> None:
    access, service = authority.token(), authority.service_token(EVENTS, service=GATEWAY)

    assert why(verifier, sign(authority.gateway, SERVICE, _claims(access)))
    assert why(verifier, sign(authority.gateway, ACCESS, _claims(service)))


def test_the_gateway_may_speak_for_a_tenant_of_our_own(
    verifier: Verifier, authority: Authority
) -> None:
    token = authority.service_token(EVENTS, "girih-accounts", service=GATEWAY, sub=GATEWAY)

    result = verifier.verify(token)

    assert (result.tenant, result.subject, result.service) == ("girih-accounts", GATEWAY, GATEWAY)


Change = Callable[[str], str]
TEXTS: dict[str, Change] = {
    "empty": lambda _token: "",
    "a space": lambda _token: " ",
    "opaque": lambda _token: base64.urlsafe_b64encode(bytes(range(48))).decode(),
    "an API key": lambda _token: "girih_key_0123456789abcdef_" + "x" * 43,
    "trailing garbage": lambda token: token + "x",
    "a trailing newline": lambda token: token + "\n",
    "a trailing space": lambda token: token + " ",
    "a leading space": lambda token: " " + token,
    "a trailing dot": lambda token: token + ".",
    "a fourth part": lambda token: token + ".AAAA",
    "a fifth part": lambda token: token + ".AAAA.AAAA",
    "two parts": lambda token: token.rpartition(".")[0],
    "no signature": lambda token: token.rpartition(".")[0] + ".",
    "a short signature": lambda token: token[:-8],
    "padding": lambda token: token + "==",
    "padding of the header": lambda token: token.replace(".", "=.", 1),
    "another last bit": lambda token: token[:-1] + _neighbour(token[-1]),
    "the other alphabet": lambda token: token.replace("-", "+").replace("_", "/") + "+",
    "a stray character": lambda token: token[:-5] + "!" + token[-5:],
    "a line break inside": lambda token: token[:9] + "\n" + token[9:],
    "a NUL": lambda token: token + "\x00",
    "letters of elsewhere": lambda token: token[:-1] + "é",
    "digits of elsewhere": lambda token: token[:-1] + "\u0663",
    "1 MB": lambda token: token + "A" * 2**20,
    "1 MB of dots": lambda _token: "." * 2**20,
    "one byte too long": lambda token: token + "A" * (TOKEN_BYTES_MAX + 1 - len(token)),
    "twice": lambda token: f"{token}, {token}",
    "with its scheme": lambda token: f"Bearer {token}",
    "in capitals": lambda token: token.upper(),
}


def _neighbour(last: str) -> str:
    """The character that a lenient decoder takes for the same: only unused bits differ."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return alphabet[alphabet.index(last) ^ 1]


@pytest.mark.parametrize("change", TEXTS.values(), ids=TEXTS)
def test_a_token_has_exactly_one_text(
    verifier: Verifier, authority: Authority, change: Change
) -> None:
    token = authority.token()
    assert verifier.verify(token)

    assert why(verifier, change(token))


def test_a_lenient_reader_takes_another_text_for_the_same(authority: Authority) -> None:
    token = authority.token()
    other = TEXTS["another last bit"](token).rpartition(".")[2]
    token = token.rpartition(".")[2]

    assert base64.urlsafe_b64decode(f"{other}==") == base64.urlsafe_b64decode(f"{token}==")


PAYLOADS = {
    "a claim twice": b'{"tenant":"acme","tenant":"other"}',
    "a list": b"[]",
    "text": b'"x"',
    "nothing": b" ",
    "no JSON": b"{",
    "no UTF-8": b'{"tenant":"\xff"}',
    "deep": b'{"a":' + b"[" * 1_500,
    "many digits": b'{"exp":' + b"9" * 2_500 + b"}",
    "a constant": b'{"exp":Infinity}',
}


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_claims_that_cannot_be_read_in_one_way_are_refused(
    verifier: Verifier, authority: Authority, payload: bytes
) -> None:
    token = _forged(_header(authority.gateway), payload, authority.gateway)

    assert why(verifier, token)


def test_a_header_that_names_something_twice_is_refused(
    verifier: Verifier, authority: Authority
) -> None:
    kid = authority.gateway.kid
    header = f'{{"alg":"none","typ":"at+jwt","kid":"{kid}","alg":"EdDSA"}}'.encode()

    token = _forged(header, _claims(authority.token()), authority.gateway)

    assert why(verifier, token) == "its header cannot be read"


@pytest.mark.parametrize("part", [0, 1, 2])
def test_any_flipped_bit_is_noticed(verifier: Verifier, authority: Authority, part: int) -> None:
    parts = authority.token().split(".")
    data = from_base64url(parts[part])
    for index in range(0, len(data), 7):
        changed = bytearray(data)
        changed[index] ^= 1
        tampered = [*parts[:part], to_base64url(bytes(changed)), *parts[part + 1 :]]
        assert why(verifier, ".".join(tampered))


def test_an_expired_token_is_told_apart_from_a_wrong_one(
    verifier: Verifier, authority: Authority
) -> None:
    with pytest.raises(TokenExpired) as caught:
        verifier.verify(authority.token("acme", exp=int(time.time()) - 1))

    assert caught.value.principal is not None
    assert caught.value.principal.tenant == "acme"


def test_expiry_is_asked_each_time_and_to_the_second(authority: Authority) -> None:
    moment = [float(int(time.time()))]
    verifier = Verifier(
        TrustedKeys.load(authority.trusted_keys), EVENTS, POLICY, now=lambda: moment[0]
    )
    token = authority.token(exp=int(moment[0]) + 60)
    assert verifier.verify(token)

    moment[0] += 59.9
    assert verifier.verify(token)
    moment[0] += 0.1
    with pytest.raises(TokenExpired):
        verifier.verify(token)


@pytest.mark.parametrize(("ahead_s", "believed"), [(9, True), (11, False)])
def test_clocks_may_differ_by_ten_seconds(
    authority: Authority, ahead_s: int, believed: bool
) -> None:
    now = int(time.time())
    token = authority.token(iat=now + ahead_s, nbf=now + ahead_s, exp=now + 60)
    verifier = verifier_at(authority, now)

    if believed:
        assert verifier.verify(token)
    else:
        assert why(verifier, token) == "it is not valid yet"


@pytest.mark.parametrize(("lifetime_s", "believed"), [(900, True), (901, False)])
def test_no_token_lives_longer_than_fifteen_minutes(
    verifier: Verifier, authority: Authority, lifetime_s: int, believed: bool
) -> None:
    now = int(time.time())
    token = authority.token(iat=now, exp=now + lifetime_s)

    if believed:
        assert verifier.verify(token)
    else:
        assert why(verifier, token) == "it lives longer than a token may"


@pytest.fixture
def own(tmp_path: Path) -> Authority:
    """An authority that a test may change."""
    return Authority.create(tmp_path / "keys")


async def test_a_token_that_was_believed_is_refused_once_its_key_is_gone(own: Authority) -> None:
    trusted = TrustedKeys.load(own.trusted_keys)
    verifier, token = Verifier(trusted, EVENTS, POLICY), own.token()
    assert verifier.verify(token)

    stays = Authority.create(own.directory)
    await trusted.reread()

    assert why(verifier, token) == "no such key"
    assert verifier.verify(stays.token())


async def test_a_token_that_was_believed_is_refused_once_its_key_retires(own: Authority) -> None:
    now = int(time.time())
    moment = [float(now)]
    own.retire(own.gateway, at=now + 30)
    trusted = TrustedKeys.load(own.trusted_keys)
    verifier, token = Verifier(trusted, EVENTS, POLICY, lambda: moment[0]), own.token()
    assert verifier.verify(token)

    moment[0] += 30

    assert why(verifier, token) == "its key has retired"


def test_a_key_is_known_as_soon_as_it_is_published(own: Authority) -> None:
    verifier = Verifier(TrustedKeys.load(own.trusted_keys), EVENTS, POLICY)
    key = SigningKey.generate()

    own.publish(key, GATEWAY)
    key.save(own.gateway_key)

    assert verifier.verify(Authority.load(own.directory).token())


def test_keys_that_nobody_knows_are_not_looked_for_each_time(
    own: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.plumbing.auth.keys._LOOK_INTERVAL_S", 3_600.0)
    trusted = TrustedKeys.load(own.trusted_keys)
    key = SigningKey.generate()
    assert trusted.known("strange") is None

    own.publish(key, GATEWAY)

    assert trusted.known(key.kid) is None
    assert trusted.look_again()
    assert trusted.known(key.kid) is not None


async def test_a_key_that_is_added_leaves_tokens_believed(own: Authority) -> None:
    trusted = TrustedKeys.load(own.trusted_keys)
    verifier, token = Verifier(trusted, EVENTS, POLICY), own.token()
    assert verifier.verify(token)

    own.publish(SigningKey.generate(), LATTICE)
    await trusted.reread()

    assert verifier.verify(token)


def test_what_is_remembered_of_tokens_is_bounded(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.plumbing.auth.tokens._VERIFIED_MAX", 3)
    verifier = verifier_at(authority, time.time())
    tokens = [authority.token() for _ in range(5)]

    for token in tokens:
        assert verifier.verify(token)
        assert why(verifier, token + "x")
        assert verifier.verify(tokens[0])

    assert set(verifier._verified) == {tokens[3], tokens[4], tokens[0]}


def test_an_issuer_makes_tokens_that_are_believed(authority: Authority) -> None:
    issuer = Issuer(SigningKeyFile(authority.gateway_key), GATEWAY)
    token = issuer.access_token(
        tenant=TenantId("acme"),
        subject="key:k-1",
        scopes={"events.read", "lattices.read"},
        role="viewer",
        session="k-1",
        audiences=POLICY.audiences,
        plan=UNLIMITED,
    )

    for audience in (EVENTS, LATTICE, GATEWAY):
        result = verifier_at(authority, time.time(), audience).verify(token)
        assert (result.tenant, result.subject, result.plan) == ("acme", "key:k-1", UNLIMITED)
        assert result.scopes == {"events.read", "lattices.read"}


def test_a_service_acts_for_whoever_called_it(authority: Authority) -> None:
    issuer = Issuer(SigningKeyFile(authority.lattice_key), LATTICE)
    caller = verifier_at(authority, time.time(), LATTICE).verify(authority.token("acme"))

    token = issuer.service_token(EVENTS, caller.tenant, ["events.append"], acting=caller)

    result = verifier_at(authority, time.time()).verify(token)
    assert (result.tenant, result.subject, result.service) == ("acme", USER, LATTICE)
    for other in (LATTICE, GATEWAY):
        assert why(verifier_at(authority, time.time(), other), token)


def test_a_service_token_is_given_again_for_two_thirds_of_its_life(authority: Authority) -> None:
    moment = [1_000_000.0]
    issuer = Issuer(SigningKeyFile(authority.gateway_key), GATEWAY, now=lambda: moment[0])

    def token(tenant: str = "acme") -> str:
        return issuer.service_token(EVENTS, TenantId(tenant), ["events.append"])

    first = token()
    assert token("other") != first
    moment[0] += 39
    assert token() == first
    moment[0] += 1
    assert token() != first


def test_a_clock_that_is_set_back_has_a_token_issued_anew(authority: Authority) -> None:
    moment = [1_000_000.0]
    issuer = Issuer(SigningKeyFile(authority.gateway_key), GATEWAY, now=lambda: moment[0])
    first = issuer.service_token(EVENTS, TenantId("acme"), ["events.append"])

    moment[0] -= 3_600

    assert issuer.service_token(EVENTS, TenantId("acme"), ["events.append"]) != first


async def test_a_new_key_signs_the_very_next_token(own: Authority) -> None:
    source, key = SigningKeyFile(own.gateway_key), SigningKey.generate()
    issuer = Issuer(source, GATEWAY)
    first = issuer.service_token(EVENTS, TenantId("acme"), ["events.append"])

    key.save(own.gateway_key)
    await source.reread()

    second = issuer.service_token(EVENTS, TenantId("acme"), ["events.append"])
    assert second != first
    assert json_object(from_base64url(second.split(".")[0]))["kid"] == key.kid


def test_a_token_with_everything_in_it_is_short_enough(authority: Authority) -> None:
    plan = PlanLimits("p" * 64, *(2**53,) * 4)
    token = authority.token("t" * 63, SCOPES, plan=plan, role="r" * 64, sid="s" * 64)

    assert len(token) < TOKEN_BYTES_MAX / 2
