"""One document from its upload to its withdrawal, in the girih that is logged in to.

    python -m examples.documents

Prints what happens. Each run has documents of its own, so it may be repeated.
"""

from hashlib import sha256

from examples.documents.document import Document, NotAllowed
from examples.documents.elements import Element, Kind, Location
from examples.documents.extraction import Extraction
from examples.documents.values import (
    Analysis,
    Conversion,
    FeedbackItem,
    Finding,
    Original,
    Policy,
    Severity,
)
from girih.client import Client, Repository, uuid7

DIGEST = sha256(b"Every tower must be lit.").hexdigest()
LIGHTING = Policy("lighting", 1, "What towers must be lit with", finding_count_max=1)


def main() -> None:
    document_id = str(uuid7())
    with Client() as girih:
        documents = Repository(girih, Document)
        extractions = Repository(girih, Extraction)

        tower = Element(
            id="tower", kind=Kind.DEFINITION, term="tower", definition="what is higher than 12 m"
        )
        lux = Element(
            id="lux",
            kind=Kind.FORMULA,
            expression="E = I / d^2",
            variables=("E", "I", "d"),
            location=Location(page=3, section="2.1"),
        )
        extractions.execute(document_id, lambda one: one.extract(tower, lux))
        print("extracted 2 elements of a document that is not there yet")

        documents.execute(document_id, _prepare)
        document = documents.execute(document_id, _review)
        print(f"analysed by {document.state.analysis}, {document.revision + 1} events")

        again = Finding("f-2", "lighting", Severity.BREACH, "The gate is dark.", page=4)
        try:
            documents.execute(document_id, lambda one: one.record_finding(again))
        except NotAllowed as error:
            print(f"not allowed: {error}")

        command_id = str(uuid7())
        for _ in range(2):  # as a caller does who got no answer
            document = documents.execute(
                document_id,
                lambda one: one.withdraw("Ada", "There is a newer one."),
                command_id=command_id,
            )
        print(f"withdrawn by {document.state.withdrawn_by} at revision {document.revision}")


def _prepare(document: Document) -> None:
    document.upload(Original("towers.pdf", "application/pdf", 24, DIGEST, "Ada"))
    document.convert(Conversion("markdown", 4, DIGEST))
    document.analyse(Analysis("reader", 1, element_count=2))


def _review(document: Document) -> None:
    document.give_feedback(FeedbackItem("Omar", 4, "It missed the gate."))
    document.assign_policy(LIGHTING)
    document.record_finding(Finding("f-1", "lighting", Severity.BREACH, "Tower 3 is dark.", page=2))


if __name__ == "__main__":
    main()
