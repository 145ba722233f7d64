"""What can go wrong with accounts, by name. Knows no transport."""

from services.plumbing.errors import (
    AlreadyExists,
    Conflict,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
)


class EmailTaken(AlreadyExists):
    """A user has this email address already."""

    reason = "EMAIL_TAKEN"


class AlreadyAMember(AlreadyExists):
    """The user with this address is a member of the tenant."""

    reason = "ALREADY_A_MEMBER"


class CredentialsInvalid(Unauthenticated):
    """The address or the password is wrong. Which of them is told to nobody."""

    reason = "CREDENTIALS_INVALID"


class RefreshTokenInvalid(Unauthenticated):
    """It is not one of ours, was used before, or its session has ended."""

    reason = "REFRESH_TOKEN_INVALID"


class KeyInvalid(Unauthenticated):
    """It is not one of ours, has expired, or was revoked."""

    reason = "KEY_INVALID"


class TicketInvalid(Unauthenticated):
    """It is not one of ours, not for this stream or page, was used, or its session is over."""

    reason = "TICKET_INVALID"


class InvitationInvalid(Unauthenticated):
    """It is not one of ours, was accepted or revoked, or has expired."""

    reason = "INVITATION_INVALID"


class NotAUser(PermissionDenied):
    """The caller is a key or a service, and only users do this."""

    reason = "NOT_A_USER"


class RoleTooLow(PermissionDenied):
    """The caller's role does not reach as far as what it asks for."""

    reason = "ROLE_TOO_LOW"


class MemberNotFound(NotFound):
    """The tenant has no such member."""

    reason = "MEMBER_NOT_FOUND"


class InvitationNotFound(NotFound):
    """The tenant has no such invitation that is open."""

    reason = "INVITATION_NOT_FOUND"


class KeyNotFound(NotFound):
    """The tenant has no such key, or it was revoked."""

    reason = "KEY_NOT_FOUND"


class SessionNotFound(NotFound):
    """The user has no such session that is open."""

    reason = "SESSION_NOT_FOUND"


class TenantNotFound(NotFound):
    """There is no such tenant."""

    reason = "TENANT_NOT_FOUND"


class LastOwner(Conflict):
    """The tenant would be left without an owner."""

    reason = "LAST_OWNER"


class TooManyKeys(ResourceExhausted):
    """The tenant has as many keys as one may have."""

    reason = "TOO_MANY_KEYS"


class TooManyInvitations(ResourceExhausted):
    """The tenant has as many open invitations as one may have."""

    reason = "TOO_MANY_INVITATIONS"


class HashingBusy(ResourceExhausted):
    """More passwords are being checked than this process takes on."""

    reason = "HASHING_BUSY"


class AccountsBusy(Unavailable):
    """Others changed the same account again and again while this call was decided."""

    reason = "ACCOUNTS_BUSY"
