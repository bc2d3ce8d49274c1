"""The sweeper: looks at every step whose `wake_at` has come.

==============  ==================================================================================
a step that is  is
==============  ==================================================================================
``queued``      expired: its deadline passed
``claimed``     queued again: its worker vanished before it began; after `MAX_CLAIMS`, failed
``sending``     unknown: its worker vanished and nobody knows how far it came; never queued again
``unknown``     looked up at the provider, until its receipt window closes
``sent``        closed with its receipt window, or its fallback is due
==============  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from waypost.clock import MINUTE
from waypost.lifecycle.evidence import Evidence
from waypost.outbox.attempt import evidence
from waypost.progress.case import Change, Report, Retry, Rules
from waypost.progress.report import report
from waypost.store import messages, steps
from waypost.store.messages import Message
from waypost.store.steps import Step

BATCH = 500
#: A message that was claimed so often and never begun is poison: it takes its worker down each time. A node that is
#: killed takes its innocent neighbours down with it, and they must not be mistaken for it.
MAX_CLAIMS = 10
#: How long a message is left alone that nothing can be done about, because looking at it fails.
POISONED_FOR = 10 * MINUTE
#: How long a node has for a lookup before another may try it.
LOOKUP_LEASE = 2 * MINUTE


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep changed, and the unknown outcomes to look up now."""

    changes: tuple[Change, ...]
    lookups: tuple[tuple[Step, Message], ...]


def sweep(conn: Connection, due: Sequence[str], rules: Rules, now: int, lookup_possible: frozenset[str]) -> Swept:
    """Look at messages that are due. `lookup_possible` names the gateways whose plugins can look up."""
    locked = messages.lock_many(conn, due)
    reports: list[Report] = []
    lookups: list[Step] = []
    for found in steps.of_messages(conn, locked.keys()).values():
        for step in found:
            if step.wake_at is None or step.wake_at > now:
                continue
            if step.state == "unknown" and now < (step.window_until or now):
                if step.gateway_id in lookup_possible:
                    lookups.append(step)
                _postpone(conn, step, now, possible=step.gateway_id in lookup_possible)
                continue
            decided = _decide(step, now)
            if decided is not None:
                reports.append(decided)
    changes = report(conn, reports, rules, now, touch=locked.keys())
    asked = messages.get_many(conn, {step.message_id for step in lookups}) if lookups else {}
    return Swept(tuple(changes), tuple((step, asked[step.message_id]) for step in lookups))


def _decide(step: Step, now: int) -> Report | None:
    if step.state == "queued":
        return Report(evidence(step, "expired", now, code="EXPIRED"))
    if step.state == "claimed":
        if step.claims >= MAX_CLAIMS:
            return Report(evidence(step, "failed", now, code="QUARANTINED", detail="Its workers vanished repeatedly."))
        vanished = evidence(step, "not_sent", now, code="WORKER_VANISHED")
        return Report(vanished, Retry(due_at=now, choice=step.choice, tries=step.tries))
    if step.state == "sending":
        return Report(evidence(step, "unknown", now, code="WORKER_VANISHED"))
    if step.window_until is not None and now >= step.window_until and step.state in ("sent", "unknown"):
        return Report(evidence(step, "window_closed", now))
    return None


def _postpone(conn: Connection, step: Step, now: int, *, possible: bool) -> None:
    assert step.window_until is not None
    later = min(step.window_until, now + LOOKUP_LEASE) if possible else step.window_until
    steps.postpone_lookup(
        conn,
        step.message_id,
        step.step_no,
        attempt=step.attempt,
        lookups=step.lookups,
        due_at=later,
        wake_at=later,
    )


def first_evidence(found: Sequence[Evidence], step: Step, kind: str) -> Evidence | None:
    """The event of this kind that belongs to the step's latest attempt."""
    return next(
        (item for item in found if item.kind == kind and (item.step_no, item.attempt) == (step.step_no, step.attempt)),
        None,
    )
