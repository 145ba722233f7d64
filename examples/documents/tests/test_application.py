"""The application against an event store in memory, as the tests of your own may be."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples.documents.document import Document, NotAllowed
from examples.documents.elements import Element, Kind
from examples.documents.extraction import Extraction
from examples.documents.tests.test_rules import MARKDOWN, ORIGINAL, STRICT, finding
from examples.documents.values import Analysis, FeedbackItem
from girih.client import Client, Query, Repository, RevisionConflict
from girih.testing import MemoryServer


@pytest.fixture(scope="module")
def server() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


@pytest.fixture
def girih(server: MemoryServer) -> Iterator[Client]:
    """A log of the test's own."""
    with server.client(f"test-{secrets.token_hex(8)}") as client:
        yield client


def prepare(document: Document) -> None:
    document.upload(ORIGINAL)
    document.convert(MARKDOWN)
    document.analyse(Analysis("reader", 1, 0))
    document.assign_policy(STRICT)


def given(documents: Repository[Document], decide: Callable[[Document], object]) -> bool:
    """Whether a command was carried out, however many races it lost."""
    while True:
        try:
            documents.execute("1", decide)
        except RevisionConflict:
            continue
        except NotAllowed:
            return False
        else:
            return True


def feedback(author: str) -> Callable[[Document], object]:
    return lambda document: document.give_feedback(FeedbackItem(author, 4))


def recording(finding_id: str) -> Callable[[Document], object]:
    return lambda document: document.record_finding(finding(finding_id))


def test_what_was_decided_is_there_when_the_document_is_loaded(girih: Client) -> None:
    documents = Repository(girih, Document)
    decided = documents.execute("1", prepare)

    loaded = documents.load("1")

    assert (loaded.state, loaded.revision) == (decided.state, 3)
    tagged = girih.read(filter=Query(tags=["policy:strict"]))
    assert [event.type for event in tagged] == ["policy-assigned"]


def test_rules_hold_however_many_act_on_one_document(girih: Client) -> None:
    documents = Repository(girih, Document)
    documents.execute("1", prepare)
    commands = [feedback(f"a{n % 3}") for n in range(9)]
    commands += [recording(f"f{n}") for n in range(9)]

    with ThreadPoolExecutor(6) as threads:
        done = list(threads.map(lambda decide: given(documents, decide), commands))

    state = documents.load("1").state
    assert sorted(item.author for item in state.feedback) == ["a0", "a1", "a2"]
    assert len(state.findings) == STRICT.finding_count_max
    assert sum(done) == 3 + STRICT.finding_count_max


def test_a_long_life_is_loaded_from_a_snapshot(girih: Client) -> None:
    documents = Repository(girih, Document)
    documents.execute("1", prepare)
    for n in range(60):
        documents.execute("1", feedback(f"a{n}"))

    kept = girih.load("document-1", schema_version=Document.fold.version)

    assert kept.snapshot is not None
    assert kept.snapshot.revision + 1 >= Document.snapshot_every
    assert len(documents.load("1").state.feedback) == 60


def test_a_command_is_carried_out_once_also_behind_a_snapshot(girih: Client) -> None:
    documents = Repository(girih, Document)
    documents.execute("1", prepare, command_id="prepare-1")
    for n in range(60):
        documents.execute("1", feedback(f"a{n}"))

    again = documents.execute("1", prepare, command_id="prepare-1")

    assert again.revision == 63


def test_elements_are_extracted_before_their_document_is_there(girih: Client) -> None:
    extractions = Repository(girih, Extraction)
    elements = [Element(id=f"e{n}", kind=Kind.REFERENCE, target="page 1") for n in range(3)]

    extractions.execute("1", lambda one: one.extract(*elements[:2]))
    extractions.execute("1", lambda one: one.extract(*elements))
    Repository(girih, Document).execute("1", prepare)

    assert len(extractions.load("1").state.element_ids) == 3
    assert girih.head_revision("extraction-1") == 2
