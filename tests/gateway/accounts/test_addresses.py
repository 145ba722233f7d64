"""Addresses: which are taken, which are one, and that old ones are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.errors import EmailTaken
from gateway.accounts.state import addresses
from gateway.accounts.state.addresses import address_key, check_address, claim_keys
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing import validation
from services.plumbing.errors import InvalidInput, ServiceError, Violations
from tests.gateway.accounts.replicas import Replica, fresh_email


def bad_fields(**changed: str) -> list[str]:
    """What is wrong with a registration, by the contract and beyond it."""
    values = {"email": "ada@girih.dev", "password": "a strapwork of stars", "name": "Ada"}
    request = pb.RegisterRequest(**(values | changed))
    violations = Violations()
    validation.add_violations(request, violations)
    check_address(request.email, violations)
    try:
        violations.raise_if_any()
    except InvalidInput as error:
        return [violation.field for violation in error.violations]
    return []


@pytest.mark.parametrize(
    "email",
    ["a@b", "ada@girih.dev", "jürgen@bücher.example", "用户@例子.广告", "a" * 252 + "@b"],
)
def test_addresses_of_all_scripts_are_taken(email: str) -> None:
    assert bad_fields(email=email) == []


@pytest.mark.parametrize(
    "email",
    [
        "", "a", "@", "a@", "@b", "a@@b", "a@b@c", "a b@c", "a@b\n", "a\x00@b", "a\u200b@b",
        "a\u202e@b", "a\u00a0@b", "a@b\u2028", "a\U000e0041@b", "a" * 253 + "@b",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(email: str) -> None:
    assert bad_fields(email=email) == ["email"]


@pytest.mark.parametrize("name", ["", "a" * 101, "a\x00b", "a\nb", "a\x7fb", "a\u2028b"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    assert bad_fields(name=name) == ["name"]
    assert bad_fields(tenant_name=name or "\n") == ["tenant_name"]


@pytest.mark.parametrize(
    "email",
    [
        "ada\uff20girih.dev@evil.example", "ada\ufe6bb@girih.dev", "ada@girih\uff20b.dev",
        "kn\uff4ft@girih.dev", "\ufb01t@girih.dev", "x\u00b2@girih.dev",
        "knot\u034f@girih.dev", "kn\u3164ot@girih.dev", "knot\ufe0f@girih.dev",
        "ada@gir\u034fih.dev", "ada@girih\ufe0f.dev", "ada\u0378@girih.dev", "ada\ue000@girih.dev",
        "ada@girih.dev.", "ada@girih..dev", "ada@.dev", "ada@gi_rih.dev", "ada@-girih.dev",
        "ada@xn--zz.example", "ada@[127.0.0.1]", "ada@" + "g" * 64 + ".dev", "ada@girih,dev",
    ],
    ids=ascii,
)  # fmt: skip
def test_an_address_that_reads_as_another_or_as_none_is_refused(email: str) -> None:
    assert bad_fields(email=email) == ["email"]


@pytest.mark.parametrize(
    "email",
    ["ada@xn--bcher-kva.example", "ada@BÜCHER.example", "cafe\u0301@bu\u0308cher.example",
     "o'hara+x@sub-domain.girih.dev", "ada@girih\u3002dev"],
    ids=ascii,
)  # fmt: skip
def test_an_address_may_be_written_in_any_way_that_reads_the_same(email: str) -> None:
    assert bad_fields(email=email) == []


def test_addresses_that_differ_in_case_are_one() -> None:
    assert address_key("Ada@GIRIH.dev") == address_key("ada@girih.DEV")
    assert address_key("ada@girih.dev") != address_key("adá@girih.dev")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@b\u00fccher.example", "ada@xn--bcher-kva.example"),
        ("ada@B\u00dcCHER.example", "ADA@XN--BCHER-KVA.example"),
        ("ada@bu\u0308cher.example", "ada@xn--bcher-kva.example"),
        ("ada@\u4f8b\u5b50\u3002\u5e7f\u544a", "ada@xn--fsqu00a.xn--4rr70v"),
        ("ada@girih.dev.", "ada@girih.dev"),
        ("ada@g\uff49rih.dev", "ada@girih.dev"),
        ("caf\u00e9@girih.dev", "cafe\u0301@girih.dev"),
        ("CAFE\u0301@girih.dev", "caf\u00e9@girih.dev"),
        ("kn\uff4ft@girih.dev", "knot@girih.dev"),
        ("knot\u034f@girih.dev", "knot@girih.dev"),
        ("kn\u3164ot@girih.dev", "knot@girih.dev"),
        ("knot\ufe0f@girih.dev", "knot@girih.dev"),
    ],
    ids=ascii,
)
def test_addresses_that_look_the_same_are_one(one: str, other: str) -> None:
    assert address_key(one) == address_key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ada@stra\u00dfe.example", "ada@strasse.example"),
        ("ada@g\u0456rih.dev", "ada@girih.dev"),
        ("ada@b\u00fccher.example", "ada@bucher.example"),
    ],
    ids=ascii,
)
def test_domains_that_are_two_are_two(one: str, other: str) -> None:
    assert address_key(one) != address_key(other)


_ascii = st.text(st.characters(max_codepoint=127, exclude_characters="@"), max_size=50)


@given(_ascii, _ascii)
def test_only_the_case_of_letters_makes_plain_addresses_one(one: str, other: str) -> None:
    keys = [address_key(f"{local}@girih.dev") for local in (one, other)]

    assert (keys[0] == keys[1]) == (one.lower() == other.lower())


@given(st.emails())
def test_a_plain_address_has_one_key(email: str) -> None:
    local, _, domain = email.partition("@")

    assert len(claim_keys(f"{local}@{domain.lower().replace('xn--', 'x')}")) == 1


@given(st.text(max_size=300))
def test_no_text_is_too_odd_to_be_looked_for(email: str) -> None:
    assert address_key(email) in claim_keys(email)


IN_UNICODE, IN_ASCII = "b\u00fccher.example", "xn--bcher-kva.example"


@pytest.mark.parametrize("domains", [(IN_UNICODE, IN_ASCII), (IN_ASCII, IN_UNICODE)], ids=ascii)
async def test_whoever_registers_with_one_form_of_a_domain_is_known_by_the_other(
    replica: Replica, domains: tuple[str, str]
) -> None:
    name = fresh_email().partition("@")[0]
    registered, other = (f"{name}@{domain}" for domain in domains)
    user = (await replica.register(registered)).user

    assert user.email == registered
    for email in (registered, other, other.upper()):
        assert (await replica.login(email)).user.user_id == user.user_id
    with pytest.raises(EmailTaken):
        await replica.register(other)


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Accounts as they claimed addresses when domains were not looked up, until it is undone."""
    monkeypatch.setattr(addresses, "_in_ascii", lambda _domain: "")
    monkeypatch.setattr("gateway.accounts.users.check_address", lambda *_: None)
    return monkeypatch


