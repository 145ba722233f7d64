"""Every rpc and route against every way to call it that must not work.

What is called comes from the contract and from the gateway's table of routes, so that a new
rpc is attacked from the day it is written. `wrong_answers` lists what should not have been
answered; an empty list is the proof.
"""

import json
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection
from typing import Any
from urllib.parse import urlencode, urlsplit

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from gateway.app import read_contract
from gateway.contract.descriptors import Contract, scope_of
from gateway.contract.rules import Rule, rules_of
from services.plumbing.grpc.errors import from_rpc_error
from services.plumbing.identity import PUBLIC

TIMEOUT_S = 20.0
CANARY = "canary-5f1c"
"""Stands in everything that the attacked tenant owns; no answer to anybody else holds it."""

_REFUSED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_NOT_SERVED = "girih.accounts."
"""The package that the gateway serves itself: there is no gRPC port to attack."""

Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Attack:
    """One way to call that must be refused, or must at least give nothing away."""

    name: str
    metadata: Pairs = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    is_somebody: bool = False
    """The caller proves to be somebody who may call, though not this tenant."""

    @classmethod
    def with_token(cls, name: str, token: str, **more: Any) -> "Attack":
        pair = ("authorization", f"Bearer {token}")
        return cls(name, metadata=[pair], headers=dict([pair]), **more)


@dataclass(frozen=True)
class Wrong:
    """An answer that should not have been given."""

    attack: str
    target: str
    answer: str


@dataclass(frozen=True)
class Owned:
    """What the attacked tenant owns, by the names of the fields that name it."""

    by_field: Mapping[str, str]

    def fill(self, message: Message) -> Message:
        """Name what is owned wherever the message can."""
        for name, value in self.by_field.items():
            descriptor = message.DESCRIPTOR.fields_by_name.get(name)
            if descriptor is not None and descriptor.type == descriptor.TYPE_STRING:
                setattr(message, name, value)
        return message


def served_methods(contract: Contract) -> Iterator[MethodDescriptor]:
    """Every rpc that a service has a port for."""
    for service in contract.services:
        if not service.full_name.startswith(_NOT_SERVED):
            yield from service.methods


def guarded(contract: Contract) -> Iterator[Rule]:
    """Every route that asks for a token."""
    return (rule for rule in rules_of(contract) if scope_of(rule.method) != PUBLIC)


async def wrong_answers_of_rpcs(
    address: str, attacks: Iterable[Attack], owned: Owned, packages: Iterable[str]
) -> tuple[list[Wrong], int]:
    """What one process answers on its own port, and how many calls were made."""
    wrong, count = [], 0
    methods = [m for m in served_methods(read_contract()) if _is_of(m, packages)]
    async with grpc.aio.insecure_channel(address) as channel:
        for attack in attacks:
            for method in methods:
                count += 1
                answer = await _call(channel, method, attack.metadata, owned)
                if not _is_fine(answer, attack):
                    wrong.append(Wrong(attack.name, method.full_name, str(answer)[:200]))
    return wrong, count


def wrong_answers_of_routes(
    url: str, attacks: Iterable[Attack], owned: Owned
) -> tuple[list[Wrong], int]:
    """What the gateway answers, and how many requests were made."""
    wrong, count = [], 0
    rules = list(guarded(read_contract()))
    # Not with httpx, which takes several times as long for each of thousands.
    with closing(HTTPConnection(urlsplit(url).netloc, timeout=TIMEOUT_S)) as connection:
        for attack in attacks:
            for rule in rules:
                count += 1
                answer = _request(connection, rule, attack, owned)
                if not _is_fine(answer, attack):
                    wrong.append(Wrong(attack.name, _shown(rule), str(answer)[:200]))
    return wrong, count


@dataclass(frozen=True)
class Answer:
    """What came back: refused because of who calls, or something else, with its text."""

    is_refused: bool
    status: str
    text: str


def _is_fine(answer: Answer, attack: Attack) -> bool:
    if attack.is_somebody:
        return CANARY not in answer.text and not answer.status.startswith("5")
    return answer.is_refused and CANARY not in answer.text


async def _call(
    channel: grpc.aio.Channel, method: MethodDescriptor, metadata: Pairs, owned: Owned
) -> Answer:
    assert method.containing_service is not None
    request_class = GetMessageClass(method.input_type)
    request = owned.fill(request_class())
    kind = f"{_kind(method.client_streaming)}_{_kind(method.server_streaming)}"
    start = getattr(channel, kind)(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=request_class.SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    sent = _once(request) if method.client_streaming else request
    return await _answer(method, start(sent, metadata=list(metadata), timeout=TIMEOUT_S))


async def _answer(method: MethodDescriptor, call: Any) -> Answer:
    try:
        text = await _text(call, is_stream=method.server_streaming)
    except grpc.aio.AioRpcError as error:
        is_refused = error.code() in _REFUSED
        reason = from_rpc_error(error).reason
        return Answer(is_refused, f"{error.code().name} {reason}", error.details() or "")
    return Answer(is_refused=False, status="OK", text=text)


async def _text(call: Any, *, is_stream: bool) -> str:
    if not is_stream:
        return str(await call)
    return "".join([str(message) async for message in call])


async def _once(request: Message) -> AsyncIterator[Message]:
    yield request


def _request(connection: HTTPConnection, rule: Rule, attack: Attack, owned: Owned) -> Answer:
    target = path_of(rule, owned)
    if attack.query:
        target += f"?{urlencode(attack.query)}"
    headers, body = dict(attack.headers), None
    if rule.body:
        headers["Content-Type"] = "application/json"
        body = json.dumps(attack.body)
    connection.request(rule.http_method, target, body, headers)
    response = connection.getresponse()
    text = response.read().decode(errors="replace")
    return Answer(response.status in (401, 403), str(response.status), text)


def path_of(rule: Rule, owned: Owned) -> str:
    """The route with what the attacked tenant owns in it."""
    return re.sub(
        r"\{([a-z0-9_.]+)(?:=[^{}]+)?\}",
        lambda variable: owned.by_field.get(variable[1], CANARY),
        rule.template.text,
    )


def _is_of(method: MethodDescriptor, packages: Iterable[str]) -> bool:
    return any(method.full_name.startswith(package) for package in packages)


def _kind(streams: bool) -> str:
    return "stream" if streams else "unary"


def _shown(rule: Rule) -> str:
    return f"{rule.http_method} {rule.template.text}"
