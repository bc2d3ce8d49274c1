"""The money of a step: closed once its status is settled, corrected by what comes later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from waypost import credit
from waypost.lifecycle.settlement import charge, is_settled
from waypost.lifecycle.status import StepStatus
from waypost.plugin.types import LastReceipt
from waypost.progress.case import Case, Rules
from waypost.store.steps import Choice, Step, load_choices


def may_move(case: Case, rules: Rules) -> bool:
    """Whether a step's money may have to move, so that the organization's balance must be locked."""
    return any(
        step.settled_at is not None or is_settled(case.status_of(step), _last_receipt(case, step, rules))
        for step in case.steps
        if step.state != "waiting"
    )


def _last_receipt(case: Case, step: Step, rules: Rules) -> LastReceipt:
    decided = case.status_of(step).decided_by
    return rules.last_receipt((decided.gateway_id if decided else None) or step.gateway_id)


def settle(case: Case, step: Step, rules: Rules, spendable: dict[str, int], now: int) -> None:
    """Close a step's hold, or correct what it was charged; `spendable` is what organizations can still be charged."""
    if step.state == "waiting":
        return
    status = case.status_of(step)
    org_id = case.message.org_id
    lines = _charged_choice(step, status).lines if case.message.mode == "live" else ()
    owed = charge(status, lines)
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
            if charge(replace(status, status=case.status_before(step)), lines) < owed:  # else it was told before
                case.change.uncollected += late
            return
    # What comes back here may be charged for what is corrected after it.
    spendable[org_id] = spendable.get(org_id, 0) + _gained(settlement.moves)
    step.captured = settlement.captured
    case.moves.extend(settlement.moves)


def _gained(moves: Sequence[credit.Move]) -> int:
    """By how much these moves make more available, in micros; less, where it is negative."""
    into = sum(entry.amount for entry in moves if entry.to_account == "available")
    return into - sum(entry.amount for entry in moves if entry.from_account == "available")


def _charged_choice(step: Step, status: StepStatus) -> Choice:
    choices = load_choices(step.choices)
    if status.decided_by is not None:
        for choice in choices:
            if choice.gateway_id == status.decided_by.gateway_id:
                return choice
    return choices[step.choice]
