"""Whether a process would start with an environment, once its secrets and keys are there."""

from collections.abc import Mapping

from gateway.settings import Settings as GatewaySettings
from services.events.settings import Settings as EventsSettings
from services.lattice.settings import Settings as LatticeSettings
from services.plumbing.settings import ProcessSettings
from services.projections.settings import Settings as ProjectionsSettings
from tests.authority import Authority

SETTINGS: Mapping[str, type[ProcessSettings]] = {
    "events": EventsSettings,
    "lattice": LatticeSettings,
    "projections": ProjectionsSettings,
    "gateway": GatewaySettings,
}


SECRETS: Mapping[str, str] = {
    "DATABASE_URL_FILE": "postgresql://girih_service:kN0tted-42@db/girih",
    "EVENTS_PLACES_FILE": "west=postgresql://girih_service:kN0tted-42@db-west/girih",
    "GATEWAY_REDIS_URL_FILE": "redis://redis/0",
}
"""What is in the files that variables name."""


def check_environment(process: str, environ: Mapping[str, str], authority: Authority) -> None:
    """Raises WrongSettings with everything that the process would refuse."""
    given = dict(environ)
    for name, value in authority.environ.items():
        if name in given and name != "LATTICE_STORAGE":
            given[name] = value
    for name in given.keys() & SECRETS.keys():
        file = authority.directory / name
        file.write_text(f"{SECRETS[name]}\n")
        given[name] = str(file)
    if given.get("LATTICE_STORAGE", "").startswith("/"):
        given["LATTICE_STORAGE"] = str(authority.directory / "arrays")
    settings = SETTINGS[process].from_environ(given)
    assert settings.environment == "production"
