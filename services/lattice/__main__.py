"""`python -m services.lattice`: the lattice service as a process."""

import os

from services.plumbing.importing import uncollected

with uncollected():
    from services.lattice.compiler import configure_compiler
    from services.lattice.settings import Settings
    from services.plumbing.logging import get_logger
    from services.plumbing.process import run_process, spare_collector


async def main(settings: Settings) -> None:
    """Tell the compiler where it may write, which it asks when imported, then serve."""
    cache = configure_compiler(settings.kernel_cache_dir, os.environ)
    log = get_logger("lattice")
    if cache.is_filled and not cache.is_writable:
        log.info("kernels are a copy of those that were kept", directory=str(cache.directory))
    elif cache.is_writable:
        log.info("kernels are kept", directory=str(cache.directory))
    else:
        log.warning("kernels are not kept: the cache directory cannot be written")

    with uncollected():
        from services.lattice.app import run
    spare_collector()

    await run(settings)


if __name__ == "__main__":
    run_process(Settings, os.environ, main)
