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

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from waypost.clock import MINUTE, SECOND
from waypost.lifecycle.evidence import Evidence
from waypost.log import logger
from waypost.outbox.attempt import evidence
from waypost.progress.case import Change, Report, Retry, Rules
from waypost.progress.report import report
from waypost.store import messages, steps
from waypost.store.messages import Message
from waypost.store.steps import LEASED, Step

_LOG = logger()

BATCH = 500
#: A message that was claimed so often and never begun is poison: it takes its worker down each time. A node that is
#: killed takes its innocent neighbours down with it, and they must not be mistaken for it.
MAX_CLAIMS = 10
#: How long a message is left alone that nothing can be done about, because looking at it fails.
POISONED_FOR = 10 * MINUTE
#: How long a node has for a lookup before another may try it.
LOOKUP_LEASE = 2 * MINUTE
#: How long what is to be looked up is left to the nodes that have its plugin, at least and at most.
LEFT_TO_OTHERS = (5 * SECOND, 30 * SECOND)
#: So many more are looked at in each second that one has to wait for its turn.
TURNS = 50
#: How many more may be looked up now, by gateway: None where its plugin cannot. One whose plugin is not loaded here is
#: not named.
Room = Mapping[str, int | None]


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep changed, and the unknown outcomes to look up now."""

    changes: tuple[Change, ...]
    lookups: tuple[tuple[Step, Message], ...]


def sweep(
    conn: Connection, due: Sequence[str], rules: Rules, now: int, room: Room, *, leases_end: bool = True
) -> Swept:
    """Look at messages that are due; there is room for so many lookups. Unless `leases_end`, no lease is over."""
    locked = messages.lock_many(conn, due)
    reports: list[Report] = []
    lookups: list[Step] = []
    before: dict[tuple[str, int], str] = {}
    left = dict(room)
    for found in steps.of_messages(conn, locked.keys()).values():
        for step in found:
            if step.wake_at is None or step.wake_at > now or (step.state in LEASED and not leases_end):
                continue
            before[step.message_id, step.step_no] = step.state
            if step.state == "unknown" and now < (step.window_until or now):
                if (left.get(step.gateway_id) or 0) > 0:
                    lookups.append(step)
                _postpone(conn, step, _next_look(step, left, now))
                continue
            decided = _decide(step, now)
            if decided is not None:
                reports.append(decided)
    changes = report(conn, reports, rules, now, touch=locked.keys())
    _put_off_the_rest(conn, due, before, now)
    asked = messages.get_many(conn, {step.message_id for step in lookups}) if lookups else {}
    return Swept(tuple(changes), tuple((step, asked[step.message_id]) for step in lookups))


def _put_off_the_rest(conn: Connection, due: Sequence[str], before: Mapping[tuple[str, int], str], now: int) -> None:
    """Leave alone for a while what is due as it was: nothing followed, and nobody else must wait behind it for ever."""
    for message_id, step_no, state in steps.still_due(conn, due, now):
        if before.get((message_id, step_no)) == state:
            _LOG.error("sweeper.nothing_followed", message=message_id, state=state)
            steps.put_off(conn, message_id, now, now + POISONED_FOR)


def _decide(step: Step, now: int) -> Report | None:
    if step.state == "queued":
        return Report(evidence(step, "expired", now, code="EXPIRED"))
    if step.state == "claimed":
        if step.claims >= MAX_CLAIMS:
            return Report(_quarantined(step, now))
        vanished = evidence(step, "not_sent", now, code="WORKER_VANISHED")
        return Report(vanished, Retry(due_at=now, choice=step.choice, tries=step.tries, has_vanished=True))
    if step.state == "sending":
        return Report(evidence(step, "unknown", now, code="WORKER_VANISHED"))
    if step.window_until is not None and now >= step.window_until and step.state in ("sent", "unknown"):
        return Report(evidence(step, "window_closed", now))
    return None


def _quarantined(step: Step, now: int) -> Evidence:
    told = {"code": "QUARANTINED", "detail": "Its workers vanished repeatedly."}
    if step.window_until is not None:  # an earlier attempt may be out, and is waited for
        return evidence(step, "not_sent", now, **told, given_up=True)
    return evidence(step, "failed", now, **told)


def _next_look(step: Step, left: dict[str, int | None], now: int) -> int | None:
    """When a step of unknown outcome is looked at next, None: not at all; its turn is taken out of what is `left`."""
    if step.gateway_id not in left:
        return now + random.randint(*LEFT_TO_OTHERS)  # noqa: S311 - so that not the same node finds it each time
    room = left[step.gateway_id]
    if room is None:
        return None
    left[step.gateway_id] = room - 1
    return now + (LOOKUP_LEASE if room > 0 else SECOND * (1 - room // TURNS))


def _postpone(conn: Connection, step: Step, until: int | None) -> None:
    assert step.window_until is not None
    later = min(step.window_until, until or step.window_until)
    steps.postpone_lookup(
        conn,
        step.message_id,
        step.step_no,
        attempt=step.attempt,
        lookups=step.lookups,
        due_at=later,
        wake_at=later,
    )
