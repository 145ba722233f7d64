"""The types of numbers that arrays hold, as they travel and are kept: little-endian."""

import math
from enum import Enum

import numpy as np

from services.plumbing.errors import InvalidInput

_WHOLE_MAX = 2.0**53


class NumberType(Enum):
    """A type by the name that numpy and Zarr have for it."""

    INT16 = "int16"
    INT32 = "int32"
    INT64 = "int64"
    UINT8 = "uint8"
    UINT16 = "uint16"
    FLOAT32 = "float32"
    FLOAT64 = "float64"

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Little-endian whatever the machine is."""
        return np.dtype(self.value).newbyteorder("<")

    @property
    def size_bytes(self) -> int:
        """The bytes of one number."""
        return np.dtype(self.value).itemsize

    @property
    def is_whole(self) -> bool:
        """Its numbers are whole ones."""
        return np.dtype(self.value).kind != "f"

    def item(self, number: float, field: str) -> bytes:
        """A number as the bytes of one; raises InvalidInput when it is none of the type."""
        if not self.is_whole:
            return np.array(number).astype(self.dtype).tobytes()
        bounds = np.iinfo(self.value)
        fits = math.isfinite(number) and number == int(number) and abs(number) <= _WHOLE_MAX
        if not (fits and bounds.min <= number <= bounds.max):
            raise InvalidInput.of(field, f"must be a number of the type {self.value}")
        return np.array(int(number), self.dtype).tobytes()
