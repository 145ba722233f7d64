"""What a lattice may have of fields, as the operator allows it."""

from collections.abc import Mapping
from dataclasses import dataclass

from services.lattice.arrays.number_type import NumberType
from services.lattice.errors import UploadsFull, WorkTooLarge
from services.lattice.fields.states import FieldState


@dataclass(frozen=True, kw_only=True)
class FieldLimits:
    """Bounds of one field, of their number on one lattice, and of uploads of a tenant."""

    field_bytes_max: int
    fields_max: int
    uploads_max: int

    def check_size(self, number_type: NumberType, sites: int) -> None:
        """Raise WorkTooLarge before anything is taken for a field that is too large."""
        size_bytes = number_type.size_bytes * sites
        if size_bytes > self.field_bytes_max:
            raise WorkTooLarge(
                "the field has more bytes than one may have",
                estimate=size_bytes,
                limit=self.field_bytes_max,
            )

    def check_count(self, fields: Mapping[str, FieldState], name: str) -> None:
        """Raise WorkTooLarge when a new field would be one too many."""
        if name not in fields and len(fields) >= self.fields_max:
            raise WorkTooLarge(
                "the lattice has as many fields as one may have",
                estimate=len(fields) + 1,
                limit=self.fields_max,
            )

    def check_uploads(self, count: int) -> None:
        """Raise UploadsFull when a tenant has begun more than so many that are not finished."""
        if count > self.uploads_max:
            raise UploadsFull(
                f"{self.uploads_max:,} uploads were begun and are not finished",
                limit=self.uploads_max,
            )
