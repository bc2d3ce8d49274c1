"""Refusals: every way in which Waypost says no to a partner. The docstring is the message, `code` is stable.

`status` is the HTTP status on both APIs. A `detail` may say more; it never repeats what the partner sent.
"""

from __future__ import annotations

from typing import ClassVar


class Refusal(Exception):
    """The request was refused."""

    code: ClassVar[str] = "INVALID_REQUEST"
    status: ClassVar[int] = 400

    def __init__(self, detail: str = "", *, retry_after: int | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        self.retry_after = retry_after
        super().__init__(self.detail)


class InvalidRequest(Refusal):
    """The request must be a JSON object as the documentation shows; correct its structure."""

    code = "INVALID_REQUEST"


class ValidationFailed(Refusal):
    """The request is not valid; correct the field that the message names."""

    code = "VALIDATION_ERROR"


class InvalidPagination(Refusal):
    """page must be between 1 and 100000 and limit between 1 and 100; correct them."""

    code = "INVALID_PAGINATION"


class Unauthorized(Refusal):
    """The API key is missing, unknown, expired or revoked; send a valid one."""

    code = "UNAUTHORIZED"
    status = 401


class InsufficientCredit(Refusal):
    """There is not enough credit for this message; top up or raise the credit limit."""

    code = "INSUFFICIENT_CREDIT"
    status = 402


class OrgInactive(Refusal):
    """The organization is suspended; ask the operator to activate it."""

    code = "ORG_INACTIVE"
    status = 403


class AppInactive(Refusal):
    """The app is suspended; ask the operator to activate it."""

    code = "APP_INACTIVE"
    status = 403


class OrgNotFound(Refusal):
    """The organization of this API key no longer exists; ask the operator."""

    code = "ORG_NOT_FOUND"
    status = 404


class AppNotFound(Refusal):
    """The app of this API key no longer exists; ask the operator."""

    code = "APP_NOT_FOUND"
    status = 404


class MessageNotFound(Refusal):
    """There is no such message, or it is not yours; check the id."""

    code = "MESSAGE_NOT_FOUND"
    status = 404


class ChannelConfigNotFound(Refusal):
    """No route leads to this channel and destination for your app; ask the operator to add one."""

    code = "CHANNEL_CONFIG_NOT_FOUND"
    status = 404


class ChannelCredentialsNotFound(Refusal):
    """The route's gateway has no usable credentials; ask the operator to complete them."""

    code = "CHANNEL_CREDENTIALS_NOT_FOUND"
    status = 404


class IdempotencyConflict(Refusal):
    """This idempotency key was used for a different request; use a new key."""

    code = "IDEMPOTENCY_KEY_REUSED"
    status = 422


class PayloadTooLarge(Refusal):
    """The request body is too large; send 256 KiB at most, or what else the operator allows."""

    code = "PAYLOAD_TOO_LARGE"
    status = 413


class RateLimited(Refusal):
    """Too many requests; wait as Retry-After says."""

    code = "RATE_LIMITED"
    status = 429


class Unavailable(Refusal):
    """The message could not be stored just now and was not accepted; try again shortly."""

    code = "SERVICE_UNAVAILABLE"
    status = 503


class AcceptanceUnknown(Refusal):
    """It is not known whether the message was accepted; repeat it with the same Idempotency-Key, or look for it."""

    code = "ACCEPTANCE_UNKNOWN"
    status = 503


ALL_REFUSALS: tuple[type[Refusal], ...] = (
    InvalidRequest,
    ValidationFailed,
    InvalidPagination,
    Unauthorized,
    InsufficientCredit,
    OrgInactive,
    AppInactive,
    OrgNotFound,
    AppNotFound,
    MessageNotFound,
    ChannelConfigNotFound,
    ChannelCredentialsNotFound,
    IdempotencyConflict,
    PayloadTooLarge,
    RateLimited,
    Unavailable,
    AcceptanceUnknown,
)
