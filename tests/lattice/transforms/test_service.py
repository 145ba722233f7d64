"""Transforms over gRPC: one call is one event, repeated it is none, and what is bad is nothing."""

import asyncio
from typing import Any
from uuid import uuid4

import numpy as np
import pytest

from girih.lattice.v1 import chains_pb2 as chains
from tests.authority import Authority
from tests.lattice.serving import Client, refusal, replica, until
from tests.lattice.transforms.caller import Transforms
from tests.processes import Process

SMALL, LARGE = (6, 7), (60, 60, 40)
"""A field that lies in its event, and one that is kept in chunks."""


@pytest.fixture
def transforms(client: Client) -> Transforms:
    return Transforms(client)


def numbers(shape: tuple[int, ...] = SMALL, dtype: str = "int32") -> np.ndarray:
    return np.random.default_rng(7).integers(0, 200, shape).astype(dtype)


@pytest.mark.parametrize("shape", [SMALL, LARGE], ids=str)
async def test_a_chain_is_one_event(transforms: Transforms, shape: tuple[int, ...]) -> None:
    array = numbers(shape)
    lattice_id = await transforms.lattice(array)

    answer = await transforms.transform(
        lattice_id, {"reflect": {"axes": [0]}}, {"multiply_odd": {"factor": 3}}
    )

    assert answer.field.revision == 2
    assert answer.invertibility == chains.INVERTIBILITY_EXACT
    assert [report.transform for report in answer.reports] == ["reflect", "multiply_odd"]
    assert all(0 < each.auxiliary_bytes <= each.auxiliary_bytes_max for each in answer.reports)
    expected = (3 * array[::-1]).reshape(-1)
    np.testing.assert_array_equal(await transforms.read(lattice_id, "int32"), expected)


async def test_a_request_that_is_repeated_changes_nothing(transforms: Transforms) -> None:
    lattice_id = await transforms.lattice(numbers())
    once = {"request_id": str(uuid4())}
    first = await transforms.transform(lattice_id, {"xor_key": {"seed": 3}}, **once)

    again = await transforms.transform(lattice_id, {"xor_key": {"seed": 3}}, **once)
    other = await refusal(transforms.transform(lattice_id, {"xor_key": {"seed": 4}}, **once))

    assert again.elapsed_ns == 0
    again.elapsed_ns = first.elapsed_ns
    assert again == first
    assert other.reason == "REQUEST_ID_REUSED"
    assert (await transforms.fields.get(lattice_id, "a")).revision == first.field.revision


async def test_who_loses_a_race_computes_anew(transforms: Transforms) -> None:
    lattice_id = await transforms.lattice(numbers(dtype="int64"))
    adding = [{"add": {"whole": 1 << (8 * n)}} for n in range(3)]

    answers = await asyncio.gather(*(transforms.transform(lattice_id, each) for each in adding))

    assert sorted(answer.field.revision for answer in answers) == [2, 3, 4]
    expected = numbers(dtype="int64").reshape(-1) + 1 + (1 << 8) + (1 << 16)
    np.testing.assert_array_equal(await transforms.read(lattice_id, "int64"), expected)


async def test_a_field_that_has_moved_is_told_with_both_revisions(transforms: Transforms) -> None:
    lattice_id = await transforms.lattice(numbers())
    await transforms.transform(lattice_id, {"reflect": {"axes": [0]}})

    error = await refusal(
        transforms.transform(lattice_id, {"reflect": {"axes": [0]}}, expected_revision=1)
    )

    assert error.reason == "LATTICE_CHANGED"
    assert (error.metadata["expected_revision"], error.metadata["revision"]) == ("1", "2")


async def test_modes_lie_in_two_fields(transforms: Transforms) -> None:
    array = numbers(dtype="float64")
    lattice_id = await transforms.lattice(array)

    there = await transforms.transform(lattice_id, {"fourier": {}}, imaginary="b")

    modes = np.fft.fftn(array).reshape(-1)
    np.testing.assert_allclose(await transforms.read(lattice_id, "float64"), modes.real, atol=1e-9)
    imaginary = await transforms.read(lattice_id, "float64", "b")
    np.testing.assert_allclose(imaginary, modes.imag, atol=1e-9)
    assert there.invertibility == chains.INVERTIBILITY_WITHIN_ERROR
    assert there.imaginary.revision == there.field.revision
    await transforms.transform(lattice_id, {"inverse_fourier": {}}, imaginary="b")
    back = await transforms.read(lattice_id, "float64")
    np.testing.assert_allclose(back, array.reshape(-1), atol=1e-9)


@pytest.mark.parametrize(
    ("transform", "options", "reason", "detail"),
    [
        ({"fourier": {}}, {}, "TRANSFORM_UNFIT", "0"),
        ({"quarter_turns": {"column_axis": 1, "turns": 1}}, {}, "TRANSFORM_UNFIT", "0"),
        ({"affine": {"matrix": [1, 2, 2, 4]}}, {}, "INVALID_INPUT", None),
        ({"multiply_odd": {"factor": 2}}, {}, "INVALID_INPUT", None),
        ({"diffuse": {"rate": 0.3, "steps": 1}}, {}, "UNSTABLE_STEP", None),
        ({"diffuse": {"rate": 0.2, "steps": 10**6 + 1}}, {}, "INVALID_INPUT", None),
        ({}, {}, "INVALID_INPUT", None),
        ({"reflect": {"axes": [0]}}, {"name": "b"}, "FIELD_NOT_FOUND", None),
        ({"reflect": {"axes": [0]}}, {"imaginary": "a"}, "INVALID_INPUT", None),
    ],
    ids=str,
)
async def test_what_is_bad_changes_nothing(
    transforms: Transforms,
    transform: dict[str, Any],
    options: dict[str, Any],
    reason: str,
    detail: str | None,
) -> None:
    lattice_id = await transforms.lattice(numbers())
    before = await transforms.fields.get(lattice_id, "a")

    error = await refusal(transforms.transform(lattice_id, transform, **options))

    assert error.reason == reason
    assert error.metadata.get("step") == detail
    assert await transforms.fields.get(lattice_id, "a") == before


async def test_what_takes_too_long_is_refused_before_it_is_read(transforms: Transforms) -> None:
    lattice_id = await transforms.lattice(numbers(LARGE, "float64"))

    error = await refusal(
        transforms.transform(lattice_id, {"diffuse": {"rate": 0.1, "steps": 10**6}})
    )

    assert error.reason == "WORK_TOO_LARGE"
    assert int(error.metadata["estimate"]) > int(error.metadata["limit"])


async def test_reading_goes_on_while_events_are_away(
    event_store: tuple[Process, str], authority: Authority, tenant: str
) -> None:
    process, address = event_store
    async with replica(address, authority, tenant) as client:
        await until(client.is_serving)
        transforms = Transforms(client)
        array = numbers()
        lattice_id = await transforms.lattice(array)
        process.kill()

        error = await refusal(transforms.transform(lattice_id, {"reflect": {"axes": [0]}}))

        assert error.reason == "EVENTS_UNAVAILABLE"
        np.testing.assert_array_equal(await transforms.read(lattice_id, "int32"), array.reshape(-1))
