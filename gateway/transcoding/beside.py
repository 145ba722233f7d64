"""What a process beside the gateway does: makes messages of large bodies, and nothing else."""

import gc
import os
from typing import Final

from gateway.contract.descriptors import Contract
from gateway.contract.rules import Rule, rules_of
from gateway.transcoding.codec import Decoder
from gateway.transcoding.requests import RequestBuilder
from gateway.transcoding.validation import ValidationError, Violation
from services.plumbing.beside.work import Work, serve

RuleKey = tuple[str, int]
"""The full name of a method, and which of its http rules it is."""

_THREAD_COUNT: Final = 1
"""The parser keeps the interpreter: two bodies would take as long as one after the other."""
_NICER_BY: Final = 10
"""What others wait for comes before a large body."""


def key_of(rule: Rule) -> RuleKey:
    """What another process knows a rule by."""
    return rule.method.full_name, rule.binding_index


class Builders:
    """Makes messages by the rules of a contract."""

    def __init__(self, contract: Contract) -> None:
        decoder = Decoder()
        self._builders = {
            key_of(rule): RequestBuilder(rule, decoder) for rule in rules_of(contract)
        }

    def build(
        self, key: RuleKey, captured: tuple[str, ...], query: bytes, body: bytes
    ) -> bytes | list[Violation]:
        """The serialized request, or what is wrong with it."""
        try:
            return self._builders[key].build(captured, query, body).SerializeToString()
        except ValidationError as error:
            return error.violations
        finally:
            gc.collect()


def start(contract: bytes) -> tuple[Work, int]:
    """To be served: the rules of a descriptor set."""
    os.nice(_NICER_BY)
    builders = Builders(Contract.from_descriptor_set(contract))
    # Values of JSON hold one another in no circle, and there may be millions of them.
    gc.freeze()
    gc.disable()
    return builders.build, _THREAD_COUNT


if __name__ == "__main__":
    serve(start)
