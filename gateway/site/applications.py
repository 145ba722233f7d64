"""The console, and the scripts that it shares with the documentation: files below a prefix."""

from importlib.resources import files

from starlette.routing import Mount

from gateway.site.assets import STRICT_POLICY, file_routes, fixed_file

_PAGE = "console.html"


def console_mount() -> Mount:
    """`/console/`: one page, whose scripts draw what its address asks for."""
    folder = files(__package__).joinpath("console")
    page = fixed_file("/", folder.joinpath(_PAGE).read_bytes(), "text/html", STRICT_POLICY)
    return Mount("/console", routes=[page, *file_routes("", folder, STRICT_POLICY)])


def shared_mount() -> Mount:
    """`/shared/`: what the pages of both have in common."""
    folder = files(__package__).joinpath("shared")
    return Mount("/shared", routes=[*file_routes("", folder, STRICT_POLICY)])
