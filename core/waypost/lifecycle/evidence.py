"""Evidence: one thing that happened to one step of a message, whoever said so."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal[
    "queued",  # the step waits for its turn
    "sending",  # an attempt began: from here on it may have been sent
    "not_sent",  # that attempt certainly was not sent; the step may be tried again
    "unknown",  # that attempt's outcome is unknown
    "sent",  # the provider accepted it
    "delivered",
    "read",
    "undelivered",  # accepted, then refused by the carrier or the recipient's side
    "failed",  # refused for good, by the provider or by us
    "expired",  # our decision: its deadline passed unsent
    "canceled",  # our decision, or the partner's
    "window_closed",  # our decision: no further receipt is waited for
]
Source = Literal["core", "provider", "lookup", "operator", "partner"]


@dataclass(slots=True)
class Evidence:
    """One event of a message, with the key that makes it itself. Times are microseconds UTC.

    `key` is unique within the message: the same fact told twice is one event. `data` goes into the timeline and never
    holds an address or content.
    """

    message_id: str
    key: str
    step_no: int
    attempt: int
    kind: Kind
    source: Source
    at: int
    gateway_id: str | None = None
    occurred_at: int | None = None
    code: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def core_key(step_no: int, attempt: int, kind: Kind) -> str:
    """The key of an event of our own: each happens once per attempt."""
    return f"{step_no}.{attempt}.{kind}"
