"""The headers of `.npy` files are read as numpy writes them, and nothing else is."""

import asyncio
import io
import pickle
import struct
from collections.abc import AsyncIterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lattice.arrays.npy import head_bytes, make_header, read_header
from services.lattice.arrays.number_type import NumberType
from services.lattice.fields.incoming import Incoming
from services.plumbing.errors import InvalidInput


def file_of(array: np.ndarray, version: tuple[int, int] | None = None) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    return file.getvalue()


def header(text: str, version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text.encode("latin-1")


@pytest.mark.parametrize("number_type", NumberType)
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_what_numpy_writes_is_read(number_type: NumberType, version: tuple[int, int]) -> None:
    file = file_of(np.zeros((3, 1, 4), number_type.dtype), version)

    length = head_bytes(file)
    assert length is not None
    header = read_header(file[:length])

    assert (header.number_type, header.shape) == (number_type, (3, 1, 4))
    assert len(file) - length == 12 * number_type.size_bytes


@pytest.mark.parametrize("number_type", NumberType)
def test_numpy_reads_what_we_write(number_type: NumberType) -> None:
    values = np.arange(6).astype(number_type.dtype).reshape(2, 3)

    read = np.load(io.BytesIO(make_header(number_type, (2, 3)) + values.tobytes()))

    assert read.dtype == number_type.dtype
    assert read.tolist() == values.tolist()
    assert len(make_header(number_type, (2, 3))) % 64 == 0


REFUSED = {
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "big-endian": "{'descr': '>f8', 'fortran_order': False, 'shape': (3,), }",
    "records": "{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,), }",
    "Fortran order": "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 2), }",
    "no dictionary": "[1, 2]",
    "code": "{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (3,)}",
    "more keys": "{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'x': 1}",
    "a shape of words": "{'descr': '<f8', 'fortran_order': False, 'shape': ('3',)}",
    "deep": "(" * 9_000,
    "a type of 9,000 digits": f"{{'descr': 0x{'9' * 9_000}, 'fortran_order': False, 'shape': ()}}",
    "a type that is no text": r"{'descr': '\ud800', 'fortran_order': False, 'shape': (3,)}",
    "a shape of 9,000 digits": (
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': (0x{'9' * 9_000},)}}"
    ),
    "a shape below nothing": "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
    "4,000 axes": f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({'1,' * 4_000})}}",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_other_headers_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="body: must ") as refused:
        read_header(header(text))

    assert len(str(refused.value).encode()) < 1_000


def test_a_header_of_a_trillion_numbers_takes_no_memory() -> None:
    text = "{'descr': '<f8', 'fortran_order': False, 'shape': (1000000, 1000000)}"

    assert read_header(header(text)).shape == (10**6, 10**6)


def test_a_column_in_fortran_order_is_one_in_c_order() -> None:
    text = "{'descr': '<f8', 'fortran_order': True, 'shape': (3, 1)}"

    assert read_header(header(text)).shape == (3, 1)


@pytest.mark.parametrize(
    "begin",
    [
        pickle.dumps([1] * 20),
        b"PK\x03\x04" + bytes(20),
        b"\x93NUMPY\x03\x00" + bytes(20),
        bytes(12),
    ],
)
def test_what_is_no_npy_file_is_refused_by_its_first_bytes(begin: bytes) -> None:
    with pytest.raises(InvalidInput):
        head_bytes(begin)


def test_a_long_header_is_refused_before_it_is_read() -> None:
    with pytest.raises(InvalidInput, match="10,000"):
        head_bytes(b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**31) + bytes(10))


@pytest.mark.parametrize("length", range(16))
def test_a_header_that_is_too_short_is_refused(length: int) -> None:
    begin = b"\x93NUMPY\x01\x00" + struct.pack("<H", length) + bytes(2)

    with pytest.raises(InvalidInput, match="body: must "):
        head_bytes(begin)


DICTIONARIES = st.fixed_dictionaries(
    {
        "descr": st.sampled_from(["<f8", "|b1"]) | st.text() | st.integers(),
        "fortran_order": st.booleans(),
        "shape": st.lists(st.integers()).map(tuple) | st.integers(),
    }
)
HEADERS = st.binary(max_size=200) | DICTIONARIES.map(lambda made: ascii(made).encode())


@given(HEADERS)
def test_no_header_does_anything_but_be_read_or_be_refused(text: bytes) -> None:
    try:
        read_header(header(text.decode("latin-1")))
    except InvalidInput as error:
        assert error.violations[0].field == "body"  # noqa: PT017 - most are refused


@given(
    begin=st.sampled_from([b"", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"]),
    length=st.sampled_from([b"", b"\x00\x00", b"\x10\x00\x00\x00"]) | st.binary(max_size=4),
    text=HEADERS,
)
def test_no_file_does_anything_but_begin_with_a_header_or_be_refused(
    begin: bytes, length: bytes, text: bytes
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield begin + length + text

    try:
        asyncio.run(Incoming(pieces()).npy_header())
    except InvalidInput as error:
        assert error.violations[0].field == "body"  # noqa: PT017 - most are refused
