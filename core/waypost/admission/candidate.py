"""A candidate: everything about a message that was worked out before the database is asked to admit it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from waypost.refusals import Refusal
from waypost.store.admissions import Row
from waypost.store.messages import Message


@dataclass(slots=True)
class Candidate:
    """A routed and priced message, and its steps as they will be stored."""

    message: Message
    #: Where its first step is queued.
    gateway_id: str
    rows: Sequence[Row]
    idempotency_key: str | None
    fingerprint: str


# Not frozen, as a message is not: a frozen one costs three times as much to make.
@dataclass(slots=True)
class Admitted:
    """The message is durable."""

    message: Message
    #: The same idempotency key admitted this message earlier; nothing was written now.
    replayed: bool = False


Verdict = Admitted | Refusal
