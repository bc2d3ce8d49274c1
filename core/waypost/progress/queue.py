"""The queue: what a step's status means for its place in the queue, and for the fallback after it."""

from __future__ import annotations

from waypost.clock import SECOND
from waypost.lifecycle.evidence import Evidence, Kind, Source, core_key
from waypost.lifecycle.status import NEGATIVE_ENDS, StepStatus, reached
from waypost.progress.case import LEFT_OUT, NOT_NEEDED, SUPERSEDED, TOO_LATE, Case, Retry, Rules
from waypost.store.steps import Step, load_choices

#: How often a step is sent in all, where its app wishes to resend after an unknown outcome.
MOST_SENDS = 3
#: How long after an unknown outcome a provider is asked for it first: nobody's records are quicker than its answers.
FIRST_LOOKUP = 5 * SECOND


def advance(case: Case, rules: Rules, now: int) -> list[Evidence]:
    """Bring every step's queue state in line with its status; return evidence of our own that follows."""
    follow: list[Evidence] = []
    earlier: tuple[Step, StepStatus] | None = None
    for step in case.steps:
        if step.state == "waiting" and case.status_of(step).status != "CANCELED":
            if earlier is None:
                continue
            decision = _fallback_due(case, step, *earlier, rules, now)
            if decision is not None:
                code = _why_canceled(step, earlier[1]) if decision == "canceled" else None
                follow.append(own(step, decision, now, code=code))
                _start(case, step, decision)
            break
        status = case.status_of(step)
        _follow_status(case, step, status, rules, now)
        if status.status == "QUEUED" and step.state in ("queued", "claimed") and _is_needless(case, step):
            # Who has claimed it finds at the fence that it is gone.
            follow.append(own(step, "canceled", now, code=NOT_NEEDED))
            _start(case, step, "canceled")
            break
        if status.status == "QUEUED" and step.state == "ended":
            if _is_superseded(case, step):
                follow.append(own(step, "canceled", now, code=SUPERSEDED))
            else:
                # It was given up as unknown, its credit is released, and then it was found never to have been sent.
                follow.append(own(step, "expired", now, code="EXPIRED"))
        earlier = (step, status)
    return follow


def _follow_status(case: Case, step: Step, status: StepStatus, rules: Rules, now: int) -> None:
    step.status = status.status
    followed = status.status == "SENT" or (status.status == "DELIVERED" and _waited_for(case, step))
    if followed or status.status == "UNKNOWN":
        gateway_id = (status.decided_by.gateway_id if status.decided_by else None) or step.gateway_id
        # A later attempt is heard of as late as the first would have been.
        if step.window_until is None or step.state == "sending":
            step.window_until = now + rules.receipt_window(gateway_id)
    if followed:
        step.state, step.owner = "sent", None
        step.wake_at = None if status.window_closed else step.window_until
    elif status.status == "UNKNOWN":
        _unknown(case, step, rules, now)
    elif status.status == "QUEUED":
        step.window_until = None  # no attempt of it is out, so nothing is waited for
        retry = _retry(case, step)
        if _is_superseded(case, step):
            step.state, step.owner, step.wake_at = "ended", None, None
        elif step.state in ("sending", "unknown") or (step.state == "claimed" and retry is not None):
            _queue_again(case, step, retry, now)
    elif status.status != "SENDING":
        step.state, step.owner, step.wake_at = "ended", None, None


def _unknown(case: Case, step: Step, rules: Rules, now: int) -> None:
    """Some attempt may have been sent. What is done depends on the latest attempt, which may be a later one."""
    told = [item for item in case.evidence if item.step_no == step.step_no]
    if {item.kind for item in told if item.attempt == step.attempt} == {"sending"}:
        return  # another attempt is under way
    assert step.window_until is not None
    is_over = any(item.kind in ("expired", "canceled") or item.data.get("given_up") for item in told)
    if not (is_over or _is_superseded(case, step) or _is_needless(case, step)):
        retry = _retry(case, step)
        if step.state == "queued" or (step.state == "claimed" and retry is None):
            return  # another attempt is on its way
        if _may_be_sent_again(case, step, retry, rules):
            _queue_again(case, step, retry, now)
            return
    if step.state != "unknown":
        step.state, step.owner = "unknown", None
        step.due_at, step.lookups = now + FIRST_LOOKUP, 0
    elif any(item.kind == "not_sent" and item.step_no == step.step_no for item in case.news.values()):
        step.due_at, step.lookups = now + FIRST_LOOKUP, 0  # the turn of an earlier attempt to be looked up
    step.wake_at = min(step.window_until, step.due_at)


