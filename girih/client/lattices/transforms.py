"""Chains of transforms of fields and of blocked sites: values, and what is asked of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from google.protobuf import json_format

from girih.client.lattices.fields import Field, field_of
from girih.client.lattices.messages import blocked_state, id_of
from girih.client.lattices.questions import Asked
from girih.client.lattices.values import BlockedState, Lattice
from girih.lattice.v1 import chains_pb2
from girih.lattice.v1 import transforms_pb2 as pb

Chain = Sequence[Mapping[str, object]]
"""Steps, each as in the contract's JSON: `{"reflect": {"axes": [0]}}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What a step of a chain was and took."""

    transform: str
    """Its name in the contract, as `xor_key`."""
    invertibility: str
    """Whether it can be undone from its result alone: `EXACT`, `WITHIN_ERROR` or `NONE`."""
    error_bound: float
    """How much its inverse may miss by, relative to the greatest number; 0 where that is exact."""
    in_place: bool
    auxiliary_bytes: int
    """The memory that it took beside the numbers."""
    auxiliary_bytes_max: int
    """The memory that it could have taken."""
    clamped_count: int
    """How many numbers did not fit their type, and became the nearest that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformed:
    """What a chain left of a field."""

    field: Field
    imaginary: Field | None
    """The field of the imaginary parts, with one."""
    before_digest: str
    reports: tuple[StepReport, ...]
    """Of each step."""
    invertibility: str
    """Whether the whole chain can be undone from its result alone."""
    computed_with: str
    elapsed_ns: int
    """0 where the same request had been done before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformedBlocked:
    """What a chain left of which sites are blocked."""

    state: BlockedState
    before_digest: str
    reports: tuple[StepReport, ...]
    invertibility: str


def field(
    lattice: Lattice | str,
    name: str,
    chain: Chain,
    *,
    imaginary: str,
    expected_revision: int | None,
) -> Asked[Transformed]:
    """With an id of its own, so that it may be repeated. Raises ValueError for steps that are none
    of the contract's."""
    request = pb.TransformFieldRequest(
        lattice_id=id_of(lattice),
        name=name,
        transforms=steps_of(chain),
        imaginary=imaginary,
        request_id=str(uuid4()),
        expected_revision=expected_revision,
    )
    return Asked("TransformField", request, _transformed)


def blocked(
    lattice: Lattice | str, chain: Chain, *, expected_revision: int | None
) -> Asked[TransformedBlocked]:
    """The same of which sites are blocked."""
    request = pb.TransformBlockedRequest(
        lattice_id=id_of(lattice),
        transforms=steps_of(chain),
        request_id=str(uuid4()),
        expected_revision=expected_revision,
    )
    return Asked("TransformBlocked", request, _transformed_blocked)


def steps_of(chain: Chain) -> list[chains_pb2.Transform]:
    """Raises ValueError for steps that are none of the contract's."""
    try:
        return [json_format.ParseDict(dict(step), chains_pb2.Transform()) for step in chain]
    except json_format.ParseError as error:
        raise ValueError(f"no step of a chain: {error}") from error


def chain_of(transforms: Sequence[chains_pb2.Transform]) -> tuple[dict[str, Any], ...]:
    """Steps as in the contract's JSON."""
    return tuple(json_format.MessageToDict(each) for each in transforms)


def reports_of(messages: Sequence[chains_pb2.TransformReport]) -> tuple[StepReport, ...]:
    return tuple(
        StepReport(
            transform=each.transform,
            invertibility=invertibility_of(each.invertibility),
            error_bound=each.error_bound,
            in_place=each.in_place,
            auxiliary_bytes=each.auxiliary_bytes,
            auxiliary_bytes_max=each.auxiliary_bytes_max,
            clamped_count=each.clamped_count,
        )
        for each in messages
    )


def invertibility_of(number: chains_pb2.Invertibility) -> str:
    return chains_pb2.Invertibility.Name(number).removeprefix("INVERTIBILITY_")


def _transformed(response: pb.TransformFieldResponse) -> Transformed:
    return Transformed(
        field=field_of(response.field),
        imaginary=field_of(response.imaginary) if response.HasField("imaginary") else None,
        before_digest=response.before_digest,
        reports=reports_of(response.reports),
        invertibility=invertibility_of(response.invertibility),
        computed_with=response.computed_with,
        elapsed_ns=response.elapsed_ns,
    )


def _transformed_blocked(response: pb.TransformBlockedResponse) -> TransformedBlocked:
    return TransformedBlocked(
        state=blocked_state(response.state),
        before_digest=response.before_digest,
        reports=reports_of(response.reports),
        invertibility=invertibility_of(response.invertibility),
    )
