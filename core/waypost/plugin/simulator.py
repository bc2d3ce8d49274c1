"""What every simulator of a provider has: its account's settings, magic recipients and their outcomes, a journal.

A provider that is reached by HTTP is a `WebSimulator` (`waypost.plugin.web_simulator`). One with a transport of its own
(SMPP, a line protocol) subclasses `Simulator` itself, and starts, stops and speaks as that provider does.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any


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

_RECEIPTS: Mapping[Outcome, tuple[str, ...]] = {
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


class Simulator(abc.ABC):
    """A provider with one account. Subclasses fill `magic` and `ordinary_recipient`, and give what is abstract below.

    `base_url` is where it is reached once it was started. All that it accepted or refused is in `journal`. `errors`
    holds whatever it could not tell the gateway.
    """

    #: Recipient → outcome, for this provider's kind of address.
    magic: Mapping[str, Outcome] = MappingProxyType({})
    #: An ordinary recipient, who gets everything delivered.
    ordinary_recipient: str = ""

    def __init__(self) -> None:
        self.base_url = ""
        self.journal: list[JournalEntry] = []
        self.errors: list[str] = []
        self._refused_once: set[str] = set()

    # ---- what a subclass gives

    @abc.abstractmethod
    def account_settings(self) -> dict[str, Any]:
        """Account settings for a gateway that speaks to this simulator; needs `base_url`."""

    def provider_app_settings(self) -> dict[str, Any]:
        """Provider-app settings that go with them."""
        return {}

    def senders(self) -> list[str]:
        """The senders of that account."""
        return []

    @abc.abstractmethod
    async def start(self, host: str = "127.0.0.1", port: int = 0) -> str:
        """Listen on loopback and return the base URL."""

    @abc.abstractmethod
    async def stop(self) -> None:
        """Stop listening and drop what is still to be told."""

    async def settle(self) -> None:  # noqa: B027 - one that tells nothing by itself has nothing on its way
        """Wait until all that is on its way to the gateway has arrived or was given up."""

    async def write(self, text: str, sender: str | None = None) -> None:
        """Have somebody write this to the account; the ordinary recipient, unless said otherwise.

        Raises `NotImplementedError` where nobody can write to this provider's accounts, as this does.
        """
        raise NotImplementedError(f"nobody can write to {type(self).__name__}")

    # ---- what the frame does

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
