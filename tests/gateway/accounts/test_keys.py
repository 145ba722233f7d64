"""Keys as the door uses them: cheap to believe, revoked everywhere, their use remembered."""

from typing import Any

import pytest

from gateway.accounts.errors import KeyInvalid
from gateway.accounts.keys import KeyUses
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing.auth.tokens import TokenInvalid
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
