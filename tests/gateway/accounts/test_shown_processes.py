"""The processes of the server, as owners see them whom the operator lets: nothing secret."""

import pytest
from prometheus_client import CollectorRegistry

import girih
from gateway.accounts.settings import AccountSettings
from gateway.shown_processes import ShownProcesses
from girih.accounts.v1 import accounts_pb2 as pb
from girih.client import open_channel
from services.plumbing.identity import ScopeMissing
from services.plumbing.settings import ProcessSettings, shown
from tests.authority import Authority
from tests.gateway.accounts.replicas import Replica, account_settings, open_replica
from tests.processes import Process

ASK = pb.GetServerSettingsRequest()
ASK_FIGURES = pb.GetServerFiguresRequest()


async def test_owners_see_what_all_processes_were_told_and_no_secret(replica: Replica) -> None:
    owner = await replica.owner()

    answer = await replica.call("GetServerSettings", ASK, owner.access_token)

    settings_of = {
        one.process: {each.variable: each for each in one.settings} for one in answer.processes
    }
    assert list(settings_of) == ["gateway", "events"]
    # What tests start the gateway with has no prefix.
    assert settings_of["gateway"]["OWNERS_SEE_SETTINGS"].value == "true"
    database_url = settings_of["events"]["DATABASE_URL"]
    assert (database_url.value, database_url.is_secret) == ("", True)
    assert not database_url.is_default
    assert "postgresql://" not in str(answer)


async def test_owners_see_how_busy_all_processes_are(replica: Replica) -> None:
    owner = await replica.owner()

    answer = await replica.call("GetServerFigures", ASK_FIGURES, owner.access_token)

    figures_of = {one.process: one.figures for one in answer.processes}
    assert list(figures_of) == ["gateway", "events"]
    assert {one.software_version for one in figures_of.values()} == {girih.__version__}
    assert figures_of["events"].latencies[-1].call_count > 0
    assert figures_of["events"].pool.size_max > 0
    assert not figures_of["gateway"].HasField("pool")


async def test_a_process_that_does_not_answer_has_no_figures(authority: Authority) -> None:
    settings = account_settings(authority)
    async with open_channel("127.0.0.1:1") as nobody:
        processes = ShownProcesses(
            settings, CollectorRegistry(), {"events": nobody}, lambda _: "token"
        )

        figures = await processes.figures()

    assert [(one.process, one.figures is None) for one in figures] == [
        ("gateway", False),
        ("events", True),
    ]


async def test_others_see_none_and_nobody_does_where_the_operator_says_so(
    replica: Replica, event_store: tuple[Process, str], authority: Authority
) -> None:
    owner = await replica.owner()
    admin = await replica.joined(owner, pb.ROLE_ADMIN)
    for rpc, asked in (("GetServerSettings", ASK), ("GetServerFigures", ASK_FIGURES)):
        with pytest.raises(ScopeMissing):
            await replica.call(rpc, asked, admin.access_token)

    address = event_store[1]
    async with open_replica(address, authority, OWNERS_SEE_SETTINGS="false") as strict:
        owner = await strict.owner()
        with pytest.raises(ScopeMissing):
            await strict.call("GetServerSettings", ASK, owner.access_token)


def test_in_production_nobody_sees_them_unless_told(authority: Authority) -> None:
    development = account_settings(authority)
    production = AccountSettings.model_fields["owners_see_settings"].default

    assert (development.owners_see_settings, production) == (True, False)


def test_who_opens_a_store_by_its_url_is_not_shown() -> None:
    settings = ProcessSettings(metrics_host="https://key:word@store.example.net/bucket")

    values = {one.variable: one.value for one in shown(settings)}

    assert values["METRICS_HOST"] == "https://…@store.example.net/bucket"
