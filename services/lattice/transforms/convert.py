"""Between the messages of TransformService and chains. Decides nothing."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from girih.lattice.v1 import chains_pb2 as pb
from services.lattice.enums import MOORE, number_type
from services.lattice.kernels.transforms.edges import Edge
from services.lattice.transforms import frequencies, moving, neighbours, numbers, sampling
from services.lattice.transforms.chain import COMPUTED_WITH, Report
from services.lattice.transforms.step import EdgeChoice, Invertibility, Step

_EDGES = {
    pb.EDGE_RULE_UNSPECIFIED: None,
    pb.EDGE_RULE_NEAREST: Edge.NEAREST,
    pb.EDGE_RULE_WRAP: Edge.WRAP,
    pb.EDGE_RULE_REFLECT: Edge.REFLECT,
    pb.EDGE_RULE_FILL: Edge.FILL,
}
_INVERTIBILITIES = {
    Invertibility.EXACT: pb.INVERTIBILITY_EXACT,
    Invertibility.WITHIN_ERROR: pb.INVERTIBILITY_WITHIN_ERROR,
    Invertibility.NONE: pb.INVERTIBILITY_NONE,
}


def steps(transforms: Iterable[pb.Transform]) -> list[Step]:
    """The steps of a chain, of which the contract's rules hold."""
    return [_step(transform) for transform in transforms]


def transforms(chain: Sequence[Step]) -> list[pb.Transform]:
    """Steps that are invertible exactly, as the contract has them."""
    return [_MESSAGES[type(step)](step) for step in chain]


def applied_chain(chain: Iterable[pb.Transform], reports: Sequence[Report]) -> bytes:
    """What an event keeps of a chain that was applied."""
    applied = pb.AppliedChain(
        transforms=chain,
        reports=[report_to_proto(report) for report in reports],
        computed_with=COMPUTED_WITH,
    )
    return applied.SerializeToString(deterministic=True)


def applied_from(recorded: bytes) -> pb.AppliedChain:
    """What was kept of a chain."""
    return pb.AppliedChain.FromString(recorded)


def report_to_proto(report: Report) -> pb.TransformReport:
    return pb.TransformReport(
        transform=report.transform,
        invertibility=_INVERTIBILITIES[report.invertibility],
        error_bound=report.error_bound,
        in_place=report.in_place,
        auxiliary_bytes=report.auxiliary_bytes,
        auxiliary_bytes_max=report.auxiliary_bytes_max,
        clamped_count=report.clamped_count,
    )


def invertibility(reports: Iterable[pb.TransformReport]) -> pb.Invertibility:
    """That of a chain: the numbers of the contract rise from the best."""
    return max((each.invertibility for each in reports), default=pb.INVERTIBILITY_EXACT)


def _step(transform: pb.Transform) -> Step:
    kind = transform.WhichOneof("kind")
    assert kind is not None, "the contract's rules are checked"
    return _STEPS[kind](getattr(transform, kind))


def _edges(message: Any) -> EdgeChoice:  # noqa: ANN401 - one of those that have both fields
    return EdgeChoice(_EDGES[message.edge], message.fill)


def _is_linear(message: Any) -> bool:  # noqa: ANN401 - one of those that have it
    linear: bool = message.sampling == pb.SAMPLING_LINEAR
    return linear


def _xor_key(message: pb.XorKey) -> Step:
    return moving.XorKey(message.key, message.seed if message.HasField("seed") else None)


def _translate(message: pb.Translate) -> Step:
    offset = tuple(message.offset)
    if message.HasField("fill"):
        return moving.Shift(offset, message.fill)
    return moving.Translate(offset)


def _add(message: pb.Add) -> Step:
    return numbers.AddWhole(message.whole) if message.whole else numbers.Add(message.number)


def _clip(message: pb.Clip) -> Step:
    return numbers.Clip(
        message.low if message.HasField("low") else None,
        message.high if message.HasField("high") else None,
    )


