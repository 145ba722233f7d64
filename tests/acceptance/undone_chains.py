"""Random chains of invertible transforms are undone: every one comes back to the same digest.

    python -m tests.acceptance.undone_chains [--chains 1000] [--seed 1]

Shapes, boundaries, types and steps come of the seed. Also fails when a step took more memory than
it said it could. Prints figures, and every chain that is broken.
"""

import argparse
import sys
from collections import Counter

import numpy as np

from services.lattice.arrays.chunking import Chunking
from services.lattice.arrays.digests import chunk_digest, root_digest
from services.lattice.arrays.number_type import NumberType
from services.lattice.transforms.chain import Chain
from tests.lattice.transforms.arrays import FLOATING, WHOLE, fit_of, random_array, reversible_steps

_GO = np.zeros(1, np.uint8)
_SITES_MAX = 200_000


def main(arguments: argparse.Namespace) -> int:
    rng = np.random.default_rng(arguments.seed)
    steps: Counter[str] = Counter()
    broken = sum(not _comes_back(rng, steps) for _ in range(arguments.chains))
    print(f"{arguments.chains} chains of {steps.total()} steps, {broken} broken: {dict(steps)}")
    return 1 if broken else 0


def _comes_back(rng: np.random.Generator, counted: Counter[str]) -> bool:
    array = random_array(rng, _shape(rng), str(rng.choice(WHOLE + FLOATING)))
    fit = fit_of(array, tuple(bool(each) for each in rng.integers(0, 2, array.ndim)))
    chain = Chain.of(reversible_steps(rng, fit, int(rng.integers(1, 20))), fit)
    inverse = chain.inverse()
    assert inverse is not None, "all of its steps have one"
    before = _digest(array)
    there, reports = chain.apply(array, _GO)
    back, undone = inverse.apply(there, _GO)
    counted.update(report.transform for report in reports)
    in_bounds = all(
        report.auxiliary_bytes <= report.auxiliary_bytes_max for report in (*reports, *undone)
    )
    if _digest(back) != before or not in_bounds:
        print(f"BROKEN {array.dtype} {array.shape}: {chain.steps}")
        return False
    return True


def _shape(rng: np.random.Generator) -> tuple[int, ...]:
    axes = int(rng.integers(1, 6))
    most = int(_SITES_MAX ** (1 / axes))
    if rng.random() < 0.5:
        return (int(rng.integers(1, most + 1)),) * axes
    return tuple(int(each) for each in rng.integers(1, most + 1, axes))


def _digest(array: np.ndarray) -> str:
    number_type = NumberType(array.dtype.name)
    chunking = Chunking.of(array.shape, array.itemsize)
    assert chunking.count == 1, "it is one chunk"
    return root_digest(number_type, chunking, [chunk_digest(array.tobytes())])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(main(parser.parse_args()))
