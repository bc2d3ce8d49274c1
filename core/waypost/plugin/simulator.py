"""The frame of a provider's simulator: an aiohttp application that speaks the provider's wire format.

A plugin subclasses `Simulator`, adds the provider's routes, maps magic recipients to outcomes and signs its webhooks
as the provider does. The frame keeps the journal, delivers webhooks (late, twice, out of order) and misbehaves on
request: hang, drop the connection after accepting, answer garbage.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web

from waypost.plugin.types import WebhookRequest


class Outcome(enum.StrEnum):
    """What a magic recipient makes the provider do. Any other recipient is DELIVERED."""

    ACCEPTED = "accepted"  # accepted, and never heard of again
    SENT = "sent"  # accepted, a sent receipt, nothing more
    DELIVERED = "delivered"
    READ = "read"
    UNDELIVERED = "undelivered"  # accepted, then an undelivered receipt
    FAILED = "failed"  # accepted, then a failed receipt
    INVALID_RECIPIENT = "invalid_recipient"
    OPTED_OUT = "opted_out"
    CONTENT_REJECTED = "content_rejected"
    OUTSIDE_WINDOW = "outside_window"
    MISCONFIGURED = "misconfigured"
    ACCOUNT_BLOCKED = "account_blocked"
    RATE_LIMITED = "rate_limited"
    RATE_LIMITED_ONCE = "rate_limited_once"  # refused the first time, delivered the second
    UNAVAILABLE = "unavailable"  # 5xx, and not accepted
    HANG = "hang"  # reads the request and never answers; not accepted
    ACCEPT_THEN_DROP = "accept_then_drop"  # accepted and delivered, but the connection breaks before the answer
    GARBAGE = "garbage"  # answers 2xx with nonsense
    DUPLICATE_RECEIPTS = "duplicate_receipts"
    REORDERED_RECEIPTS = "reordered_receipts"
    LATE_RECEIPTS = "late_receipts"  # held back until `release_late_receipts`
    EARLY_RECEIPTS = "early_receipts"  # receipts arrive before the answer to the send


#: The outcomes whose send the provider accepts, so that a message exists there.
ACCEPTING = frozenset(
    {
        Outcome.ACCEPTED,
        Outcome.SENT,
        Outcome.DELIVERED,
        Outcome.READ,
        Outcome.UNDELIVERED,
        Outcome.FAILED,
        Outcome.RATE_LIMITED_ONCE,
        Outcome.ACCEPT_THEN_DROP,
        Outcome.DUPLICATE_RECEIPTS,
        Outcome.REORDERED_RECEIPTS,
        Outcome.LATE_RECEIPTS,
        Outcome.EARLY_RECEIPTS,
    }
)

_RECEIPTS: dict[Outcome, tuple[str, ...]] = {
    Outcome.ACCEPTED: (),
    Outcome.SENT: ("sent",),
    Outcome.READ: ("sent", "delivered", "read"),
    Outcome.UNDELIVERED: ("sent", "undelivered"),
    Outcome.FAILED: ("failed",),
    Outcome.DUPLICATE_RECEIPTS: ("sent", "sent", "delivered", "delivered"),
    Outcome.REORDERED_RECEIPTS: ("delivered", "sent"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """A message-creating request as the provider saw it, told apart from everything the gateway believes."""

    recipient: str
    correlation: str | None
    provider_id: str | None
    accepted: bool
    outcome: Outcome
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class _Delivery:
    request: WebhookRequest
    attempts: int = 0


class Simulator:
    """A provider on loopback. Subclasses fill `magic`, `routes`, `account_settings` and `address_of`.

    `webhook_url` is where webhooks go when the send itself does not say; `inbound_url` where inbound messages go
    (the same, unless set). `delay` is the pause in seconds before each receipt. All that it accepted or refused is in
    `journal`. `errors` holds every webhook that could not be delivered.
    """

    #: Recipient → outcome, for this provider's kind of address.
    magic: Mapping[str, Outcome] = {}
    #: An ordinary recipient, who gets everything delivered.
    ordinary_recipient: str = ""
    webhook_retries = 3

    def __init__(self) -> None:
        self.base_url = ""
        self.webhook_url = ""
        self.inbound_url = ""
        self.delay = 0.0
        self.hang_seconds = 600.0
        self.journal: list[JournalEntry] = []
        self.errors: list[str] = []
        self.random = random.Random(1)  # noqa: S311 - a seed, not a secret
        self._refused_once: set[str] = set()
        self._late: list[_Delivery] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    # ---- what a subclass gives

    def routes(self) -> Sequence[web.RouteDef]:
        """The provider's endpoints."""
        raise NotImplementedError(f"{type(self).__name__}.routes must return the provider's endpoints")

    def account_settings(self) -> dict[str, Any]:
        """Account settings for a gateway that speaks to this simulator; needs `base_url`."""
        raise NotImplementedError(f"{type(self).__name__}.account_settings must return the gateway's settings")

    def provider_app_settings(self) -> dict[str, Any]:
        """Provider-app settings that go with them."""
        return {}

    def senders(self) -> list[str]:
        """The senders of that account."""
        return []

    def inbound(self, text: str, sender: str | None = None) -> WebhookRequest:
        """A signed delivery of an inbound text message, as the provider would send it to `inbound_url`."""
        raise NotImplementedError(f"{type(self).__name__}.inbound must build a signed inbound message")

    # ---- what the frame does

    def app(self) -> web.Application:
        """The provider as an aiohttp application."""
        application = web.Application(client_max_size=64 << 20)
        application.add_routes(list(self.routes()))
        application.on_cleanup.append(self._cleanup)
        return application

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen on loopback and return the base URL."""
        self._runner = web.AppRunner(self.app(), access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        bound = self._runner.addresses[0][1]
        self.base_url = f"http://{host}:{bound}"
        return self.base_url

    async def stop(self) -> None:
        """Stop listening and drop what is still to be delivered."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def settle(self) -> None:
        """Wait until every webhook on its way has been delivered or given up."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def outcome_of(self, recipient: str) -> Outcome:
        """What this recipient makes the provider do this time."""
        outcome = self.magic.get(recipient, Outcome.DELIVERED)
        if outcome is Outcome.RATE_LIMITED_ONCE:
            if recipient in self._refused_once:
                return Outcome.DELIVERED
            self._refused_once.add(recipient)
            return Outcome.RATE_LIMITED
        return outcome

    def record(
        self,
        recipient: str,
        outcome: Outcome,
        *,
        provider_id: str | None,
        correlation: str | None = None,
        fields: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a message-creating request into the journal."""
        self.journal.append(
            JournalEntry(
                recipient=recipient,
                correlation=correlation,
                provider_id=provider_id,
                accepted=outcome in ACCEPTING,
                outcome=outcome,
                fields=dict(fields or {}),
            )
        )

    def receipts_for(self, outcome: Outcome) -> tuple[str, ...]:
        """The receipts an accepted message of this outcome gets, in the order of their delivery."""
        return _RECEIPTS.get(outcome, ("sent", "delivered"))

    def deliver(self, *requests: WebhookRequest, outcome: Outcome = Outcome.DELIVERED) -> None:
        """Send webhooks in this order, each after `delay`; hold them back for LATE_RECEIPTS."""
        deliveries = [_Delivery(request) for request in requests]
        if outcome is Outcome.LATE_RECEIPTS:
            self._late.extend(deliveries)
            return
        self._spawn(deliveries)

    async def deliver_now(self, *requests: WebhookRequest) -> None:
        """Send webhooks in this order and wait for the answers."""
        await self._deliver_all([_Delivery(request) for request in requests], delay=0.0)

    def release_late_receipts(self) -> None:
        """Let the held-back webhooks go."""
        deliveries, self._late = self._late, []
        self._spawn(deliveries)

    async def misbehave(self, request: web.Request, outcome: Outcome) -> web.StreamResponse | None:
        """Play the faults of the transport: HANG, ACCEPT_THEN_DROP and GARBAGE; None for any other outcome."""
        if outcome is Outcome.HANG:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(self.hang_seconds)
        if outcome in (Outcome.HANG, Outcome.ACCEPT_THEN_DROP):
            if request.transport is not None:
                request.transport.close()
            return web.Response(status=500)
        if outcome is Outcome.GARBAGE:
            return web.Response(status=200, body=b"\x00<html>nonsense", content_type="text/html")
        return None

    # ---- delivery

    def _spawn(self, deliveries: list[_Delivery]) -> None:
        if deliveries:
            task = asyncio.get_running_loop().create_task(self._deliver_all(deliveries, self.delay))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver_all(self, deliveries: Sequence[_Delivery], delay: float) -> None:
        for delivery in deliveries:
            if delay:
                await asyncio.sleep(delay)
            await self._deliver(delivery)

    async def _deliver(self, delivery: _Delivery) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trust_env=False)
        request = delivery.request
        problem = ""
        for attempt in range(self.webhook_retries + 1):
            if attempt:
                await asyncio.sleep(0.05 * 2**attempt)
            try:
                async with self._session.request(
                    request.method,
                    request.url,
                    data=request.body or None,
                    headers=list(request.headers),
                    timeout=aiohttp.ClientTimeout(total=15),
                    allow_redirects=False,
                ) as response:
                    await response.read()
                    if response.status < 300:
                        return
                    problem = f"{request.method} webhook answered {response.status}"
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = f"{request.method} webhook failed: {type(error).__name__}"
        self.errors.append(problem)

    async def _cleanup(self, _: web.Application) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None
