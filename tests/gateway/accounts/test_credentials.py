"""Secrets that are handed out: told from others, derived alike everywhere, and never shown."""

from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.secrets.credentials import (
    INVITATION_PREFIX,
    KEY_PREFIX,
    RefreshToken,
    RefreshTokens,
    TenantSecret,
)

TENANT, OWN = str(uuid4()), str(uuid4())


def tokens(key: bytes = b"k" * 32) -> RefreshTokens:
    return RefreshTokens(lambda: key)


def test_a_refresh_token_is_read_back_as_it_was_written() -> None:
    token = tokens().first(OWN)

    assert RefreshToken.parse(token.text) == token
    assert len(token.text) == 32 + 1 + 43


def test_the_same_token_has_the_same_successor_wherever_it_is_derived() -> None:
    token = tokens().first(OWN)

    assert tokens().successor(token, 1) == tokens().successor(token, 1)
    assert tokens().successor(token, 2) != tokens().successor(token, 1)
    assert tokens(b"o" * 32).successor(token, 1) != tokens().successor(token, 1)


def test_a_chain_of_successors_never_repeats() -> None:
    seen, token = set(), tokens().first(OWN)
    for generation in range(1, 500):
        seen.add(token.text)
        token = tokens().successor(token, generation)

    assert token.text not in seen
    assert len(seen) == 499


def test_our_tokens_are_known_and_others_are_not() -> None:
    token = tokens().first(OWN)

    assert tokens().made(token)
    assert tokens().made(tokens().successor(token, 1))
    assert not tokens().made(RefreshToken(OWN, "A" * 43))
    assert not tokens().made(RefreshToken(str(uuid4()), token.secret))
    assert not tokens(b"o" * 32).made(token)


@given(st.integers(0, 42), st.sampled_from("AQgw09-_"))
def test_a_changed_token_is_no_longer_ours(place: int, other: str) -> None:
    token = tokens().first(OWN)
    changed = token.secret[:place] + other + token.secret[place + 1 :]

    if changed != token.secret and place < 42:
        assert not tokens().made(RefreshToken(OWN, changed))


@given(st.text(max_size=100))
def test_no_text_breaks_what_reads_tokens(text: str) -> None:
    RefreshToken.parse(text)
    TenantSecret.parse(KEY_PREFIX, text)


@pytest.mark.parametrize("prefix", [KEY_PREFIX, INVITATION_PREFIX])
def test_a_key_is_read_back_as_it_was_written(prefix: str) -> None:
    secret = TenantSecret.new(prefix, TENANT, OWN)

    assert TenantSecret.parse(prefix, secret.text) == secret
    assert (secret.tenant_id, secret.own_id) == (TENANT, OWN)


def test_a_key_is_no_invitation_and_an_invitation_no_key() -> None:
    key = TenantSecret.new(KEY_PREFIX, TENANT, OWN)
    invitation = TenantSecret.new(INVITATION_PREFIX, TENANT, OWN)

    assert TenantSecret.parse(INVITATION_PREFIX, key.text) is None
    assert TenantSecret.parse(KEY_PREFIX, invitation.text) is None


def test_a_mistyped_key_is_none() -> None:
    text = TenantSecret.new(KEY_PREFIX, TENANT, OWN).text

    for place in range(len(text)):
        mistyped = text[:place] + ("0" if text[place] != "0" else "1") + text[place + 1 :]
        assert TenantSecret.parse(KEY_PREFIX, mistyped) is None
    assert TenantSecret.parse(KEY_PREFIX, text + "\n") is None


def test_secrets_do_not_show() -> None:
    token, key = tokens().first(OWN), TenantSecret.new(KEY_PREFIX, TENANT, OWN)

    assert token.secret not in repr(token)
    assert key.secret not in repr(key)
