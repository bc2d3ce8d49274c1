"""Progress: the one place where evidence changes a message, its steps and its money.

Whoever learns something (the outbox of a send, the inbox of a receipt, the sweeper of a deadline, an operator) reports
it here. Under the message's lock the events are stored once, the status is folded anew from all of them, and whatever
follows is done in the same transaction: settle, correct, queue again, start or cancel a fallback.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

from waypost import credit
from waypost.credit import Move
from waypost.lifecycle.evidence import Evidence, Kind, core_key
from waypost.lifecycle.settlement import charge, is_settled
from waypost.lifecycle.status import (
    NEGATIVE_ENDS,
    Status,
    StepStatus,
    after_receipts,
    message_status,
    reached,
    step_status,
)
from waypost.plugin.types import LastReceipt
from waypost.store import events, ledger, messages, steps
from waypost.store.bulk import Insertion
from waypost.store.messages import Outcome
from waypost.store.steps import Choice, Step, load_choices

#: How often a step is sent in all, where its app wishes to resend after an unknown outcome.
MOST_SENDS = 3


@dataclass(frozen=True, slots=True)
class Retry:
    """How a step that was not sent goes on: when, by which of its choices, after how many tries of that choice."""

    due_at: int
    choice: int
    tries: int


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


@dataclass(slots=True)
class Change:
    """What became of a message: for those who wait for it, and for the lanes that have new work."""

    message_id: str
    app_id: str
    before: str
    after: str
    settled: bool = False
    queued_on: list[str] = field(default_factory=list)
    uncollected: int = 0


@dataclass(slots=True)
class _Case:
    """One message while it is worked on."""

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

    def status_of(self, step: Step) -> StepStatus:
        known = self.folded.get(step.step_no)
        if known is not None and known[0] == len(self.evidence):
            return known[1]
        status = step_status(item for item in self.evidence if item.step_no == step.step_no)
        self.folded[step.step_no] = (len(self.evidence), status)
        return status


def report(
    conn: Connection,
    reports: Sequence[Report],
    rules: Rules,
    now: int,
    *,
    touch: Iterable[str] = (),
    beside: Sequence[Insertion] = (),
) -> list[Change]:
    """Store the evidence that is new and let everything follow from it. Unknown messages are passed over.

    `touch` names messages to be looked at even without new evidence, because time has passed; `beside` is what is to be
    stored with it in any case.
    """
    touched = set(touch)
    locked = messages.lock_many(conn, {item.evidence.message_id for item in reports} | touched)
    known = [item for item in reports if item.evidence.message_id in locked]
    told: dict[str, list[Report]] = {message_id: [] for message_id in sorted(touched & locked.keys())}
    for item in known:
        told.setdefault(item.evidence.message_id, []).append(item)
    stored = steps.of_messages(conn, told) if told else {}
    cases = [_case(locked[message_id], stored[message_id], about) for message_id, about in told.items()]
    unclear = [case for case in cases if case.message.id in touched or not _receipted(case)]
    history = events.of_messages(conn, [case.message.id for case in unclear]) if unclear else {}
    for case in unclear:
        _recall(case, history.get(case.message.id, []))
    refs = [
        (item.evidence.gateway_id or "", provider_id, _ref(item.evidence))
        for item in known
        for provider_id in item.provider_ids
    ]
    beside = [
        *beside,
        events.insertion([item.evidence for item in known], if_new=True),
        events.refs_insertion(refs),
    ]
    return _work(conn, [case for case in cases if case.news or case.message.id in touched], rules, now, beside)


def _case(message: Outcome, stored: list[Step], told: Sequence[Report]) -> _Case:
    return _Case(
        message,
        stored,
        [],
        {(item.evidence.step_no, item.evidence.attempt): item.retry for item in told if item.retry is not None},
        Change(message.id, message.app_id, message.status, message.status),
        stored=[steps.changing(step) for step in stored],
        news={item.evidence.key: item.evidence for item in told},
    )


def _receipted(case: _Case) -> bool:
    """Whether the step's status after the news is clear without a look at its history; then it is noted.

    Nearly every receipt is of this kind: another proof for the one attempt of a message's one step. It is new where it
    brings the step further: evidence of its kind that was stored before would have done so then.
    """
    if len(case.steps) != 1 or case.message.contradictory or case.message.possible_duplicate:
        return False
    step, news = case.steps[0], case.news.values()
    if step.attempt != 1 or any(item.step_no != step.step_no or item.attempt != 1 for item in news):
        return False
    if step.status == "SENT" and step.settled_at is not None:
        return False  # it had ended otherwise, or its window has closed
    status = after_receipts(step.status, [item.kind for item in news])
    if status is None:
        return False
    if status == step.status:
        case.news = {}  # stored if it is new, and nothing follows from it
    else:
        decisive = min((item for item in news if item.kind == status.lower()), key=lambda item: item.key)
        case.evidence = list(news)
        case.folded[step.step_no] = len(case.evidence), StepStatus(status, decisive)
    return True


def _recall(case: _Case, history: list[Evidence]) -> None:
    """Put what is really new of the news beside what is known of the message."""
    keys = {item.key for item in history}
    case.news = {key: item for key, item in case.news.items() if key not in keys}
    retried = {(item.step_no, item.attempt) for item in case.news.values()}
    case.retries = {attempt: retry for attempt, retry in case.retries.items() if attempt in retried}
    case.evidence = [*history, *case.news.values()]


def _work(
    conn: Connection, cases: Sequence[_Case], rules: Rules, now: int, beside: Sequence[Insertion]
) -> list[Change]:
    added: list[Evidence] = []
    for case in cases:
        # Starting or canceling a fallback adds evidence, which may start or cancel the next one.
        while more := _advance(case, rules, now):
            case.evidence.extend(more)
            added.extend(more)
    balances = ledger.lock_balances(conn, {case.message.org_id for case in cases if _may_move(case, rules)})
    moves: list[Move] = []
    saved: list[Outcome] = []
    spendable = {org_id: balance.spendable for org_id, balance in balances.items()}
    for case in cases:
        for step in case.steps:
            _settle(case, step, rules, spendable, now)
        moves.extend(case.moves)
        outcome = _projected(case, now)
        if outcome != case.message:
            saved.append(outcome)
    changed = [
        step
        for case in cases
        for step, stored in zip(case.steps, case.stored, strict=True)
        if steps.changing(step) != stored
    ]
    ledger.post(
        conn,
        moves,
        balances,
        beside=[*beside, events.insertion(added)],
        updates=[steps.saving(changed), messages.saving(saved, now)],
    )
    return [case.change for case in cases]


# ---- the queue


def _advance(case: _Case, rules: Rules, now: int) -> list[Evidence]:
    """Bring every step's queue state in line with its status; return evidence of our own that follows."""
    follow: list[Evidence] = []
    earlier: tuple[Step, StepStatus] | None = None
    for step in case.steps:
        if step.state == "waiting":
            if earlier is None:
                continue
            decision = _fallback_due(case, step, *earlier, rules, now)
            if decision is not None:
                follow.append(_own(step, decision, now, code="NOT_NEEDED" if decision == "canceled" else None))
                _start(case, step, decision)
            break
        status = case.status_of(step)
        _follow_status(case, step, status, rules, now)
        if status.status == "QUEUED" and step.state == "ended":
            # It was given up as unknown, its credit is released, and only then was it found never to have been sent.
            follow.append(_own(step, "expired", now, code="EXPIRED"))
        earlier = (step, status)
    return follow


