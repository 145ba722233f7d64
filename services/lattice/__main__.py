"""`python -m services.lattice`: the lattice service as a process."""

import os

from services.lattice.compiler import configure_compiler
from services.lattice.settings import Settings
from services.plumbing.logging import get_logger
from services.plumbing.process import run_process


async def main(settings: Settings) -> None:
    """Tell the compiler where it may write, which it asks when imported, then serve."""
    directory = configure_compiler(settings.kernel_cache_dir, os.environ)
    get_logger("lattice").info("kernels are kept", directory=str(directory))

    from services.lattice.app import run

    await run(settings)


if __name__ == "__main__":
    run_process(Settings, os.environ, main)
