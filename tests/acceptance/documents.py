"""Processes act on one document of examples/documents against each other: the rules hold.

    python -m tests.acceptance.documents

Each process gives every command that the others give as well, in an order of its own: one of
them may upload, each author gives feedback once, a policy takes so many findings, versions of
policies only grow. Some commands are given twice with the same id, as by a caller that got no
answer. Afterwards the events are counted, by code that shares nothing with the example: they
are what the rules allow, each command that was told as carried out is in the log once and no
other, and every conflict was told with both revisions.
"""

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from examples.documents.document import Document, NotAllowed
from examples.documents.values import (
    Analysis,
    Conversion,
    FeedbackItem,
    Finding,
    Original,
    Policy,
    Severity,
)
from girih.client import (
    Client,
    NewEvent,
    Placement,
    RecordedEvent,
    Repository,
    RevisionConflict,
    uuid7,
)
from tests.processes import ROOT, Caller, authority_of, ending, events_process, own_postgres

DOCUMENT = "1"
AUTHORS, FORMATS, VERSIONS, FINDINGS = 12, 6, 5, 8
"""Commands that each process gives; findings are its own, all others the same for all."""
FINDING_COUNT_MAX = 20
_DIGEST = "0" * 64
_TWICE = 0.3

Command = tuple[str, Callable[[Document], object]]


@dataclass
class Outcome:
    """What one process saw."""

    done: list[str]
    """The ids of the commands that it was told as carried out."""
    refused: int = 0
    decisions: int = 0
    """How often commands were decided, those of lost races included."""
    conflicts: list[tuple[int, int]] | None = None
    """The expected and the actual revision of each conflict that was told."""


class Unprotected(Client):
    """Appends whatever the stream is at."""

    def append(self, events: Sequence[NewEvent], *_: object, **options: Any) -> list[Placement]:
        return super().append(events, timeout=options["timeout"])


def work(number: int, *, is_protected: bool) -> Outcome:
    """Give all commands as process `number`, until each was carried out or refused."""
    chance = random.Random(number)
    commands = _commands(number)
    prepared, others = commands[:3], commands[3:]
    chance.shuffle(others)
    outcome = Outcome(done=[], conflicts=[])
    kind = Client if is_protected else Unprotected
    with kind(token=os.environ["DOCUMENTS_TOKEN"]) as girih:
        documents = Repository(girih, Document)
        for name, decide in (*prepared, *others):
            command_id = f"{name} by {number} {uuid7()}"
            times = 2 if chance.random() < _TWICE else 1
            if all(_given(documents, command_id, decide, outcome) for _ in range(times)):
                outcome.done.append(command_id)
    return outcome


def _given(
    documents: Repository[Document],
    command_id: str,
    decide: Callable[[Document], object],
    outcome: Outcome,
) -> bool:
    """Whether it was carried out, however many conflicts were told before."""

    def counted(document: Document) -> None:
        outcome.decisions += 1
        decide(document)

    while True:
        try:
            documents.execute(DOCUMENT, counted, command_id=command_id)
        except RevisionConflict as error:
            assert outcome.conflicts is not None
            outcome.conflicts.append((error.expected_revision, error.actual_revision))
        except NotAllowed:
            outcome.refused += 1
            return False
        else:
            return True


def _commands(number: int) -> list[Command]:
    original = Original("towers.pdf", "application/pdf", 24, _DIGEST, f"process{number}")
    markdown = Conversion("markdown", 1, _DIGEST)
    return [
        ("upload", lambda one: one.upload(original)),
        ("convert", lambda one: one.convert(markdown)),
        ("analyse", lambda one: one.analyse(Analysis("reader", 1, 0))),
        *(_conversion(n) for n in range(FORMATS)),
        *(_feedback(n) for n in range(AUTHORS)),
        *(_policy(n) for n in range(1, VERSIONS + 1)),
        *(_finding(f"{number}-{n}") for n in range(FINDINGS)),
    ]


def _conversion(n: int) -> Command:
    conversion = Conversion(f"format{n}", 1, _DIGEST)
    return "convert", lambda one: one.convert(conversion)


def _feedback(n: int) -> Command:
    item = FeedbackItem(f"author{n}", 4)
    return "feedback", lambda one: one.give_feedback(item)


def _policy(version: int) -> Command:
    policy = Policy("lighting", version, "What must be lit", FINDING_COUNT_MAX)
    return "policy", lambda one: one.assign_policy(policy)


def _finding(finding_id: str) -> Command:
    """Not refused while the policy is not there: it is assigned in its first version, first."""
    finding = Finding(finding_id, "lighting", Severity.BREACH, "It is dark.", 1)

    def decide(document: Document) -> None:
        if document.state.policy("lighting") is None:
            document.assign_policy(Policy("lighting", 1, "What must be lit", FINDING_COUNT_MAX))
        document.record_finding(finding)

    return "finding", decide


