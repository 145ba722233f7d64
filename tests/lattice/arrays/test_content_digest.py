"""Digests of what is sent, as RFC 9530 writes them."""

import base64
import hashlib

import pytest

from services.lattice.arrays.content_digest import ContentDigest
from services.plumbing.errors import InvalidInput

DATA = b'{"hello": "world"}\n'
SHA_256 = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
"""Of these bytes, as in appendix B.1 of the RFC."""
SHA_512 = f"sha-512=:{base64.b64encode(hashlib.sha512(DATA).digest()).decode()}:"


@pytest.mark.parametrize(
    "header", [SHA_256, SHA_512, f"{SHA_256}, {SHA_512}", f"md5=:AAAA:,{SHA_256}"]
)
def test_the_bytes_that_were_meant_are_taken(header: str) -> None:
    digest = ContentDigest(header)

    digest.update(DATA[:5])
    digest.update(DATA[5:])

    digest.check()


@pytest.mark.parametrize("header", [SHA_256, f"{SHA_512}"])
def test_other_bytes_are_refused(header: str) -> None:
    digest = ContentDigest(header)
    digest.update(DATA[:-1])

    with pytest.raises(InvalidInput, match="content_digest"):
        digest.check()


@pytest.mark.parametrize(
    "header", ["md5=:AAAA:", "sha-256=RK", "sha-256=:R:", "x", ":,:", "sha-256"]
)
def test_what_is_no_digest_we_know_is_refused(header: str) -> None:
    with pytest.raises(InvalidInput, match="content_digest"):
        ContentDigest(header)