@pytest.mark.parametrize(
    ("registered", "other"),
    [
        (IN_UNICODE, IN_ASCII),
        (IN_ASCII, IN_UNICODE),
        ("gi_rih.example", "GI_RIH.example"),
        ("girih.dev.", "girih.dev."),
        ("stra\u00dfe.example", "xn--strae-oqa.example"),
        ("\U0001f4a9.example", "\U0001f4a9.example"),
    ],
    ids=ascii,
)
async def test_a_user_of_before_logs_in_with_either_form_and_the_address_stays_taken(
    replica: Replica, before: pytest.MonkeyPatch, registered: str, other: str
) -> None:
    name = fresh_email().partition("@")[0]
    user = await _registered(replica, f"{name}@{registered}")
    before.undo()

    for domain in (registered, other):
        assert (await replica.login(f"{name}@{domain}")).user.user_id == user.user_id
        with pytest.raises((EmailTaken, InvalidInput)):
            await replica.register(f"{name}@{domain}")


async def test_two_users_of_before_log_in_each_with_the_form_that_was_registered(
    replica: Replica, before: pytest.MonkeyPatch
) -> None:
    name = fresh_email().partition("@")[0]
    emails = [f"{name}@{domain}" for domain in (IN_UNICODE, IN_ASCII)]
    users = [await _registered(replica, email) for email in emails]
    before.undo()

    logged_in = [(await replica.login(email)).user.user_id for email in emails]

    assert logged_in == [user.user_id for user in users]
    assert logged_in[0] != logged_in[1]


async def test_guesses_at_all_forms_of_an_address_are_counted_together(replica: Replica) -> None:
    name = fresh_email().partition("@")[0]
    await replica.register(f"{name}@{IN_UNICODE}")

    reasons = [await _refusal(replica, f"{name}@{domain}") for domain in (IN_UNICODE, IN_ASCII) * 4]

    assert reasons == ["CREDENTIALS_INVALID"] * 5 + ["LOGIN_THROTTLED"] * 3


async def _refusal(replica: Replica, email: str) -> str:
    with pytest.raises(ServiceError) as refused:
        await replica.login(email, password="not this one at all")
    return refused.value.reason


async def _registered(replica: Replica, email: str) -> pb.User:
    registered = await replica.register(email)
    user: pb.User = registered.user
    return user