def _follow_status(case: _Case, step: Step, status: StepStatus, rules: Rules, now: int) -> None:
    step.status = status.status
    followed = status.status == "SENT" or (status.status == "DELIVERED" and _waited_for(case, step))
    if followed or status.status == "UNKNOWN":
        gateway_id = (status.decided_by.gateway_id if status.decided_by else None) or step.gateway_id
        if step.window_until is None:
            step.window_until = now + rules.receipt_window(gateway_id)
    if followed:
        step.state, step.owner = "sent", None
        step.wake_at = None if status.window_closed else step.window_until
    elif status.status == "UNKNOWN":
        _unknown(case, step, status, rules, now)
    elif status.status == "QUEUED":
        retry = case.retries.get((step.step_no, step.attempt))
        if step.state in ("sending", "unknown") or (step.state == "claimed" and retry is not None):
            _queue_again(case, step, retry, now)
    elif status.status != "SENDING":
        step.state, step.owner, step.wake_at = "ended", None, None


def _unknown(case: _Case, step: Step, status: StepStatus, rules: Rules, now: int) -> None:
    """Some attempt may have been sent. What is done depends on the latest attempt, which may be a later one."""
    latest = {item.kind for item in case.evidence if item.step_no == step.step_no and item.attempt == step.attempt}
    retry = case.retries.get((step.step_no, step.attempt))
    if step.state in ("queued", "claimed") or latest == {"sending"}:
        return  # a resend is on its way already
    assert step.window_until is not None
    if status.window_closed:
        step.state, step.owner, step.wake_at = "ended", None, None
        return
    if retry is not None and step.state == "sending":
        _queue_again(case, step, retry, now)
        return
    if step.state == "sending":
        step.state, step.owner = "unknown", None
        step.due_at = now
        if rules.on_unknown(case.message.app_id) == "resend" and step.attempt < MOST_SENDS:
            _queue_again(case, step, None, now)
            return
    step.wake_at = min(step.window_until, step.due_at)


def _queue_again(case: _Case, step: Step, retry: Retry | None, now: int) -> None:
    step.state, step.owner, step.status = "queued", None, "QUEUED"
    step.wake_at = step.deadline
    if retry is None:
        step.due_at = now
    else:
        choices = load_choices(step.choices)
        step.due_at, step.choice, step.tries = retry.due_at, retry.choice, retry.tries
        step.gateway_id = choices[retry.choice].gateway_id
    case.change.queued_on.append(step.gateway_id)


# ---- fallback