def run(process_count: int, environ: Mapping[str, str], *, is_protected: bool) -> list[Outcome]:
    """So many processes, which begin together."""
    protection = [] if is_protected else ["--unprotected"]
    command = [sys.executable, "-m", "tests.acceptance.documents", *protection, "--process"]
    with contextlib.ExitStack() as stack:
        children = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, str(number)],
                    cwd=ROOT,
                    env={**os.environ, **environ},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for number in range(process_count)
        ]
        for child in children:
            assert child.stdout is not None
            assert child.stdout.readline() == "ready\n", "a process did not start"
        answers = []
        for child in children:
            assert child.stdin is not None
            child.stdin.write("go\n")
            child.stdin.flush()
        for child in children:
            answer, _ = child.communicate(timeout=600)
            assert child.returncode == 0, "a process failed"
            answers.append(Outcome(**json.loads(answer)))
    return answers


def problems(events: Sequence[RecordedEvent], outcomes: Sequence[Outcome]) -> list[str]:
    """What is not as the rules and the outcomes say."""
    counts = Counter(event.type for event in events)
    findings = len(outcomes) * FINDINGS
    wanted = {
        "document-uploaded": 1,
        "document-converted": 1 + FORMATS,
        "document-analysed": 1,
        "feedback-given": AUTHORS,
        "finding-recorded": min(findings, FINDING_COUNT_MAX),
    }
    answer = [
        f"{counts[name]} of {name}, not {count}"
        for name, count in wanted.items()
        if counts[name] != count
    ]
    answer += _repeated(events)
    versions = [event.data["policy"]["version"] for event in events if "policy" in event.data]
    if versions != sorted(set(versions)) or versions[-1:] != [VERSIONS]:
        answer.append(f"policies were assigned in versions {versions}")
    confirmed = Counter(one for outcome in outcomes for one in outcome.done)
    stored = Counter(
        tag.removeprefix("command:")
        for event in events
        for tag in event.tags
        if tag.startswith("command:")
    )
    if confirmed != stored:
        answer.append(
            f"commands told and stored differ: {(confirmed - stored) + (stored - confirmed)}"
        )
    answer += [
        f"a conflict told {expected} and {actual}"
        for outcome in outcomes
        for expected, actual in outcome.conflicts or ()
        if not -1 <= expected < actual <= len(events) - 1
    ]
    return answer


def _repeated(events: Sequence[RecordedEvent]) -> Iterator[str]:
    """Of what is there once: formats, authors, findings."""
    keys = Counter(
        (name, event.data[name][key])
        for event in events
        for name, key in (("conversion", "format"), ("item", "author"), ("finding", "id"))
        if name in event.data
    )
    yield from (f"{name} {key} happened {n} times" for (name, key), n in keys.items() if n > 1)


def main(process_count: int, *, is_protected: bool) -> int:
    with own_postgres() as (postgres, folder):
        process, address = events_process(postgres.url, folder, **authority_of(folder).environ)
        with ending(process):
            process.start()
            process.wait_ready()
            token = Caller(authority_of(folder)).token
            environ = {"GIRIH_EVENTS_ADDRESS": address, "DOCUMENTS_TOKEN": token}
            outcomes = run(process_count, environ, is_protected=is_protected)
            with Client(events=address, token=token) as girih:
                events = list(girih.read(f"document-{DOCUMENT}"))
    code = report(events, outcomes)
    if is_protected:
        return code
    print("it fails without protection, as it must" if code else "it must fail and does not")
    return 0 if code else 1


def report(events: Sequence[RecordedEvent], outcomes: Sequence[Outcome]) -> int:
    """Print what happened; the exit code."""
    wrong = problems(events, outcomes)
    conflicts = sum(len(outcome.conflicts or ()) for outcome in outcomes)
    given = sum(len(outcome.done) + outcome.refused for outcome in outcomes)
    decided = sum(outcome.decisions for outcome in outcomes)
    print(
        f"{len(outcomes)} processes, {given} commands, {decided} decisions,"
        f" {len(events)} events, {conflicts} conflicts told with both revisions"
    )
    for problem in wrong:
        print("WRONG", problem)
    if decided <= given:
        wrong.append("nobody lost a race")
        print("PROVES NOTHING: nobody lost a race")
    return 1 if wrong else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--unprotected", action="store_true", help="expect no revision")
    parser.add_argument("--process", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.process is None:
        sys.exit(main(arguments.processes, is_protected=not arguments.unprotected))
    print("ready", flush=True)
    sys.stdin.readline()
    protected = not arguments.unprotected
    print(json.dumps(asdict(work(arguments.process, is_protected=protected))))
