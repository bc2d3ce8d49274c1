"""A candidate: everything about a message that was worked out before the database is asked to admit it."""

from __future__ import annotations

from dataclasses import dataclass

from waypost.access import Principal
from waypost.credit import Move
from waypost.refusals import Refusal
from waypost.store.messages import Message
from waypost.store.steps import Step


@dataclass(slots=True, kw_only=True)
class Candidate:
    """A routed and priced message with its rows, ready to be written."""

    principal: Principal
    message: Message
    steps: list[Step]
    holds: list[Move]
    idempotency_key: str | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Admitted:
    """The message is durable."""

    message: Message
    #: The same idempotency key admitted this message earlier; nothing was written now.
    replayed: bool = False


Verdict = Admitted | Refusal
