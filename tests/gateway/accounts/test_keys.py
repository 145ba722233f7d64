"""Keys as the door uses them: cheap to believe, revoked everywhere, their use remembered."""

import asyncio
from typing import Any

import pytest

from gateway.accounts import keys
from gateway.accounts.account_log import AccountLog
from gateway.accounts.errors import KeyInvalid
from gateway.accounts.grants import AccessTokens
from gateway.accounts.keys import KeyUses
from gateway.accounts.state.events import AccountRecord
from gateway.accounts.store import _Folded
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.auth.tokens import TokenInvalid
from tests.authority import Authority
from tests.events.serving import eventually
from tests.gateway.accounts.replicas import Replica


async def make_key(replica: Replica, owner: pb.LoginResponse, **fields: Any) -> Any:
    request = pb.CreateKeyRequest(name="importer", scopes=["events.read"], **fields)
    return await replica.call("CreateKey", request, owner.access_token)


async def test_a_key_is_given_the_same_token_until_two_thirds_of_its_life_are_over(
    replica: Replica,
) -> None:
    made = await make_key(replica, await replica.owner())

    first = await replica.accounts.token_of_key(made.secret)
    replica.clock.pass_s(199)
    second = await replica.accounts.token_of_key(made.secret)
    replica.clock.pass_s(2)
    third = await replica.accounts.token_of_key(made.secret)

    assert first == second != third


async def test_a_key_is_given_a_token_that_counts_when_the_clock_is_set_back(
    replica: Replica,
) -> None:
    made = await make_key(replica, await replica.owner())
    replica.clock.pass_s(100)
    first = await replica.accounts.token_of_key(made.secret)

    replica.clock.pass_s(-100)

    assert await replica.accounts.token_of_key(made.secret) != first


async def test_a_key_is_given_a_token_of_the_key_that_signs_now(
    replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await make_key(replica, await replica.owner())
    first = await replica.accounts.token_of_key(made.secret)

    monkeypatch.setattr(AccessTokens, "key_id", "gateway-of-tomorrow")

    assert await replica.accounts.token_of_key(made.secret) != first


async def test_the_token_of_a_key_does_not_outlive_it(replica: Replica) -> None:
    made = await make_key(replica, await replica.owner(), expires_in_days=1)
    replica.clock.pass_s(24 * 3_600 - 100)

    answer = await replica.call("ExchangeKey", pb.ExchangeKeyRequest(key=made.secret))

    assert 90 <= answer.expires_in <= 100


async def test_a_key_made_a_moment_ago_works_on_another_replica(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    first = await make_key(replica, owner)
    await other_replica.accounts.token_of_key(first.secret)

    second = await make_key(replica, owner)

    await other_replica.accounts.token_of_key(second.secret)


async def test_a_key_revoked_elsewhere_is_refused_with_the_tokens_it_was_given(
    replica: Replica, other_replica: Replica
) -> None:
    owner = await replica.owner()
    made = await make_key(replica, owner)
    token = await other_replica.accounts.token_of_key(made.secret)

    revoke = pb.RevokeKeyRequest(key_id=made.key.key_id)
    await replica.call("RevokeKey", revoke, owner.access_token)

    async def is_refused() -> bool:
        return other_replica.accounts.is_revoked(made.key.key_id)

    await eventually(is_refused, within_s=2)
    with pytest.raises(KeyInvalid):
        await other_replica.accounts.token_of_key(made.secret)
    with pytest.raises(TokenInvalid):
        await other_replica.call("WhoAmI", pb.WhoAmIRequest(), token)


async def test_the_last_use_of_a_key_is_known_to_the_hour(replica: Replica) -> None:
    owner = await replica.owner()
    made = await make_key(replica, owner)

    async def last_used() -> Any:
        listed = await replica.call("ListKeys", pb.ListKeysRequest(), owner.access_token)
        return listed.keys[0].last_used_at.ToMilliseconds()

    async def is_known() -> bool:
        return bool(await last_used())

    assert not await last_used()
    for _ in range(10):
        await replica.accounts.token_of_key(made.secret)
    await eventually(is_known)

    first = await last_used()
    replica.clock.pass_s(KeyUses.INTERVAL_MS / 1_000 + 1)
    await replica.accounts.token_of_key(made.secret)

    async def is_known_anew() -> bool:
        return bool(await last_used() > first)

    await eventually(is_known_anew)


async def test_keys_of_one_tenant_are_nothing_to_another(replica: Replica) -> None:
    one, other = await replica.owner(), await replica.owner()
    made = await make_key(replica, one)

    listed = await replica.call("ListKeys", pb.ListKeysRequest(), other.access_token)

    assert not listed.keys
    who = await replica.accounts.token_of_key(made.secret)
    assert replica.verifier.verify(who).tenant == one.tenant.tenant_id


async def test_a_plan_set_elsewhere_counts_for_keys_at_once_and_nothing_is_read_before(
    replica: Replica,
    other_replica: Replica,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    owner = await replica.owner()
    made = await make_key(replica, owner)
    assert await other_replica.accounts.follower.until_caught_up(60)
    token = await other_replica.accounts.token_of_key(made.secret)
    reads: list[str] = []
    read = AccountLog.read

    def noticed(log: AccountLog, stream: str, **options: Any) -> Any:
        reads.append(stream)
        return read(log, stream, **options)

    monkeypatch.setattr(AccountLog, "read", noticed)
    monkeypatch.setattr(keys, "FRESHNESS_S", 1e-3)  # a moment, unless the log is followed
    await asyncio.sleep(0.01)
    assert await other_replica.accounts.token_of_key(made.secret) == token
    assert reads == []

    tenant_id = other_replica.verifier.verify(token).tenant
    request = pb.SetPlanRequest(tenant_id=tenant_id, plan=pb.Plan(name="professional"))
    operator = authority.service_token(
        "gateway.girih", "girih-accounts", ["plans.write"],
        service="gateway.girih", sub="gateway.girih",
    )  # fmt: skip
    await replica.call("SetPlan", request, operator)

    async def is_on_it() -> bool:
        token = await other_replica.accounts.token_of_key(made.secret)
        plan = other_replica.verifier.verify(token).plan
        return plan is not None and plan.name == "professional"

    await eventually(is_on_it)


async def test_what_is_recorded_while_a_stream_is_read_outdates_the_answer() -> None:
    log = HeldLog()
    folded: _Folded[Any] = _Folded(log, lambda _before, records: records[-1], 10)  # type: ignore[arg-type]
    loading = asyncio.create_task(folded.load("tenant-1", 60))
    await log.is_asked.wait()
    folded.expire("tenant-1", 1)
    log.answer.set_result([AccountRecord(1, "tenant-1", 0, None)])
    await loading

    log.answer = asyncio.get_running_loop().create_future()
    log.answer.set_result([AccountRecord(2, "tenant-1", 1, None)])
    state = await folded.load("tenant-1", 60)

    assert state
    assert state.revision == 1


class HeldLog:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.is_asked = asyncio.Event()
        self.answer: asyncio.Future[list[AccountRecord]] = (
            asyncio.get_running_loop().create_future()
        )

    async def read(self, _stream: str, **_options: int) -> list[AccountRecord]:
        self.is_asked.set()
        return await self.answer
