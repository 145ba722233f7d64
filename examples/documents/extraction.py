"""What extractors saw in a document: a stream of its own, as they do not wait for its upload."""

from dataclasses import dataclass, replace
from typing import Final

from examples.documents.elements import Element
from examples.documents.events import ElementExtracted
from girih.client import Aggregate, Fold


@dataclass(frozen=True, slots=True)
class Extracted:
    """Which elements were seen, by their ids."""

    element_ids: frozenset[str] = frozenset()


fold: Final = Fold(Extracted())


@fold.on("element-extracted", ElementExtracted)
def element_extracted(state: Extracted, event: ElementExtracted) -> Extracted:
    return replace(state, element_ids=state.element_ids | {event.element.id})


class Extraction(Aggregate[Extracted]):
    """The elements of the document of the same id."""

    category = "extraction"
    fold = fold
    snapshot_every = 500

    def extract(self, *elements: Element) -> None:
        """Each element once: what was seen before is passed over, as extractors run again."""
        for element in elements:
            if element.id not in self.state.element_ids:
                self.record(ElementExtracted(self.id, element))
