"""A case: one message while it is worked on, and what those who report give and get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from waypost.credit import Move
from waypost.lifecycle.evidence import Evidence
from waypost.lifecycle.status import StepStatus, after_receipts, step_status
from waypost.plugin.types import LastReceipt
from waypost.store import steps
from waypost.store.messages import Outcome
from waypost.store.steps import Step

#: Why a step was left out: an earlier one did it; its time was over before it was due, or nobody ever heard of the one
#: that held it back; it was not known what had become of it, a later one was sent in its place, and only then was it
#: found never to have been sent; it was wished away before its turn had come.
NOT_NEEDED, TOO_LATE, SUPERSEDED, NOT_WANTED = "NOT_NEEDED", "TOO_LATE", "SUPERSEDED", "NOT_WANTED"
LEFT_OUT = frozenset({NOT_NEEDED, TOO_LATE, SUPERSEDED, NOT_WANTED})


@dataclass(frozen=True, slots=True)
class Retry:
    """How a step that was not sent goes on: when, by which of its choices, after how many tries of that choice."""

    due_at: int
    choice: int
    tries: int
    #: Its worker was never heard of again, which may be the message's own doing.
    has_vanished: bool = False
    #: Until when the provider would notice that it has had the message already; 0 where it would not.
    deduped_until: int = 0


@dataclass(slots=True)
class Report:
    """Evidence, with what the reporter wants done about it and what it learned beside it."""

    evidence: Evidence
    retry: Retry | None = None
    provider_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """What progress must know of gateways and apps: answered from memory, never from the transaction."""

    last_receipt: Callable[[str], LastReceipt]
    receipt_window: Callable[[str], int]
    #: hold, resend or fallback, by app.
    on_unknown: Callable[[str], str]
    #: Whether a gateway's provider tells of everything that was sent to somebody until a moment.
    has_watermarks: Callable[[str], bool]


@dataclass(slots=True)
class Change:
    """What became of a message: for those who wait for it, and for the lanes that have new work."""

    message_id: str
    app_id: str
    before: str
    after: str
    queued_on: list[str] = field(default_factory=list)
    uncollected: int = 0


@dataclass(slots=True)
class Case:
    """One message while it is worked on, under its lock."""

    message: Outcome
    steps: list[Step]
    evidence: list[Evidence]
    retries: dict[tuple[int, int], Retry]
    change: Change
    moves: list[Move] = field(default_factory=list)
    #: What of the steps is stored, to see what has changed.
    stored: list[tuple[Any, ...]] = field(default_factory=list)
    #: What the evidence came to when there was so much of it; evidence is only ever added.
    folded: dict[int, tuple[int, StepStatus]] = field(default_factory=dict)
    #: What was reported of it, by key.
    news: dict[str, Evidence] = field(default_factory=dict)

    @classmethod
    def of(cls, message: Outcome, stored: list[Step], told: Sequence[Report]) -> Case:
        """The case of a message with these steps, about which this was reported."""
        return cls(
            message,
            stored,
            [],
            {(item.evidence.step_no, item.evidence.attempt): item.retry for item in told if item.retry is not None},
            Change(message.id, message.app_id, message.status, message.status),
            stored=[steps.changing(step) for step in stored],
            news={item.evidence.key: item.evidence for item in told},
        )

    def is_clear(self) -> bool:
        """Whether the step's status after the news is clear without a look at its history; then it is noted.

        Nearly every receipt is of this kind: another proof for the one attempt of a message's one step. It is new where
        it brings the step further: evidence of its kind that was stored before would have done so then.
        """
        if len(self.steps) != 1 or self.message.contradictory or self.message.possible_duplicate:
            return False
        step, news = self.steps[0], self.news.values()
        if step.attempt != 1 or any(item.step_no != step.step_no or item.attempt != 1 for item in news):
            return False
        if step.status in ("SENDING", "SENT") and step.settled_at is not None:
            return False  # it had ended otherwise, or its window has closed
        status = after_receipts(step.status, [item.kind for item in news])
        if status is None:
            return False
        if status == step.status:
            self.news = {}  # stored if it is new, and nothing follows from it
        else:
            decisive = min((item for item in news if item.kind == status.lower()), key=lambda item: item.key)
            self.evidence = list(news)
            self.folded[step.step_no] = len(self.evidence), StepStatus(status, decisive)
        return True

    def recall(self, history: list[Evidence]) -> None:
        """Put what is really new of the news beside what is known of the message."""
        keys = {item.key for item in history}
        self.news = {key: item for key, item in self.news.items() if key not in keys}
        retried = {(item.step_no, item.attempt) for item in self.news.values()}
        self.retries = {attempt: retry for attempt, retry in self.retries.items() if attempt in retried}
        self.evidence = [*history, *self.news.values()]

    def status_before(self, step: Step) -> Any:
        """A step's status before the news, None where it had none yet."""
        return self.stored[self.steps.index(step)][steps.STATUS]

    def status_of(self, step: Step) -> StepStatus:
        """A step's status by all evidence."""
        known = self.folded.get(step.step_no)
        if known is not None and known[0] == len(self.evidence):
            return known[1]
        status = step_status(item for item in self.evidence if item.step_no == step.step_no)
        self.folded[step.step_no] = (len(self.evidence), status)
        return status
