"""`girih doctor`: looks at everything from outside, and says what is wrong and how to mend it.

Changes nothing and starts nothing. Every look is short and fails alone.
"""

import asyncio
import os
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.text import Text

from cli.client.credentials import CredentialsFile, default_path
from cli.commands import versions
from cli.failure import Failed
from cli.local import health, places, ports, rotation, state
from cli.local.addresses import DEFAULTS, remembered
from cli.local.keyfiles import VARIABLES, KeyFiles
from cli.local.migrating import PACKAGE, SCHEMA
from cli.local.postgres import PostgresError, find_binaries
from cli.terminal import output, table
from cli.terminal.formats import Format
from girih.servers import DATA_DIR, Server, is_up, reachable, url_of_gateway
from services.plumbing import logging
from services.plumbing.errors import ServiceError
from services.plumbing.postgres import database
from services.plumbing.postgres.migrations import newest_revision
from services.plumbing.settings import (
    PoolSettings,
    ProcessSettings,
    WrongSettings,
    named_urls,
    secret_of,
    variable_name,
)

# By name: the command knows the processes as programs, and imports none of them.
PROCESSES = {
    "events": "services.events",
    "lattice": "services.lattice",
    "projections": "services.projections",
    "gateway": "gateway",
}

# What `girih up` runs as, unless it is told otherwise.
_DEFAULTS = {"GIRIH_ENVIRONMENT": "development", **DEFAULTS}

_DISK_BYTES_MIN = 2**30
_CLOCK_OFFSET_MAX_S = 1.0
_ROUND_TRIP_SLOW_S = 0.1
_TIMEOUT_S = 3.0
_HANGS_S = 10.0
"""Without an answer for so long a process hangs. Before that it is slow, as on a busy machine."""