def _convert(message: pb.Convert) -> Step:
    kind = number_type(message.number_type)
    assert kind is not None, "the contract's rules are checked"
    return numbers.Convert(kind)


def _rotate(message: pb.Rotate) -> Step:
    return sampling.Rotate(
        message.row_axis,
        message.column_axis,
        message.degrees,
        _is_linear(message),
        _edges(message),
    )


def _resample(message: pb.Resample) -> Step:
    factors, origin = tuple(message.factors), tuple(message.origin)
    return sampling.Resample(factors, origin, _is_linear(message), _edges(message))


def _affine(message: pb.Affine) -> Step:
    matrix, offset = tuple(message.matrix), tuple(message.offset)
    return sampling.Affine(matrix, offset, _is_linear(message), _edges(message))


_STEPS: Mapping[str, Callable[[Any], Step]] = {
    "xor_key": _xor_key,
    "quarter_turns": lambda m: moving.QuarterTurns(m.row_axis, m.column_axis, m.turns),
    "rotate": _rotate,
    "reflect": lambda m: moving.Reflect(tuple(m.axes)),
    "translate": _translate,
    "transpose": lambda m: moving.Transpose(tuple(m.axes)),
    "shear": lambda m: moving.Shear(m.axis, m.by_axis, m.factor),
    "scale": lambda m: numbers.Scale(m.factor, m.offset),
    "multiply_odd": lambda m: numbers.MultiplyOdd(m.factor),
    "add": _add,
    "resample": _resample,
    "affine": _affine,
    "normalise": lambda m: numbers.Normalise(m.low, m.high),
    "threshold": lambda m: numbers.Threshold(m.level, m.below, m.above),
    "clip": _clip,
    "convolve": lambda m: neighbours.Convolve(tuple(m.lengths), tuple(m.weights), _edges(m)),
    "median": lambda m: neighbours.Median(tuple(m.lengths), _edges(m)),
    "erode": lambda m: neighbours.Erode(m.radius or 1, MOORE[m.neighbourhood]),
    "dilate": lambda m: neighbours.Dilate(m.radius or 1, MOORE[m.neighbourhood]),
    "distance_transform": lambda m: neighbours.DistanceTransform(m.metric != pb.METRIC_CITY_BLOCK),
    "fourier": lambda _: frequencies.Fourier(),
    "inverse_fourier": lambda _: frequencies.InverseFourier(),
    "laplacian": lambda _: neighbours.Laplacian(),
    "gradient_magnitude": lambda _: neighbours.GradientMagnitude(),
    "diffuse": lambda m: neighbours.Diffuse(m.rate, m.steps),
    "diffuse_exactly": lambda m: frequencies.DiffuseExactly(m.time),
    "convert": _convert,
}


def _xor_message(step: moving.XorKey) -> pb.Transform:
    if step.seed is None:
        return pb.Transform(xor_key=pb.XorKey(key=step.key))
    return pb.Transform(xor_key=pb.XorKey(seed=step.seed))


_MESSAGES: Mapping[type[Step], Callable[[Any], pb.Transform]] = {
    moving.XorKey: _xor_message,
    moving.XorBits: lambda step: _xor_message(step.bytes_of),
    moving.QuarterTurns: lambda step: pb.Transform(
        quarter_turns=pb.QuarterTurns(row_axis=step.row, column_axis=step.column, turns=step.turns)
    ),
    moving.Reflect: lambda step: pb.Transform(reflect=pb.Reflect(axes=step.axes)),
    moving.Translate: lambda step: pb.Transform(translate=pb.Translate(offset=step.offset)),
    moving.Transpose: lambda step: pb.Transform(transpose=pb.Transpose(axes=step.axes)),
    moving.Shear: lambda step: pb.Transform(
        shear=pb.Shear(axis=step.axis, by_axis=step.by, factor=step.factor)
    ),
    numbers.MultiplyOdd: lambda step: pb.Transform(multiply_odd=pb.MultiplyOdd(factor=step.factor)),
    numbers.AddWhole: lambda step: pb.Transform(add=pb.Add(whole=step.number)),
}