def _may_be_sent_again(case: Case, step: Step, retry: Retry | None, rules: Rules) -> bool:
    """Whether a step is tried again though an attempt of it may have been sent.

    Where its app wishes, some times; else only through the same gateway, while its provider would notice.
    """
    if rules.on_unknown(case.message.app_id) == "resend":
        # What is known not to have been sent, and was begun by this very rule, does not count.
        return (retry is not None and step.state != "unknown") or step.attempt < MOST_SENDS
    return retry is not None and retry.choice == step.choice and retry.due_at < retry.deduped_until


def _retry(case: Case, step: Step) -> Retry | None:
    """How the step is to go on by what was reported: of its latest attempt, or of an earlier one looked up late."""
    of_step = {attempt: retry for (step_no, attempt), retry in case.retries.items() if step_no == step.step_no}
    return of_step.get(step.attempt) or next(iter(of_step.values()), None)


def _queue_again(case: Case, step: Step, retry: Retry | None, now: int) -> None:
    step.state, step.owner, step.status = "queued", None, "QUEUED"
    step.wake_at = step.deadline
    if retry is None or not retry.has_vanished:
        step.claims = 0  # it did not take its worker down
    if retry is None:
        step.due_at = now
    else:
        choices = load_choices(step.choices)
        step.due_at, step.choice, step.tries = retry.due_at, retry.choice, retry.tries
        step.gateway_id = choices[retry.choice].gateway_id
    case.change.queued_on.append(step.gateway_id)


# ---- fallback


def _waited_for(case: Case, step: Step) -> bool:
    """Whether the next step waits for this one to be read, so that being delivered is not its end."""
    return any(
        other.step_no == step.step_no + 1 and other.state == "waiting" and other.until == "read" for other in case.steps
    )


def _fallback_due(case: Case, step: Step, before: Step, status: StepStatus, rules: Rules, now: int) -> Kind | None:
    """What to do with a waiting step: start it (`queued`), drop it (`canceled`), or nothing yet."""
    if status.status in NEGATIVE_ENDS:
        # What nobody ever heard of holds the next one back to its end, unless its app wishes otherwise.
        held_back = status.error_code == "OUTCOME_UNKNOWN" and rules.on_unknown(case.message.app_id) != "fallback"
        abandoned = status.status == "CANCELED" or held_back or now >= step.deadline
        return "canceled" if abandoned else "queued"
    if reached(status.status, step.until):
        return "canceled"
    if status.status == "UNKNOWN":
        return _instead_of_unknown(step, before, now) if rules.on_unknown(case.message.app_id) == "fallback" else None
    if status.window_closed:
        return "canceled"
    if step.after is not None and status.status in ("SENT", "DELIVERED"):
        proof = ("sent", "delivered")
        sent_at = min(item.at for item in case.evidence if item.step_no == before.step_no and item.kind in proof)
        if now >= sent_at + step.after:
            return "canceled" if now >= step.deadline else "queued"
        before.wake_at = min(before.wake_at or step.deadline, sent_at + step.after)
    return None


def _instead_of_unknown(step: Step, before: Step, now: int) -> Kind | None:
    """Start the fallback; not while the step before is tried again where the provider would notice the second one."""
    if before.state != "unknown":
        return None
    return "canceled" if now >= step.deadline else "queued"


def _is_needless(case: Case, step: Step) -> bool:
    """Whether an earlier step has come as far as was wished, so that this one, begun in its place, need not be sent."""
    return any(
        other.step_no < step.step_no and reached(case.status_of(other).status, step.until) for other in case.steps
    )


def _is_superseded(case: Case, step: Step) -> bool:
    """Whether a later step was started in this one's place, so that it must not be sent any more."""
    return any(
        other.step_no > step.step_no and other.state != "waiting" and case.status_of(other).error_code not in LEFT_OUT
        for other in case.steps
    )


def _why_canceled(step: Step, before: StepStatus) -> str | None:
    if before.status == "CANCELED":
        return before.error_code
    is_done = reached(before.status, step.until) or (before.window_closed and before.status not in NEGATIVE_ENDS)
    return NOT_NEEDED if is_done else TOO_LATE


def _start(case: Case, step: Step, decision: Kind) -> None:
    if decision == "canceled":
        step.state, step.owner, step.wake_at = "ended", None, None
        return
    step.state, step.wake_at = "queued", step.deadline
    case.change.queued_on.append(step.gateway_id)


def own(step: Step, kind: Kind, now: int, *, code: str | None = None, source: Source = "core") -> Evidence:
    """Evidence of a decision of ours about a step as a whole; each happens to it once."""
    return Evidence(
        message_id=step.message_id,
        key=core_key(step.step_no, 0, kind),
        step_no=step.step_no,
        attempt=0,
        kind=kind,
        source=source,
        gateway_id=step.gateway_id,
        at=now,
        code=code,
    )
