"""Progress: the one place where evidence changes a message, its steps and its money.

Whoever learns something (the outbox of a send, the inbox of a receipt, the sweeper of a deadline, an operator) reports
it here. Under the message's lock the events are stored once, the status is folded anew from all of them, and whatever
follows is done in the same transaction: settle, correct, queue again, start or cancel a fallback.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sqlalchemy import Connection

from waypost.credit import Move
from waypost.lifecycle.evidence import Evidence
from waypost.lifecycle.status import NEGATIVE_ENDS, Status, message_status
from waypost.progress.case import LEFT_OUT, Case, Change, Report, Rules
from waypost.progress.queue import advance
from waypost.progress.settling import may_move, settle
from waypost.store import events, ledger, messages, steps
from waypost.store.bulk import Insertion
from waypost.store.events import AttemptRef
from waypost.store.messages import Outcome
from waypost.store.steps import Step


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
    ids = {item.evidence.message_id for item in reports} | touched
    locked = messages.lock_many(conn, ids) if ids else {}
    known = [item for item in reports if item.evidence.message_id in locked]
    told: dict[str, list[Report]] = {message_id: [] for message_id in sorted(touched & locked.keys())}
    for item in known:
        told.setdefault(item.evidence.message_id, []).append(item)
    stored = steps.of_messages(conn, told) if told else {}
    cases = [Case.of(locked[message_id], stored[message_id], about) for message_id, about in told.items()]
    unclear = [case for case in cases if case.message.id in touched or not case.is_clear()]
    history = events.of_messages(conn, [case.message.id for case in unclear]) if unclear else {}
    for case in unclear:
        case.recall(history.get(case.message.id, []))
    refs = [
        (item.evidence.gateway_id or "", provider_id, AttemptRef.of(item.evidence))
        for item in known
        for provider_id in item.provider_ids
    ]
    beside = [
        *beside,
        events.insertion([item.evidence for item in known], if_new=True),
        events.refs_insertion(refs),
    ]
    return _work(conn, [case for case in cases if case.news or case.message.id in touched], rules, now, beside)


def _work(conn: Connection, cases: Sequence[Case], rules: Rules, now: int, beside: Sequence[Insertion]) -> list[Change]:
    added: list[Evidence] = []
    for case in cases:
        # Starting or canceling a fallback adds evidence, which may start or cancel the next one.
        while more := advance(case, rules, now):
            case.evidence.extend(more)
            added.extend(more)
    balances = ledger.lock_balances(conn, {case.message.org_id for case in cases if may_move(case, rules)})
    moves: list[Move] = []
    saved: list[Outcome] = []
    spendable = {org_id: balance.spendable for org_id, balance in balances.items()}
    # First what is open: what it sets free may be charged for what came late of a step that was closed.
    for case, step in sorted(_steps_of(cases), key=lambda pair: pair[1].settled_at is not None):
        settle(case, step, rules, spendable, now)
    for case in cases:
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


def _steps_of(cases: Iterable[Case]) -> Iterator[tuple[Case, Step]]:
    return ((case, step) for case in cases for step in case.steps)


def _projected(case: Case, now: int) -> Outcome:
    before = case.message
    folded = {step.step_no: case.status_of(step) for step in case.steps if step.state != "waiting"}
    waiting = any(step.state == "waiting" for step in case.steps)
    needed: dict[int, Status] = {
        number: status.status for number, status in folded.items() if status.error_code not in LEFT_OUT
    }
    unknown = [number for number in needed if folded[number].error_code == "OUTCOME_UNKNOWN"]
    status, decisive = message_status(needed, waiting=waiting, unknown=unknown)
    settled = all(step.settled_at is not None for step in case.steps)
    case.change.after = status
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
