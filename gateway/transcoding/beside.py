"""What a process beside the gateway does: makes messages of large bodies, and nothing else."""

import functools
import gc
import multiprocessing
import os
import signal
import threading

from gateway.contract.descriptors import Contract
from gateway.contract.rules import Rule, rules_of
from gateway.transcoding.codec import Decoder
from gateway.transcoding.requests import RequestBuilder
from gateway.transcoding.validation import ValidationError, Violation

RuleKey = tuple[str, int]
"""The full name of a method, and which of its http rules it is."""

_NICER = 10
"""What others wait for comes before a large body."""

_contract = b""


def key_of(rule: Rule) -> RuleKey:
    """What another process knows a rule by."""
    return rule.method.full_name, rule.binding_index


def start(contract: bytes) -> None:
    """Be ready for the rules of this descriptor set; end with the process that asks."""
    global _contract  # noqa: PLW0603 - a process is started with it, once
    _contract = contract
    # A terminal tells all of its processes to stop: when this one ends says the gateway.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(_NICER)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Values of JSON hold one another in no circle, and there may be millions of them.
    gc.freeze()
    gc.disable()


def build(
    key: RuleKey, captured: tuple[str, ...], query: bytes, body: bytes
) -> bytes | list[Violation]:
    """The serialized request, or what is wrong with it."""
    try:
        return _builders()[key].build(captured, query, body).SerializeToString()
    except ValidationError as error:
        return error.violations
    finally:
        gc.collect()


@functools.cache
def _builders() -> dict[RuleKey, RequestBuilder]:
    contract, decoder = Contract.from_descriptor_set(_contract), Decoder()
    return {key_of(rule): RequestBuilder(rule, decoder) for rule in rules_of(contract)}


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
