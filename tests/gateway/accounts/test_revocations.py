"""Revocations: what has ended is known, what has not is not, whatever order it is told in."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.accounts.sessions import revocations
from gateway.accounts.sessions.revocations import Revocations
from gateway.accounts.state.events import (
    AccountRecord,
    Event,
    KeyRevoked,
    MemberRemoved,
    SessionEnded,
    SessionOpened,
    SessionRotated,
    SessionsEnded,
)


@dataclass
class Clock:
    now_s: float = 0.0

    def __call__(self) -> float:
        return self.now_s


def opened(session: str, user: str = "u", tenant: str = "t") -> SessionOpened:
    return SessionOpened(
        session_id=session,
        user_id=user,
        tenant_id=tenant,
        membership=1,
        epoch=0,
        generation=0,
        token_hash="",
        opened_at_ms=0,
        at_ms=0,
    )


def rotated(session: str, user: str = "u", tenant: str = "t") -> SessionRotated:
    return SessionRotated(
        session_id=session,
        user_id=user,
        tenant_id=tenant,
        membership=1,
        epoch=0,
        generation=1,
        token_hash="",
        opened_at_ms=0,
        at_ms=0,
    )


def ended(session: str) -> SessionEnded:
    return SessionEnded(session_id=session, user_id="u", tenant_id="t", why="logged-out", at_ms=0)


def log(*history: Event) -> list[AccountRecord]:
    return [AccountRecord(position, "s", 0, one) for position, one in enumerate(history, 1)]


def revoked(result: Revocations, *sessions: str) -> set[str]:
    return {one for one in sessions if result.is_revoked(one)}


def test_an_ended_session_and_a_revoked_key_are_refused() -> None:
    result = Revocations()

    result.apply(
        log(opened("s1"), opened("s2"), ended("s1"), KeyRevoked(key_id="k", by="", at_ms=0))
    )

    assert revoked(result, "s1", "s2", "k", "") == {"s1", "k"}


def test_nothing_is_remembered_of_a_log_that_is_no_more() -> None:
    result = Revocations()
    result.apply(log(opened("s1"), opened("s2"), ended("s1")))

    result.begin_anew(log(opened("s1"), opened("s2"), ended("s2")))

    assert revoked(result, "s1", "s2") == {"s2"}
    assert result.sizes == (1, 2)


def test_all_sessions_of_a_user_end_but_the_one_kept() -> None:
    result = Revocations()

    result.apply(
        log(
            opened("s1"),
            opened("s2"),
            opened("other", user="v"),
            SessionsEnded(user_id="u", kept_session="s2", at_ms=0),
        )
    )

    assert revoked(result, "s1", "s2", "other") == {"s1"}


def test_who_is_removed_loses_the_sessions_of_that_tenant() -> None:
    result = Revocations()

    result.apply(
        log(
            opened("here"),
            opened("there", tenant="t2"),
            MemberRemoved(tenant_id="t", user_id="u", by="", at_ms=0),
        )
    )

    assert revoked(result, "here", "there") == {"here"}


def test_a_session_opened_later_is_not_ended_by_what_was_before() -> None:
    result = Revocations()
    records = log(opened("s1"), SessionsEnded(user_id="u", at_ms=0), opened("s2"))

    result.apply(records[2:])
    result.apply(records)

    assert revoked(result, "s1", "s2") == {"s1"}


def test_a_session_known_only_by_a_refresh_was_spared_by_what_was_before() -> None:
    result = Revocations()
    records = log(SessionsEnded(user_id="u", kept_session="s", at_ms=0), rotated("s"))

    result.apply(reversed(records))

    assert not result.is_revoked("s")


_histories = st.lists(
    st.one_of(
        st.sampled_from("abcd").map(lambda user: ("open", user)),
        st.sampled_from("abcd").map(lambda user: ("end", user)),
    ),
    max_size=20,
)


@given(_histories, st.randoms(use_true_random=False))
def test_the_order_and_number_of_tellings_change_nothing(
    acts: list[tuple[str, str]], random: object
) -> None:
    records = log(
        *(
            opened(f"s{number}", user=user)
            if act == "open"
            else SessionsEnded(user_id=user, at_ms=0)
            for number, (act, user) in enumerate(acts)
        )
    )
    own = [one for one in records if random.random() < 0.5]  # type: ignore[attr-defined]
    in_order, early = Revocations(), Revocations()

    in_order.apply(records)
    early.apply(own)
    early.apply(records)

    sessions = [f"s{number}" for number in range(len(acts))]
    assert revoked(early, *sessions) == revoked(in_order, *sessions)


def test_endings_are_forgotten_when_no_token_can_be_left() -> None:
    clock = Clock()
    result = Revocations(memory_s=960, clock=clock)
    result.apply(log(opened("s"), ended("s")))

    clock.now_s = 959
    assert result.is_revoked("s")
    clock.now_s = 960
    assert not result.is_revoked("s")
    result.apply(log(opened("other")))

    assert result.sizes == (0, 1)


def test_memory_is_bounded(monkeypatch: object) -> None:
    monkeypatch.setattr(revocations, "SESSIONS_MAX", 100)  # type: ignore[attr-defined]
    result = Revocations()

    result.apply(log(*(opened(f"s{number}") for number in range(500))))
    result.apply(log(*(ended(f"s{number}") for number in range(500))))

    assert result.sizes == (100, 100)
    assert result.is_revoked("s499")
