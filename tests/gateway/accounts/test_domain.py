"""Users and sessions: what their records add up to, and what a refresh token is good for."""

import pytest

from gateway.accounts.state.domain import (
    OVERLAP_MS,
    Origin,
    Session,
    SessionLimits,
    TokenStatus,
    User,
    is_open_for,
    opened,
    rotated,
    session_from,
    token_status,
    user_after,
)
from gateway.accounts.state.events import (
    AccountRecord,
    DamagedRecord,
    Event,
    PasswordChanged,
    SessionEnded,
    SessionsEnded,
    TenantJoined,
    TenantLeft,
    UserRegistered,
    from_json,
    to_json,
)

LIMITS = SessionLimits(idle_ms=1_000_000, absolute_ms=3_000_000)


def recorded(*history: Event | None, since: int = 0) -> list[AccountRecord]:
    return [
        AccountRecord(since + number + 1, "s", since + number, one)
        for number, one in enumerate(history)
    ]


def registered() -> UserRegistered:
    return UserRegistered(
        user_id="u", email="ada@girih.dev", name="Ada", password_hash="hashed", at_ms=7
    )


def some_user(*more: Event) -> User:
    user = user_after(None, recorded(registered(), *more))
    assert user is not None
    return user


def session_of(user: User, moved_at_ms: int = 0) -> Session:
    session = session_from(recorded(opened("s", user, "t", 1, "current", Origin(), moved_at_ms))[0])
    assert session.generation == 0
    return session


def moved_on(session: Session, user: User, at_ms: int) -> Session:
    return session_from(recorded(rotated(session, user, "next", at_ms), since=1)[0])


def test_a_user_is_what_happened_to_it() -> None:
    user = some_user(
        TenantJoined(tenant_id="t1", at_ms=8),
        TenantJoined(tenant_id="t2", at_ms=9),
        PasswordChanged(password_hash="other", at_ms=10),
        TenantLeft(tenant_id="t1", at_ms=11),
        SessionsEnded(user_id="u", kept_session="s", at_ms=12),
    )

    assert user.tenants == ("t2",)
    assert user.password_hash == "other"
    assert (user.epoch, user.kept_session, user.revision) == (1, "s", 5)


def test_a_user_is_the_same_however_its_records_are_read() -> None:
    records = recorded(registered(), TenantJoined(tenant_id="t", at_ms=8), None)

    user = user_after(user_after(None, records[:1]), records[1:])

    assert user == user_after(None, records)
    assert user is not None
    assert user.revision == 2


def test_what_begins_without_a_registration_is_no_user() -> None:
    with pytest.raises(DamagedRecord):
        user_after(None, recorded(TenantJoined(tenant_id="t", at_ms=8)))


def test_the_hash_of_a_password_is_not_shown() -> None:
    assert "hashed" not in repr(some_user())
    assert "hashed" not in repr(registered())


def test_the_token_given_last_is_current() -> None:
    assert _status(session_of(some_user()), "current") is TokenStatus.CURRENT


@pytest.mark.parametrize(("later_ms", "status"), [
    (0, TokenStatus.ROTATED), (OVERLAP_MS, TokenStatus.ROTATED),
    (OVERLAP_MS + 1, TokenStatus.REUSED),
])  # fmt: skip
def test_a_traded_token_is_repeated_for_ten_seconds(later_ms: int, status: TokenStatus) -> None:
    user = some_user()
    session = moved_on(session_of(user), user, at_ms=100)

    assert _status(session, "current", now_ms=100 + later_ms) is status


def test_an_older_token_is_reused_and_a_strange_one_worth_nothing() -> None:
    session = session_of(some_user())

    assert _status(session, "older", is_ours=True) is TokenStatus.REUSED
    assert _status(session, "strange", is_ours=False) is TokenStatus.INVALID


def test_a_session_that_does_nothing_expires() -> None:
    session = session_of(some_user())

    assert _status(session, "current", now_ms=LIMITS.idle_ms) is TokenStatus.CURRENT
    assert _status(session, "current", now_ms=LIMITS.idle_ms + 1) is TokenStatus.INVALID


def test_a_busy_session_expires_too() -> None:
    user = some_user()
    session = moved_on(session_of(user), user, at_ms=LIMITS.absolute_ms - 1)

    assert _status(session, "next", now_ms=LIMITS.absolute_ms) is TokenStatus.CURRENT
    assert _status(session, "next", now_ms=LIMITS.absolute_ms + 1) is TokenStatus.INVALID


def test_no_token_of_an_ended_session_is_worth_anything() -> None:
    ended = SessionEnded(session_id="s", user_id="u", tenant_id="t", why="logged-out", at_ms=1)
    session = session_from(recorded(ended)[0])

    assert _status(session, "") is TokenStatus.INVALID
    assert _status(session, "current", is_ours=True) is TokenStatus.INVALID


def test_a_session_outlives_only_the_end_that_spared_it() -> None:
    user = some_user()
    session = session_of(user)
    spared = some_user(SessionsEnded(user_id="u", kept_session="s", at_ms=1))
    ended = some_user(SessionsEnded(user_id="u", at_ms=1))
    spared_once = some_user(
        SessionsEnded(user_id="u", kept_session="s", at_ms=1), SessionsEnded(user_id="u", at_ms=2)
    )

    assert is_open_for(session, user, membership=1)
    assert is_open_for(session, spared, membership=1)
    assert not is_open_for(session, ended, membership=1)
    assert not is_open_for(session, spared_once, membership=1)


def test_a_session_ends_with_the_membership_it_was_opened_for() -> None:
    user = some_user()

    assert not is_open_for(session_of(user), user, membership=None)
    assert not is_open_for(session_of(user), user, membership=2)


def test_records_say_the_same_when_read_back() -> None:
    for event in (registered(), opened("s", some_user(), "t", 1, "h", Origin(), 5)):
        assert from_json(event.type, to_json(event)) == event


def test_records_of_later_versions_are_understood_as_far_as_they_are_known() -> None:
    assert from_json("user.of-tomorrow", "{}") is None
    text = to_json(TenantJoined(tenant_id="t", at_ms=8))[:-1] + ',"why":"new"}'
    assert from_json("user.tenant-joined", text) == TenantJoined(tenant_id="t", at_ms=8)


@pytest.mark.parametrize("text", ["", "[]", "1", "{}", '{"tenant_id":"t"}', "null"])
def test_nothing_is_decided_on_a_damaged_record(text: str) -> None:
    with pytest.raises(DamagedRecord):
        from_json("user.tenant-joined", text)


def _status(
    session: Session, token_hash: str, *, is_ours: bool = True, now_ms: int = 0
) -> TokenStatus:
    return token_status(session, token_hash, is_ours=is_ours, now_ms=now_ms, limits=LIMITS)
