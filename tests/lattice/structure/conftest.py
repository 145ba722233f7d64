"""What answers questions about several ways."""

from collections.abc import AsyncIterator

import pytest

from services.lattice.computing.compute import Compute
from services.lattice.operations.context import OperationContext
from tests.lattice.worlds import operations_on


@pytest.fixture
async def operations() -> AsyncIterator[OperationContext]:
    compute = Compute(threads=2, bytes_max=2 << 30, waiting_max=100)
    yield operations_on(compute)
    await compute.close()
