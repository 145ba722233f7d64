"""Ids sort by time, and bytes have one text."""

from uuid import UUID, uuid4

import pytest

from girih.ids import uuid7, uuid7_at
from services.plumbing.base64url import from_base64url, to_base64url


def test_a_moment_and_chance_make_the_id_that_the_standard_shows() -> None:
    # RFC 9562, appendix A.6: its 74 bits of chance, with the bits that are given up set.
    random = bytes.fromhex("fcc3d8c4dc0c0c07398f")

    assert uuid7_at(0x017F22E279B0, random) == UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")


def test_ids_are_of_version_7_and_sort_by_their_moment() -> None:
    early, late = uuid7_at(1, b"\xff" * 10), uuid7_at(2, b"\x00" * 10)

    assert early < late
    assert {(made.version, made.variant) for made in (early, late, uuid7())} == {
        (7, uuid4().variant)
    }
    assert len({uuid7() for _ in range(1_000)}) == 1_000


@pytest.mark.parametrize("data", [b"", b"a", b"ab", b"abc", bytes(range(256))], ids=len)
def test_bytes_come_back_from_their_text(data: bytes) -> None:
    text = to_base64url(data)

    assert not set(text) & set("+/=")
    assert from_base64url(text) == data


@pytest.mark.parametrize("text", ["YQ==", "YR", "Y", "Y+/h", "YW\nE", "ä", "YWJj "])
def test_another_text_for_the_same_bytes_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of the decoder, or our own
        from_base64url(text)
