"""Answers as JSON, in the envelopes of the two documents."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp.hdrs import CONTENT_TYPE
from waypost.clock import iso
from waypost.money import format_amount
from waypost.refusals import Refusal
from waypost.store.messages import Message

from waypost_server.rest.answer import Answer
from waypost_server.rest.bodies import REQUEST_ID

#: What the `message` of a partner answer says at each status.
_TOLD = {
    "QUEUED": "Message accepted and queued.",
    "SENDING": "Message accepted and being sent.",
    "SENT": "Message sent successfully.",
    "DELIVERED": "Message delivered.",
    "READ": "Message read.",
    "UNDELIVERED": "Message accepted but could not be delivered.",
    "FAILED": "Message accepted but could not be sent.",
    "EXPIRED": "Message expired before it could be sent.",
    "CANCELED": "Message canceled.",
    "UNKNOWN": "Message accepted; whether it was sent is not known yet.",
}
#: The token API's error names, where its document has one of its own.
_TOKEN_ERRORS = {
    "INSUFFICIENT_CREDIT": ("insufficient_balance", 402),
    "ORG_INACTIVE": ("partner_suspended", 403),
    "APP_INACTIVE": ("partner_suspended", 403),
    "CHANNEL_CONFIG_NOT_FOUND": ("gateway_not_assigned", 403),
    "CHANNEL_CREDENTIALS_NOT_FOUND": ("gateway_not_assigned", 403),
    "ORG_NOT_FOUND": ("unauthorized", 401),
    "APP_NOT_FOUND": ("unauthorized", 401),
}


class Failure(Refusal):
    """Something went wrong on our side; try again, and tell us the X-Request-Id if it persists."""

    code = "INTERNAL_ERROR"
    status = 500


def amount(micros: int) -> orjson.Fragment:
    """Money as a JSON number, exact from the micros."""
    return orjson.Fragment(format_amount(micros).encode())


def reply(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    """A JSON answer."""
    sent: dict[str, str] = {CONTENT_TYPE: "application/json"}
    if headers:
        sent |= headers
    return Answer(orjson.dumps(value), status, sent)


def told(status: str) -> str:
    """A sentence for a status."""
    return _TOLD.get(status, f"Message is {status}.")


def partner_success(data: Any, message: str | None = None, headers: dict[str, str] | None = None) -> Answer:
    """The partner API's success envelope."""
    envelope: dict[str, Any] = {"success": True, "data": data}
    if message is not None:
        envelope["message"] = message
    return reply(envelope, headers=headers)


def partner_error(refusal: Refusal, request_id: str) -> Answer:
    """The partner API's error envelope."""
    body = {"success": False, "error": refusal.detail, "code": refusal.code}
    return reply(body, refusal.status, _error_headers(refusal, request_id))


def token_error(refusal: Refusal, request_id: str) -> Answer:
    """The token API's error body."""
    name, status = _TOKEN_ERRORS.get(refusal.code, (refusal.code.lower(), refusal.status))
    return reply({"error": name, "message": refusal.detail}, status, _error_headers(refusal, request_id))


def _error_headers(refusal: Refusal, request_id: str) -> dict[str, str]:
    headers = {REQUEST_ID: request_id}
    if refusal.retry_after is not None:
        headers["Retry-After"] = str(refusal.retry_after)
    if refusal.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def message_data(message: Message) -> dict[str, Any]:
    """A message as the partner API's document shows it."""
    return {
        "messageId": message.id,
        "recipient": message.recipient,
        "channel": message.channel,
        "status": message.status,
        "cost": amount(message.cost),
        "currency": message.currency,
    }


def message_details(message: Message) -> dict[str, Any]:
    """A message with what happened to it."""
    details = message_data(message)
    details |= {
        "createdAt": iso(message.created_at),
        "updatedAt": iso(message.updated_at),
        "settled": message.settled_at is not None,
    }
    if message.error_code is not None:
        details["error"] = {"code": message.error_code, "message": message.error_detail or told(message.status)}
    if message.contradictory:
        details["contradictory"] = True
    if message.possible_duplicate:
        details["possibleDuplicate"] = True
    return details