def _waited_for(case: _Case, step: Step) -> bool:
    """Whether the next step waits for this one to be read, so that being delivered is not its end."""
    return any(
        other.step_no == step.step_no + 1 and other.state == "waiting" and other.until == "read" for other in case.steps
    )


def _fallback_due(case: _Case, step: Step, before: Step, status: StepStatus, rules: Rules, now: int) -> Kind | None:
    """What to do with a waiting step: start it (`queued`), drop it (`canceled`), or nothing yet."""
    if status.status in NEGATIVE_ENDS:
        abandoned = status.status == "CANCELED" or now >= step.deadline
        return "canceled" if abandoned else "queued"
    if reached(status.status, step.until):
        return "canceled"
    if status.status == "UNKNOWN":
        return "queued" if rules.on_unknown(case.message.app_id) == "fallback" else None
    if status.window_closed:
        return "canceled"
    if step.after is not None and status.status in ("SENT", "DELIVERED"):
        proof = ("sent", "delivered")
        sent_at = min(item.at for item in case.evidence if item.step_no == before.step_no and item.kind in proof)
        if now >= sent_at + step.after:
            return "queued"
        before.wake_at = min(before.wake_at or step.deadline, sent_at + step.after)
    return None


def _start(case: _Case, step: Step, decision: Kind) -> None:
    if decision == "canceled":
        step.state, step.wake_at = "ended", None
        return
    step.state, step.wake_at = "queued", step.deadline
    case.change.queued_on.append(step.gateway_id)


def _own(step: Step, kind: Kind, now: int, *, code: str | None = None) -> Evidence:
    return Evidence(
        message_id=step.message_id,
        key=core_key(step.step_no, 0, kind),
        step_no=step.step_no,
        attempt=0,
        kind=kind,
        source="core",
        gateway_id=step.gateway_id,
        at=now,
        code=code,
    )


# ---- the money


def _may_move(case: _Case, rules: Rules) -> bool:
    return any(
        step.settled_at is not None or is_settled(case.status_of(step), _last_receipt(case, step, rules))
        for step in case.steps
        if step.state != "waiting"
    )


def _last_receipt(case: _Case, step: Step, rules: Rules) -> LastReceipt:
    decided = case.status_of(step).decided_by
    return rules.last_receipt((decided.gateway_id if decided else None) or step.gateway_id)


def _settle(case: _Case, step: Step, rules: Rules, spendable: dict[str, int], now: int) -> None:
    if step.state == "waiting":
        return
    status = case.status_of(step)
    org_id = case.message.org_id
    owed = charge(status, _charged_choice(step, status).lines) if case.message.mode == "live" else 0
    if step.settled_at is None:
        if not is_settled(status, _last_receipt(case, step, rules)):
            return
        settlement = credit.settle(org_id, step.message_id, step.step_no, held=step.held, owed=owed, at=now)
        step.settled_at = now
        # A settled step is woken only for the fallback that may still follow it.
        if step.state == "sent" and not any(other.state == "waiting" for other in case.steps):
            step.wake_at = None
    else:
        settlement = credit.correct(
            org_id, step.message_id, step.step_no, held=step.held, captured=step.captured, owed=owed, at=now
        )
        late = sum(entry.amount for entry in settlement.moves if entry.kind == "late_capture")
        if late > spendable.get(org_id, 0):
            case.change.uncollected += late
            return
        spendable[org_id] = spendable.get(org_id, 0) - late
    step.captured = settlement.captured
    case.moves.extend(settlement.moves)


def _charged_choice(step: Step, status: StepStatus) -> Choice:
    choices = load_choices(step.choices)
    if status.decided_by is not None:
        for choice in choices:
            if choice.gateway_id == status.decided_by.gateway_id:
                return choice
    return choices[step.choice]


# ---- the message


def _projected(case: _Case, now: int) -> Outcome:
    before = case.message
    folded = {step.step_no: case.status_of(step) for step in case.steps if step.state != "waiting"}
    waiting = any(step.state == "waiting" for step in case.steps)
    needed: dict[int, Status] = {
        number: status.status for number, status in folded.items() if status.error_code != "NOT_NEEDED"
    }
    status, decisive = message_status(needed, waiting=waiting)
    settled = all(step.settled_at is not None for step in case.steps)
    case.change.after = status
    case.change.settled = settled and before.settled_at is None
    code = folded[decisive].error_code if status in NEGATIVE_ENDS else None
    decided = folded[decisive].decided_by
    return Outcome(
        before.id,
        before.org_id,
        before.app_id,
        before.mode,
        status=status,
        captured=sum(step.captured for step in case.steps),
        settled_at=(before.settled_at or now) if settled else None,
        error_code=code,
        error_detail=(decided.data.get("detail") if code and decided else None),
        contradictory=any(item.contradictory for item in folded.values()),
        possible_duplicate=any(item.possible_duplicate for item in folded.values()),
    )


def _ref(evidence: Evidence) -> events.AttemptRef:
    return events.AttemptRef(evidence.message_id, evidence.step_no, evidence.attempt)
