"""The partner API: `POST /partner/message/send` and the reads beside it."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime

from aiohttp import web
from waypost import history
from waypost.access import Principal
from waypost.admission.request import SendRequest
from waypost.clock import from_datetime, iso
from waypost.ids import is_id
from waypost.lifecycle.evidence import Evidence
from waypost.lifecycle.status import POSITIVE_ENDS, STATUSES
from waypost.log import logger
from waypost.node import Node
from waypost.refusals import InvalidPagination, MessageNotFound, Refusal, Unavailable, ValidationFailed
from waypost.store import ledger, messages
from waypost.store.database import StoreUnavailableError
from waypost.store.messages import Filter, Message
from waypost.verdicts import PENDING

from waypost_server.rest import replies
from waypost_server.rest.answer import Answer
from waypost_server.rest.bodies import REQUEST_ID, idempotency_key, json_object, read_send, request_id
from waypost_server.rest.partner_request import read_partner_request
from waypost_server.rest.preferences import waiting
from waypost_server.rest.router import Handler, Route, reading

_NUMBER = re.compile(r"[0-9]{1,6}")
MAX_LIMIT = 100
MAX_PAGE = 100_000

_LOG = logger()


class PartnerApi:
    """Handlers over one node."""

    def __init__(self, node: Node) -> None:
        self._node = node

    def routes(self) -> list[Route]:
        """The API's routes."""
        return [
            Route("POST", "/partner/message/send", self._guarded(self.send)),
            *reading("/partner/message/{message_id}", self._looked_up(self.show)),
            *reading("/partner/messages", self._looked_up(self.list)),
            *reading("/partner/balance", self._looked_up(self.balance)),
        ]

    def _guarded(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request, **matched: str) -> Answer:
            try:
                answer = await handler(request, **matched)
                answer.headers.setdefault("X-Request-Id", request_id(request))
                return answer
            except Refusal as refusal:
                shown = request_id(request)
                _LOG.info("partner.refused", request_id=shown, code=refusal.code)
                return replies.partner_error(refusal, shown)
            except StoreUnavailableError:
                return replies.partner_error(Unavailable(retry_after=1), request_id(request))
            except Exception as error:  # noqa: BLE001 - the last resort: told to the log, not to the caller
                shown = request_id(request)
                _LOG.exception("partner.failed", request_id=shown, problem=type(error).__name__)
                return replies.partner_error(replies.Failure(), shown)

        return guarded

    def _looked_up(self, handler: Handler) -> Handler:
        """A handler that only reads: where the store is gone, no message was refused."""

        async def looked_up(request: web.Request, **matched: str) -> Answer:
            try:
                return await handler(request, **matched)
            except (StoreUnavailableError, Unavailable) as error:
                raise Unavailable("This cannot be looked up just now; try again shortly.", retry_after=1) from error

        return self._guarded(looked_up)

    # ---- sending

    async def send(self, request: web.Request) -> Answer:
        """Accept a message, wait for the provider's verdict as long as was asked, and tell how far it is."""
        node = self._node
        shown = request_id(request)
        body = await read_send(request, node)

        def read() -> SendRequest:
            key = idempotency_key(request)
            fingerprint = hashlib.sha256(b"partner" + body).hexdigest() if key is not None else ""
            return read_partner_request(
                json_object(body), idempotency_key=key, fingerprint=fingerprint, request_id=shown
            )

        admitted = await node.desk.accept(request.headers.get("x-api-key"), read)
        message = admitted.message
        wait, applied = waiting(request.headers.getall("Prefer", ()), node.config.wait, node.config.max_wait)
        if wait > 0 and message.status in PENDING:
            message = await self._after_verdict(message, wait)
        if message.status in PENDING:  # "QUEUED" is what the answer to a send says until there is a verdict
            message = replace(message, status="QUEUED")
        headers = {REQUEST_ID: shown}
        if applied:
            headers["Preference-Applied"] = applied
        if admitted.replayed:
            headers["Idempotency-Replayed"] = "true"
        return replies.partner_success(replies.message_data(message), replies.told(message.status), headers)

    async def _after_verdict(self, message: Message, wait: float) -> Message:
        verdict = await self._node.verdicts.wait(message.id, wait)
        try:
            # Not behind other partners' lists: whoever waits for this may send again.
            found = await self._node.database.read(lambda conn: messages.get(conn, message.id)) or message
        except StoreUnavailableError:
            return message  # it is accepted, and that is what an answer must never deny
        # A receipt may be quicker than this answer. What was waited for is the verdict: SENT, as the document has it.
        was_sent = found.status in POSITIVE_ENDS and verdict in ("SENT", *POSITIVE_ENDS)
        return replace(found, status="SENT") if was_sent else found

    # ---- reading

    async def show(self, request: web.Request, message_id: str) -> Answer:
        """One message of the caller's own, with its timeline."""
        caller = await self._caller(request)
        if not is_id("msg", message_id):
            raise MessageNotFound
        found = await self._node.read(lambda conn: history.find(conn, message_id, caller.app_id))
        if found is None:
            raise MessageNotFound
        data = replies.message_details(found[0])
        data["timeline"] = [_entry(item) for item in found[1]]
        return replies.partner_success(data)

    async def list(self, request: web.Request) -> Answer:
        """A page of the caller's messages, newest first."""
        caller = await self._caller(request)
        page, limit = _pagination(request)
        wanted = _filter(request, caller)
        found, total = await self._node.read(lambda conn: messages.page(conn, wanted, (page - 1) * limit, limit))
        pages = -(-total // limit)
        return replies.partner_success(
            {
                "messages": [replies.message_details(item) for item in found],
                "pagination": {"page": page, "limit": limit, "total": total, "totalPages": pages},
            }
        )

    async def balance(self, request: web.Request) -> Answer:
        """The organization's money: `available` may be spent, `held` is set aside for messages under way."""
        caller = await self._caller(request)
        found = await self._node.read(lambda conn: ledger.balance_of(conn, caller.org_id))
        assert found is not None
        return replies.partner_success(
            {
                "balance": replies.amount(found.available + found.held),
                "held": replies.amount(found.held),
                "available": replies.amount(found.available),
                "creditLimit": replies.amount(found.credit_limit),
                "spendable": replies.amount(found.spendable),
                "currency": found.currency,
            }
        )

    async def _caller(self, request: web.Request) -> Principal:
        return await self._node.desk.authenticate(request.headers.get("x-api-key"))


def _entry(item: Evidence) -> dict[str, object]:
    entry: dict[str, object] = {"at": iso(item.at), "event": item.kind, "by": item.source, "step": item.step_no}
    if item.attempt:
        entry["attempt"] = item.attempt
    if item.code is not None:
        entry["code"] = item.code
    if item.data.get("detail"):
        entry["detail"] = item.data["detail"]
    return entry


def _pagination(request: web.Request) -> tuple[int, int]:
    given = request.query.get("page", "1"), request.query.get("limit", "20")
    if not all(_NUMBER.fullmatch(text) for text in given):
        raise InvalidPagination
    page, limit = map(int, given)
    if not (1 <= page <= MAX_PAGE and 1 <= limit <= MAX_LIMIT):
        raise InvalidPagination
    return page, limit


def _filter(request: web.Request, caller: Principal) -> Filter:
    known = {"page", "limit", "channel", "status", "to", "recipient", "since", "until"}
    if set(request.query) - known:
        raise ValidationFailed(f"query: filters are {', '.join(sorted(known))}")
    if len(set(request.query)) < len(request.query):
        raise ValidationFailed("query: each filter may be given once")
    status = request.query.get("status")
    if status is not None and status.upper() not in STATUSES:
        raise ValidationFailed(f"status: must be one of {', '.join(sorted(STATUSES))}")
    channel = request.query.get("channel")
    if {"to", "recipient"} <= set(request.query):
        raise ValidationFailed("query: to and recipient are one filter; write one of them")
    recipient = request.query.get("to", request.query.get("recipient"))
    if "\x00" in f"{channel}{recipient}":
        raise ValidationFailed("query: filters must not hold the NUL character")
    if recipient is not None and recipient.startswith(" "):
        recipient = f"+{recipient[1:]}"  # a plus sign that was not percent-encoded
    return Filter(
        app_id=caller.app_id,
        channel=channel.upper() if channel is not None else None,
        status=status.upper() if status is not None else None,
        recipient=recipient,
        since=_moment(request, "since"),
        until=_moment(request, "until"),
    )


def _moment(request: web.Request, name: str) -> int | None:
    value = request.query.get(name)
    if value is None:
        return None
    date, _, time = value.partition("T")
    if time:
        value = f"{date}T{time.replace(' ', '+')}"  # a plus sign that was not percent-encoded
    try:
        moment = datetime.fromisoformat(value)
        return from_datetime(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise ValidationFailed(f"{name}: must be a date and time such as 2026-11-22T09:30:00Z") from error
