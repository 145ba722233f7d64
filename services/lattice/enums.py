"""Between the enums of the contract and what a geometry is made of."""

from collections.abc import Sequence

from girih.lattice.v1 import costs_pb2
from girih.lattice.v1 import lattice_pb2 as pb
from services.lattice.arrays.number_type import NumberType
from services.lattice.domain import BitOrder
from services.lattice.geometry import Geometry

# What is not given means open, von Neumann, and no cutting: the contract says so.
PERIODIC = {
    pb.BOUNDARY_UNSPECIFIED: False,
    pb.BOUNDARY_OPEN: False,
    pb.BOUNDARY_PERIODIC: True,
}
MOORE = {
    pb.NEIGHBOURHOOD_UNSPECIFIED: False,
    pb.NEIGHBOURHOOD_VON_NEUMANN: False,
    pb.NEIGHBOURHOOD_MOORE: True,
}
NO_CUTTING = {
    pb.CORNER_RULE_UNSPECIFIED: True,
    pb.CORNER_RULE_NO_CUTTING: True,
    pb.CORNER_RULE_CUTTING: False,
}

BIT_ORDERS = {
    pb.BIT_ORDER_UNSPECIFIED: None,
    pb.BIT_ORDER_LITTLE: BitOrder.LITTLE,
    pb.BIT_ORDER_BIG: BitOrder.BIG,
}

MEAN = {
    costs_pb2.COST_RULE_UNSPECIFIED: False,
    costs_pb2.COST_RULE_ENTERING: False,
    costs_pb2.COST_RULE_MEAN: True,
}


def boundaries(geometry: Geometry) -> Sequence[pb.Boundary]:
    return [pb.BOUNDARY_PERIODIC if ring else pb.BOUNDARY_OPEN for ring in geometry.periodic]


def neighbourhood(geometry: Geometry) -> pb.Neighbourhood:
    return pb.NEIGHBOURHOOD_MOORE if geometry.moore else pb.NEIGHBOURHOOD_VON_NEUMANN


def corner_rule(geometry: Geometry) -> pb.CornerRule:
    return pb.CORNER_RULE_NO_CUTTING if geometry.no_cutting else pb.CORNER_RULE_CUTTING


NUMBER_TYPES = {
    NumberType.INT16: pb.NUMBER_TYPE_INT16,
    NumberType.INT32: pb.NUMBER_TYPE_INT32,
    NumberType.INT64: pb.NUMBER_TYPE_INT64,
    NumberType.UINT8: pb.NUMBER_TYPE_UINT8,
    NumberType.UINT16: pb.NUMBER_TYPE_UINT16,
    NumberType.FLOAT32: pb.NUMBER_TYPE_FLOAT32,
    NumberType.FLOAT64: pb.NUMBER_TYPE_FLOAT64,
}
_OF_NUMBER_TYPES = {number: kind for kind, number in NUMBER_TYPES.items()}


def number_type(number: pb.NumberType) -> NumberType | None:
    """None where it is not said, or not known."""
    return _OF_NUMBER_TYPES.get(number)
