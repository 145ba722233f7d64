"""What the tests of the lattice service share."""

import os

from services.lattice.compiler import configure_compiler

# Before any test imports the compiler: kernels compiled by one run serve the next.
configure_compiler(None, os.environ)