Grade = Literal["well", "note", "wrong"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend` says what to do, when something is to be done."""

    part: str
    grade: Grade
    message: str
    mend: str = ""


@dataclass(frozen=True)
class Surroundings:
    """What is looked at: the environment as the running girih, if any, completed it."""

    data_dir: Path
    environ: Mapping[str, str]
    running: state.State | None
    last: state.State | None = None
    """What the last `girih up` left behind, which has ended without a word."""
    has_addresses: bool = False
    """The environment says where every process listens: they may run without `girih up`."""
    shell: Mapping[str, str] = field(default_factory=dict)
    """The environment as it is here."""

    @property
    def is_looked_at(self) -> bool:
        """Whether there are processes of ours, and not whoever listens where they would."""
        return self.running is not None or self.has_addresses

    @property
    def is_elsewhere(self) -> bool:
        """The data directory is not that of this folder, but one that somebody named."""
        return self.data_dir != Path.cwd() / DATA_DIR

    @classmethod
    def of(cls, data_dir: Path, environ: Mapping[str, str]) -> "Surroundings":
        recorded = state.read(data_dir)
        running = recorded if recorded is not None and is_up(data_dir) else None
        of_running = running.environ if running else {}
        made = KeyFiles.of(data_dir, environ).existing
        # What runs now was started so; the environment of this shell came after it.
        variables = {**_DEFAULTS, **remembered(data_dir), **made, **environ, **of_running}
        return cls(
            data_dir,
            variables,
            running,
            last=recorded,
            has_addresses=all(environ.get(f"{name.upper()}_ADDRESS") for name in PROCESSES),
            shell=environ,
        )

    def source(self, variable: str) -> str:
        if self.running and variable in self.running.environ:
            return "girih up"
        return "environment" if variable in self.shell else str(self.data_dir.name)


def run(data_dir: Path, environ: Mapping[str, str], output_format: Format) -> int:
    """Look, tell on stdout, and give the exit code: 1 when something is wrong."""
    settings = ProcessSettings.from_environ(
        {"GIRIH_LOG_LEVEL": "error", "GIRIH_LOG_FORMAT": "console"}
    )
    logging.configure(settings, descriptor=sys.stderr.fileno())
    around = Surroundings.of(data_dir, environ)
    findings = list(examine(around))
    sentence, next_step = _conclusion(findings, around)
    is_well = all(finding.grade != "wrong" for finding in findings)
    if output_format.is_for_people:
        _show(findings)
        print(f"\n{sentence}\nNext: {next_step}")
    else:
        document = {"well": is_well, "findings": [asdict(one) for one in findings]}
        output.document({**document, "next": next_step}, output_format)
    return 0 if is_well else 1


def examine(around: Surroundings) -> Iterator[Finding]:
    """Everything there is to say, in the order in which one would ask."""
    yield from _versions()
    yield _running(around)
    yield from _address(around)
    yield from _keys(around)
    yield from _transport(around)
    for process, package in PROCESSES.items():
        yield from _settings(around, process, package)
    yield from _embedded(around)
    yield _disk(around.data_dir)
    yield from _database(around)
    yield from _processes(around)
    yield _login(around)


def _versions() -> Iterator[Finding]:
    installed = versions.installed()
    message = ", ".join(f"{name} {installed[name]}" for name in ("girih", "grpcio", "protobuf"))
    yield Finding("versions", "well", f"Python {platform.python_version()}, {message}")
    yield _contract()


def _contract() -> Finding:
    try:
        for service in ("accounts", "events", "lattice", "ops", "projections"):
            import_module(f"girih.{service}.v1.{service}_pb2_grpc")
    except Exception as error:  # noqa: BLE001 - whatever keeps the stubs from being made
        mend = "install girih again; in a checkout, `make generate`"
        return Finding("contract", "wrong", f"no stubs: {error}", mend)
    return Finding("contract", "well", "the stubs are there, and fit gRPC and protobuf")


def _running(around: Surroundings) -> Finding:
    if around.running is None:
        return _not_running(around)
    children = around.running.children
    dead = [child.name for child in children if not child.is_running()]
    names = ", ".join(f"{child.name} {child.pid}" for child in children)
    message = f"process {around.running.supervisor.pid} keeps {names}"
    if dead:
        message = f"{message}; not running: {', '.join(dead)}"
        return Finding("girih up", "wrong", message, f"girih logs {dead[0]}")
    return Finding("girih up", "well", message)


def _not_running(around: Surroundings) -> Finding:
    # Who runs the processes by other means has no data directory, unless one was named.
    grade: Grade = "note" if around.has_addresses else "wrong"
    if not around.data_dir.is_dir():
        grade = "wrong" if around.is_elsewhere else grade
        message = f"has never run here: there is no {around.data_dir}"
    elif around.last is not None:
        message = f"was killed on {around.data_dir}"
    else:
        message = f"does not run on {around.data_dir}"
    return Finding("girih up", grade, message, "start it with `girih up`")


def _address(around: Surroundings) -> Iterator[Finding]:
    """Whether commands of this shell call the girih that runs here."""
    address = around.shell.get("GATEWAY_ADDRESS")
    if around.running is None or not address:
        return
    called = url_of_gateway({**around.environ, "GATEWAY_ADDRESS": address})
    served = url_of_gateway(around.environ)
    if called != served:
        message = f"GATEWAY_ADDRESS lets commands call {called}, and {served} is what runs here"
        yield Finding("address", "wrong", message, "unset GATEWAY_ADDRESS")


def _keys(around: Surroundings) -> Iterator[Finding]:
    """The keys that tokens are signed with, and the store of those that are trusted."""
    files = KeyFiles.of(around.data_dir, around.environ)
    if missing := files.missing():
        grade: Grade = "note" if around.running is None else "wrong"
        message = f"{', '.join(missing)} not set, and nothing in {files.directory}"
        mend = "`girih up` makes them in development, `girih signing-keys create` elsewhere"
        yield Finding("keys", grade, message, mend)
        return
    try:
        keys = rotation.held(files)
        opened = [path for path in files.paths.values() if _is_open(path) and path != files.trusted]
    except (Failed, OSError) as error:
        yield Finding("keys", "wrong", str(error), "correct the file, or name another")
        return
    yield from _judge_keys(files, keys)
    if opened:
        message = f"others than their owner can read {', '.join(map(str, opened))}"
        yield Finding("keys", "wrong", message, f"chmod 600 {' '.join(map(str, opened))}")


def _judge_keys(files: KeyFiles, keys: list[rotation.Held]) -> Iterator[Finding]:
    signing = {key.issuer: key for key in keys if key.signs}
    for issuer in files.private:
        if issuer not in signing or signing[issuer].state == "retired":
            message = f"nobody trusts the key that {issuer} signs with"
            yield Finding("keys", "wrong", message, f"add its public half to {files.trusted}")
    for key in keys:
        if key.signs and key.state == "retiring":
            message = f"{key.kid} of {key.issuer} signs, and retires all the same"
            yield Finding("keys", "wrong", message, "`girih signing-keys rotate`")
        elif key.state == "trusted, does not sign":
            message = f"{key.kid} of {key.issuer} is trusted for ever, and signs nothing here"
            yield Finding("keys", "note", message, f"`girih signing-keys retire {key.kid}`")
    if signing.keys() == files.private.keys():
        message = f"{len(keys)} trusted, one signs for each of {', '.join(sorted(signing))}"
        yield Finding("keys", "well", message)


def _is_open(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o077)


def _transport(around: Surroundings) -> Iterator[Finding]:
    """Who could read the calls on their way."""
    transport = around.environ.get("GIRIH_TRANSPORT") or "plain"
    edge = around.environ.get("GATEWAY_HTTP_TRANSPORT") or "plain"
    addresses = [around.environ[f"{name.upper()}_ADDRESS"] for name in PROCESSES]
    outside = [one for one in addresses if not ports.is_loopback(one)]
    message = f"gRPC is {transport}, HTTP is {edge}"
    if outside and "plain" in (transport, edge):
        mend = "set GIRIH_TRANSPORT and GATEWAY_HTTP_TRANSPORT, or listen on the loopback"
        yield Finding("transport", "wrong", f"{message}; {', '.join(outside)} is for others", mend)
    else:
        yield Finding(
            "transport",
            "well",
            f"{message}; every address is the loopback's" if not outside else message,
        )


def _settings(around: Surroundings, process: str, package: str) -> Iterator[Finding]:
    part = f"settings of {process}"
    try:
        cls: type[ProcessSettings] = import_module(f"{package}.settings").Settings
        settings = cls.from_environ(around.environ)
    except WrongSettings as wrong:
        for problem in wrong.problems:
            yield _wrong_setting(around, part, problem)
    except ImportError as error:
        yield Finding(part, "wrong", f"cannot be read: {error}", "install girih anew: `make up`")
    else:
        yield Finding(part, "well", _settings_summary(around, settings))
        for warning in settings.warnings():
            yield Finding(part, "note", warning)


_BROUGHT = {"DATABASE_URL": "a PostgreSQL", **dict.fromkeys(VARIABLES, "keys of its own")}


def _wrong_setting(around: Surroundings, part: str, problem: str) -> Finding:
    variable = problem.removesuffix(": is required")
    if around.running is None and variable in _BROUGHT:
        return Finding(
            part, "note", f"{variable} is not set; `girih up` brings {_BROUGHT[variable]}"
        )
    return Finding(part, "wrong", problem, "set it in the environment, see the table in docs/")


def _settings_summary(around: Surroundings, settings: ProcessSettings) -> str:
    """What is set, from where, and how many are left at their defaults. No secrets."""
    cls = type(settings)
    settings_set = []
    for name in sorted(cls.model_fields):
        variable = variable_name(cls, name)
        if variable in around.environ and around.environ.get(variable) != _DEFAULTS.get(variable):
            settings_set.append(f"{variable}={getattr(settings, name)} ({around.source(variable)})")
    rest = len(cls.model_fields) - len(settings_set)
    return "; ".join([*settings_set, f"{rest} by default"])


def _embedded(around: Surroundings) -> Iterator[Finding]:
    """The PostgreSQL that would be, or is, run on the data directory."""
    if around.environ.get("DATABASE_URL") and around.running is None:
        return
    data = around.data_dir / "postgres" / "PG_VERSION"
    major = int(data.read_text()) if data.exists() else None
    try:
        binaries = find_binaries(around.environ, major)
    except PostgresError as error:
        yield Finding("embedded PostgreSQL", "wrong", str(error), "install it, or set DATABASE_URL")
    else:
        state_of_data = "data is there" if major else "no data yet"
        yield Finding(
            "embedded PostgreSQL",
            "well",
            f"{binaries.major}, {binaries.directory}; {state_of_data}",
        )


def _disk(data_dir: Path) -> Finding:
    existing = next(path for path in (data_dir, *data_dir.parents) if path.exists())
    if not (existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)):
        message = f"{existing} is no folder that can be written"
        return Finding("disk", "wrong", message, "choose another folder with --data")
    free = shutil.disk_usage(existing).free
    message = f"{free / 2**30:,.1f} GiB free where {data_dir} is"
    if free < _DISK_BYTES_MIN:
        return Finding("disk", "wrong", message, "make room: a full disk stops PostgreSQL")
    return Finding("disk", "well", message)


def _database(around: Surroundings) -> Iterator[Finding]:
    if not around.environ.get("DATABASE_URL"):
        yield Finding("database", "note", "not looked at: nothing runs and DATABASE_URL is not set")
        return
    seen: dict[str, places.SeenPlace] = {}
    yield from _look_at(around, (places.DEFAULT, around.environ["DATABASE_URL"]), seen)
    try:
        others = dict(named_urls(secret_of(around.environ, "EVENTS_PLACES") or ""))
    except ValueError as error:
        yield Finding("places", "wrong", f"{error}", "correct EVENTS_PLACES_FILE")
        return
    for other in others.items():
        for finding in _look_at(around, other, seen):
            yield replace(finding, part=f"{finding.part} of {other[0]}")
    yield from _places(around, [places.DEFAULT, *others], seen)


def _places(
    around: Surroundings, named: list[str], seen: Mapping[str, places.SeenPlace]
) -> Iterator[Finding]:
    """Whether all processes, and the logs, mean the same databases by the names of places."""
    processes, unasked = _asked_for_places(around) if around.is_looked_at else ([], "")
    problems = list(places.problems(named, seen, processes))
    for message, mend in problems:
        yield Finding("places", "wrong", message, mend)
    is_one = named == [places.DEFAULT]
    if unasked and not is_one:
        yield Finding("places", "note", f"which ones events has is not known: {unasked}")
    if not problems and not is_one:
        asked = f"; so say {', '.join(one.address for one in processes)}" if processes else ""
        yield Finding("places", "well", f"logs are in {', '.join(named)}{asked}")


def _asked_for_places(around: Surroundings) -> tuple[list[places.Replica], str]:
    """What each process of events says of its places, and why one was not asked."""
    from cli.client.places import PlacedLogs
    from cli.commands.keeping.archives import operator_token

    replicas, unasked = [], ""
    token_of = partial(operator_token, around.data_dir, environ=around.environ)
    address = reachable(around.environ["EVENTS_ADDRESS"])
    try:
        for one in places.replicas(address):
            if not ports.listens(one, _TIMEOUT_S):
                continue  # told of as a process that does not answer
            asked = PlacedLogs(one, token_of, around.environ, name=ports.split(address)[0])
            replicas.append(places.Replica(one, asked.databases()))
    except Failed as error:
        unasked = str(error)
    return replicas, unasked


def _look_at(
    around: Surroundings, place: tuple[str, str], seen: dict[str, places.SeenPlace]
) -> Iterator[Finding]:
    """How the database of a place is; what it says of logs goes into `seen`."""
    name, url = place
    variable = "DATABASE_URL" if name == places.DEFAULT else "EVENTS_PLACES"
    try:
        look = PoolSettings.from_environ({"DATABASE_URL": url, **_IMPATIENT})
        row = asyncio.run(_ask_database(look))
        is_production = around.environ["GIRIH_ENVIRONMENT"] == "production"
    except WrongSettings as wrong:
        yield Finding("database", "wrong", "; ".join(wrong.problems), f"correct {variable}")
    except (ServiceError, TimeoutError) as error:
        yield Finding("database", "wrong", f"{error}", f"start it, or correct {variable}")
    else:
        yield from _judge_database(row)
        if row.get("placements"):
            seen[name] = places.SeenPlace(*row["placements"])
        if "gaps" in row:
            yield from _judge_isolation(row["gaps"], is_production=is_production)


_IMPATIENT = {
    "POOL_ACQUIRE_TIMEOUT_S": f"{_TIMEOUT_S}",
    "DATABASE_CONNECT_TIMEOUT_S": f"{_TIMEOUT_S}",
}

_SERVER = """
SELECT current_setting('server_version') AS version,
       current_setting('fsync') AS fsync,
       current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       extract(epoch FROM clock_timestamp())::float8 AS clock_s,
       to_regclass($1) IS NOT NULL AS is_migrated
"""

_REVISIONS = f"{SCHEMA}.schema_revision"
_REVISION = f"SELECT max(version_num) FROM {_REVISIONS}"  # noqa: S608 - our own words


async def _ask_database(look: PoolSettings) -> dict[str, Any]:
    revision = None
    async with (
        asyncio.timeout(2 * _TIMEOUT_S),
        database.open_pool(look, "girih-doctor") as pool,
        database.acquire(pool, _TIMEOUT_S) as connection,
    ):
        before_s, began = time.time(), time.perf_counter()
        row = dict(await connection.fetchrow(_SERVER, _REVISIONS) or {})
        round_trip_s = time.perf_counter() - began
        if row["is_migrated"]:
            revision = await connection.fetchval(_REVISION)
            row["gaps"] = await import_module(
                "services.events.postgres.isolation"
            ).find_isolation_findings(connection, _newest_revision())
        if revision == _newest_revision():
            # A login that may not list logs is told of above.
            with suppress(ServiceError):
                row["placements"] = await import_module(
                    "services.events.postgres.listing"
                ).placements(connection)
    offset_s = row["clock_s"] - before_s - round_trip_s / 2
    return {**row, "revision": revision, "round_trip_s": round_trip_s, "offset_s": offset_s}


def _judge_database(row: Mapping[str, Any]) -> Iterator[Finding]:
    yield _slow("database", f"PostgreSQL {row['version']} answers", row["round_trip_s"])
    names = ("fsync", "full_page_writes", "synchronous_commit")
    off = [name for name in names if row[name] == "off"]
    message = ", ".join(f"{name} {row[name]}" for name in names)
    mend = "turn them on: what is acknowledged could be lost" if off else ""
    yield Finding("durability", "wrong" if off else "well", message, mend)
    yield _judge_revision(row["revision"])
    offset_ms = row["offset_s"] * 1e3
    is_off = abs(row["offset_s"]) > _CLOCK_OFFSET_MAX_S
    yield Finding(
        "clock",
        "wrong" if is_off else "well",
        f"the database's is {abs(offset_ms):,.0f} ms {'ahead' if offset_ms > 0 else 'behind'}",
        "synchronise the clocks (NTP)" if is_off else "",
    )


def _judge_isolation(findings: Any, *, is_production: bool) -> Iterator[Finding]:  # noqa: ANN401 - events'
    """What isolates tenants from each other in the database."""
    for problem in findings.of_isolation:
        yield Finding("isolation", "wrong", problem, "see docs/operate/operations.md")
    for problem in findings.of_login:
        mend = "log in as another role, see docs/operate/operations.md"
        if is_production:
            yield Finding("isolation", "wrong", problem, mend)
        else:
            yield Finding("isolation", "note", f"{problem}; production refuses it")
    if not findings.of_isolation:
        yield Finding("isolation", "well", "tenants are isolated from each other")


def _newest_revision() -> str:
    return newest_revision(PACKAGE)


def _judge_revision(applied: str | None) -> Finding:
    newest = _newest_revision()
    if applied is None or applied < newest:
        message = f"at {applied or 'none'}, this version wants {newest}"
        return Finding("migrations", "wrong", message, "run `girih migrate`, or start events")
    ahead = "; the database is ahead of this version" if applied > newest else ""
    return Finding("migrations", "well", f"at {applied}{ahead}")


def _processes(around: Surroundings) -> Iterator[Finding]:
    if not around.is_looked_at:
        message = "not looked at: whoever listens where they would is somebody else"
        yield Finding("processes", "note", message)
        return
    environ = around.environ
    for process in ("events", "lattice", "projections"):
        address = environ[f"{process.upper()}_ADDRESS"]
        probe = partial(health.grpc_problem, address, environ)
        yield _probe(process, address, probe, _restart(around, process))
    gateway = url_of_gateway(environ)
    probe = partial(health.http_problem, f"{gateway}/health/ready", timeout_s=_HANGS_S)
    yield _probe("gateway", gateway, probe, _restart(around, "gateway"))
    for process in PROCESSES:
        url = f"http://127.0.0.1:{environ[f'{process.upper()}_METRICS_PORT']}/metrics"
        probe = partial(health.http_problem, url, timeout_s=_HANGS_S)
        yield _probe(f"metrics of {process}", url, probe, _restart(around, process))


def _restart(around: Surroundings, name: str) -> str:
    """What mends a process of ours that runs and does not answer; empty for all others."""
    children = around.running.children if around.running else ()
    hangs = any(child.name == name and child.is_running() for child in children)
    return f"girih restart {name}" if hangs else ""


def _probe(
    part: str, where: str, problem_of: Callable[[], str | None], restart: str = ""
) -> Finding:
    problem_of_first = problem_of()  # the first connects, and is not timed
    if problem_of_first is None:
        began = time.perf_counter()
        problem_of()
        return _slow(part, f"{where} answers well", time.perf_counter() - began)
    message = f"{where} {problem_of_first}"
    if "does not answer" not in problem_of_first:
        return Finding(part, "wrong", message, "read its log; it says which part it misses")
    if restart:
        return Finding(part, "wrong", message, restart)
    port = ports.split(where.rpartition("//")[2].removesuffix("/metrics"))[1]
    holder = ports.holder(port)
    mend = f"port {port} is held by {holder}" if holder else "start it: `girih up`"
    return Finding(part, "wrong", message, mend)


def _slow(part: str, message: str, round_trip_s: float) -> Finding:
    message = f"{message} in {round_trip_s * 1e3:.1f} ms"
    if round_trip_s > _ROUND_TRIP_SLOW_S:
        return Finding(part, "note", message, "slow; is the machine or the network busy?")
    return Finding(part, "well", message)


def _login(around: Surroundings) -> Finding:
    """As whom commands call what runs here."""
    if around.shell.get("GIRIH_API_KEY"):
        return Finding("login", "well", "GIRIH_API_KEY is who calls")
    data_dir = around.data_dir if around.running else None
    server = Server(url=url_of_gateway(around.environ), data_dir=data_dir)
    try:
        profile = server.profile_in(CredentialsFile(default_path(around.shell)).read())
    except Failed as error:
        return Finding("login", "wrong", "sessions cannot be kept", str(error))
    if profile is None:
        return Finding("login", "note", "nobody is logged in")
    return Finding("login", "well", f"profile {profile} is who calls")


_MARKS = {"well": ("ok", "green"), "note": ("note", "yellow"), "wrong": ("WRONG", "bold red")}


def _show(findings: list[Finding]) -> None:
    """On a terminal, words broken where it ends; for programs, a line each between tabs."""
    if sys.stdout.isatty():
        console = Console(highlight=False)
        part_width = max(len(finding.part) for finding in findings)
        for finding in findings:
            console.print(_drawn(finding, part_width), soft_wrap=True)
    else:
        for line in table.separated(_COLUMNS, findings):
            print(line)
    if any(finding.grade == "note" for finding in findings):
        print("\nA note is worth knowing, and nothing to be mended.")


_COLUMNS = (
    table.Column(title="", cell=lambda finding: _MARKS[finding.grade][0]),
    table.Column(title="part", cell=lambda finding: finding.part),
    table.Column(title="finding", cell=lambda finding: finding.message),
    table.Column(title="mend", cell=lambda finding: finding.mend),
)


def _drawn(finding: Finding, part_width: int) -> Text:
    mark, style = _MARKS[finding.grade]
    head = f"{mark:<5}  {finding.part:<{part_width}}  "
    text = Text("\n".join(output.folded(head, table.printable(finding.message))))
    text.stylize(style, 0, len(mark))
    if finding.mend:
        mend = "\n".join(output.folded(" " * len(head), table.printable(finding.mend)))
        text.append(f"\n{mend}", style="italic")
    return text


def _conclusion(findings: list[Finding], around: Surroundings) -> tuple[str, str]:
    """How it is in a sentence, and what to do next."""
    wrong = {finding.part: finding for finding in findings if finding.grade == "wrong"}
    if not wrong:
        url = url_of_gateway(around.environ)
        is_known = any(one.part == "login" and one.grade == "well" for one in findings)
        begin = "girih events list" if is_known else "girih register, or girih login"
        return "All is well.", f"{begin}; {url}/docs shows every call"
    is_off = all(
        part == "girih up" or "does not answer" in finding.message
        for part, finding in wrong.items()
    )
    if is_off and around.running is None:
        elsewhere = f" --data {around.data_dir}" if around.is_elsewhere else ""
        return "Nothing is broken: girih just does not run here.", f"girih up{elsewhere}"
    count = "1 thing is" if len(wrong) == 1 else f"{len(wrong)} things are"
    # What keeps it from starting comes before the start.
    ordered = sorted(wrong.values(), key=lambda one: not around.running and one.part == "girih up")
    mend = next((finding.mend for finding in ordered if finding.mend), "girih logs")
    return f"{count} wrong: {', '.join(wrong)}.", mend
