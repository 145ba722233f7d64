"""The rpcs of accounts: convert, call, convert back. Who may call which, admission decides."""

import asyncio

from gateway.accounts import convert
from gateway.accounts.callers import caller, key_id_of, user_caller, user_id_of
from gateway.accounts.errors import CredentialsInvalid
from gateway.accounts.keys import FRESHNESS_S, Keys
from gateway.accounts.members import Members
from gateway.accounts.memberships import Memberships
from gateway.accounts.policy.roles import Role
from gateway.accounts.sessions.listing import OwnSessions
from gateway.accounts.sessions.opening import Sessions
from gateway.accounts.store import AccountsStore
from gateway.accounts.tickets.ticket import Target
from gateway.accounts.tickets.tickets import Tickets
from gateway.accounts.users import Users
from gateway.http.page import page_origin
from gateway.metering.resource_counts import ResourceCounts
from gateway.metering.usage import Usage
from gateway.shown_processes import ShownProcesses
from girih.accounts.v1 import accounts_pb2 as pb
from services.plumbing import validation
from services.plumbing.errors import Violations
from services.plumbing.identity import Principal


class AccountsServicer:
    """Serves girih.accounts.v1 in the gateway's own process."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        own_sessions: OwnSessions,
        memberships: Memberships,
        members: Members,
        keys: Keys,
        tickets: Tickets,
        store: AccountsStore,
        usage: Usage,
        resource_counts: ResourceCounts,
        processes: ShownProcesses,
    ) -> None:
        self._processes = processes
        self._users = users
        self._sessions = sessions
        self._own_sessions = own_sessions
        self._memberships = memberships
        self._members = members
        self._keys = keys
        self._tickets = tickets
        self._store = store
        self._usage = usage
        self._resource_counts = resource_counts

    async def Register(self, request: pb.RegisterRequest) -> pb.RegisterResponse:
        violations = Violations()
        validation.add_violations(request, violations)
        joined = await self._users.register(convert.registration(request), violations)
        return convert.registered(joined)

    async def Login(self, request: pb.LoginRequest) -> pb.LoginResponse:
        validation.check(request)
        tenant_id = convert.canonical(request.tenant_id)
        login = await self._users.login(request.email, request.password, tenant_id)
        return convert.logged_in(login)

    async def Refresh(self, request: pb.RefreshRequest) -> pb.RefreshResponse:
        return convert.refreshed(await self._sessions.refresh(request.refresh_token))

    async def Logout(self, request: pb.LogoutRequest) -> pb.LogoutResponse:
        # Nobody shall think that a session has ended of which nothing was said.
        validation.check(request)
        await self._sessions.logout(request.refresh_token, everywhere=request.everywhere)
        return pb.LogoutResponse()

    async def ExchangeKey(self, request: pb.ExchangeKeyRequest) -> pb.ExchangeKeyResponse:
        return convert.exchanged(await self._keys.exchange(request.key))

    async def WhoAmI(self, _request: pb.WhoAmIRequest) -> pb.WhoAmIResponse:
        principal = caller()
        response = pb.WhoAmIResponse(scopes=sorted(principal.scopes))
        if principal.tenant:
            tenant = await self._store.present_tenant(principal.tenant, FRESHNESS_S)
            response.tenant.CopyFrom(convert.tenant(tenant))
        await self._add_member(principal, response)
        return response

    async def ChangePassword(self, request: pb.ChangePasswordRequest) -> pb.ChangePasswordResponse:
        user = user_caller()
        validation.check(request)
        await self._users.change_password(
            user, request.password, request.new_password, request.refresh_token
        )
        return pb.ChangePasswordResponse()

    async def ListSessions(self, _request: pb.ListSessionsRequest) -> pb.ListSessionsResponse:
        sessions = await self._own_sessions.of(user_caller())
        return pb.ListSessionsResponse(sessions=[convert.session(one) for one in sessions])

    async def EndSession(self, request: pb.EndSessionRequest) -> pb.EndSessionResponse:
        user = user_caller()
        validation.check(request)
        await self._own_sessions.end(user, convert.canonical(request.session_id))
        return pb.EndSessionResponse()

    async def ListTenants(self, request: pb.ListTenantsRequest) -> pb.ListTenantsResponse:
        user = user_caller()
        validation.check(request)
        page = await self._memberships.page(user.user_id, request.page_size, request.page_token)
        return pb.ListTenantsResponse(
            memberships=[convert.membership(one) for one in page.memberships],
            next_page_token=page.next_page_token,
        )

    async def SwitchTenant(self, request: pb.SwitchTenantRequest) -> pb.SwitchTenantResponse:
        validation.check(request)
        tenant_id = convert.canonical(request.tenant_id)
        return convert.switched(await self._sessions.switch(request.refresh_token, tenant_id))

    async def CreateStreamTicket(
        self, request: pb.CreateStreamTicketRequest
    ) -> pb.CreateStreamTicketResponse:
        user = user_caller()
        validation.check(request)
        ticket = self._tickets.issue(user, Target(url=request.url, origin=page_origin()))
        return convert.stream_ticket(request.url, ticket)

    async def ListMembers(self, request: pb.ListMembersRequest) -> pb.ListMembersResponse:
        validation.check(request)
        page = await self._members.page(caller().tenant, request.page_size, request.page_token)
        return pb.ListMembersResponse(
            members=[convert.member(one) for one in page.members],
            next_page_token=page.next_page_token,
        )

    async def SetMemberRole(self, request: pb.SetMemberRoleRequest) -> pb.SetMemberRoleResponse:
        validation.check(request)
        user_id = convert.canonical(request.user_id)
        member = await self._members.set_role(user_caller(), user_id, Role(request.role))
        return pb.SetMemberRoleResponse(member=convert.member(member))

    async def RemoveMember(self, request: pb.RemoveMemberRequest) -> pb.RemoveMemberResponse:
        validation.check(request)
        await self._members.remove(user_caller(), convert.canonical(request.user_id))
        return pb.RemoveMemberResponse()

    async def CreateInvitation(
        self, request: pb.CreateInvitationRequest
    ) -> pb.CreateInvitationResponse:
        validation.check(request)
        invited = await self._members.invite(user_caller(), request.email, Role(request.role))
        return pb.CreateInvitationResponse(
            invitation=convert.invitation(invited.invitation), token=invited.token
        )

    async def ListInvitations(
        self, _request: pb.ListInvitationsRequest
    ) -> pb.ListInvitationsResponse:
        invitations = await self._members.invitations(caller().tenant)
        return pb.ListInvitationsResponse(
            invitations=[convert.invitation(one) for one in invitations]
        )

    async def RevokeInvitation(
        self, request: pb.RevokeInvitationRequest
    ) -> pb.RevokeInvitationResponse:
        validation.check(request)
        invitation_id = convert.canonical(request.invitation_id)
        await self._members.revoke_invitation(user_caller(), invitation_id)
        return pb.RevokeInvitationResponse()

    async def AcceptInvitation(
        self, request: pb.AcceptInvitationRequest
    ) -> pb.AcceptInvitationResponse:
        validation.check(request)
        joined = await self._users.accept_invitation(request.token, request.password, request.name)
        return convert.accepted(joined)

    async def CreateKey(self, request: pb.CreateKeyRequest) -> pb.CreateKeyResponse:
        validation.check(request)
        made = await self._keys.create(
            user_caller(),
            request.name,
            request.scopes,
            request.expires_in_days,
            convert.canonical(request.request_id) if request.request_id else "",
        )
        return pb.CreateKeyResponse(key=convert.key(made.key, None), secret=made.secret)

    async def ListKeys(self, _request: pb.ListKeysRequest) -> pb.ListKeysResponse:
        keys = await self._keys.all_of(caller().tenant)
        used = await self._keys.last_used(keys)
        return pb.ListKeysResponse(keys=[convert.key(one, used.get(one.key_id)) for one in keys])

    async def RevokeKey(self, request: pb.RevokeKeyRequest) -> pb.RevokeKeyResponse:
        validation.check(request)
        await self._keys.revoke(user_caller(), convert.canonical(request.key_id))
        return pb.RevokeKeyResponse()

    async def GetUsage(self, _request: pb.GetUsageRequest) -> pb.GetUsageResponse:
        tenant_id = caller().tenant
        tenant, calls, held = await asyncio.gather(
            self._store.present_tenant(tenant_id),
            self._usage.calls(tenant_id),
            self._resource_counts.count(),
        )
        return pb.GetUsageResponse(
            plan=convert.plan_message(tenant.plan),
            month=calls.month,
            call_count=calls.count,
            lattice_count=convert.clamped(held.lattice_count),
            event_count=held.event_count,
        )

    async def GetServerSettings(
        self, _request: pb.GetServerSettingsRequest
    ) -> pb.GetServerSettingsResponse:
        settings = await self._processes.settings()
        return pb.GetServerSettingsResponse(
            processes=[
                pb.ProcessSettings(process=one.process, settings=one.settings) for one in settings
            ]
        )

    async def GetServerFigures(
        self, _request: pb.GetServerFiguresRequest
    ) -> pb.GetServerFiguresResponse:
        busy = await self._processes.figures()
        return pb.GetServerFiguresResponse(
            processes=[pb.ProcessFigures(process=one.process, figures=one.figures) for one in busy]
        )

    async def SetPlan(self, request: pb.SetPlanRequest) -> pb.SetPlanResponse:
        validation.check(request)
        tenant_id = convert.canonical(request.tenant_id)
        plan = convert.plan_limits(request.plan)
        tenant = await self._members.set_plan(tenant_id, plan, by=caller().subject)
        return pb.SetPlanResponse(tenant=convert.tenant(tenant))

    async def _add_member(self, principal: Principal, response: pb.WhoAmIResponse) -> None:
        user_id, key_id = user_id_of(principal), key_id_of(principal)
        if user_id:
            user = await self._store.user(user_id)
            if user is None:
                raise CredentialsInvalid("the user of the token is not known here")
            response.user.CopyFrom(convert.user(user))
            response.role = convert.role_number(Role.of(principal.role))
        elif key_id:
            key = await self._keys.one_of(principal.tenant, key_id)
            used = await self._keys.last_used([key])
            response.key.CopyFrom(convert.key(key, used.get(key_id)))
