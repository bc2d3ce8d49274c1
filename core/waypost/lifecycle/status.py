"""A status is a pure function of the set of events: any order, any duplication, the same answer.

A step's status is the first line of this table that holds:

===============  =============================================================================
status           holds when the step's events contain
===============  =============================================================================
``READ``         ``read``
``DELIVERED``    ``delivered``
``UNDELIVERED``  ``undelivered``
``FAILED``       ``failed``
``SENT``         ``sent``
``FAILED``       ``unknown`` for an open attempt, and ``window_closed`` (code ``OUTCOME_UNKNOWN``)
``UNKNOWN``      ``unknown`` for an open attempt
``EXPIRED``      ``expired``
``CANCELED``     ``canceled``
``SENDING``      ``sending`` for an open attempt
``QUEUED``       anything else
===============  =============================================================================

An attempt is open when it began (``sending``) and was not found to be ``not_sent``. So the rank is ``read > delivered >
undelivered | failed > sent > … > sending > queued``: a late ``sent`` never revives a dead message and never takes a
delivered one back. A set that contradicts itself (delivered *and* failed, expired *and* sent, a receipt of an attempt
that never began) keeps the rank and is flagged.

A message's status is that of its furthest step while one is delivered; otherwise of the furthest step still alive;
otherwise ``QUEUED`` while a fallback is still to come; otherwise of its last step, or of the last whose outcome nobody
knows where later ones were merely not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from waypost.lifecycle.evidence import Evidence

Status = Literal[
    "QUEUED", "SENDING", "UNKNOWN", "SENT", "FAILED", "UNDELIVERED", "EXPIRED", "CANCELED", "DELIVERED", "READ"
]

STATUSES: frozenset[str] = frozenset(get_args(Status))

#: From which no evidence but a contradiction leads away.
NEGATIVE_ENDS: frozenset[Status] = frozenset({"FAILED", "UNDELIVERED", "EXPIRED", "CANCELED"})
POSITIVE_ENDS: frozenset[Status] = frozenset({"DELIVERED", "READ"})
#: How far a living step has come, for the comparison with `until`.
_PROGRESS: dict[Status, int] = {"QUEUED": 0, "SENDING": 1, "UNKNOWN": 2, "SENT": 3, "DELIVERED": 4, "READ": 5}


@dataclass(frozen=True, slots=True)
class StepStatus:
    """A step's status, the evidence that decided it, and whether the set contradicts itself."""

    status: Status
    decided_by: Evidence | None
    contradictory: bool = False
    #: More than one attempt reached a provider, or may have.
    possible_duplicate: bool = False
    window_closed: bool = False

    @property
    def error_code(self) -> str | None:
        """Why it ended badly, if it did."""
        if self.status not in NEGATIVE_ENDS:
            return None
        if self.decided_by is None:
            return None
        if self.decided_by.kind == "unknown":
            return "OUTCOME_UNKNOWN"
        return self.decided_by.code or self.status


def step_status(events: Iterable[Evidence]) -> StepStatus:
    """Fold one step's events."""
    by_kind: dict[str, list[Evidence]] = {}
    for item in events:
        by_kind.setdefault(item.kind, []).append(item)

    began = {item.attempt for item in by_kind.get("sending", ())}
    undone = {item.attempt for item in by_kind.get("not_sent", ())}
    opened = began - undone
    unknown = [item for item in by_kind.get("unknown", ()) if item.attempt in opened]
    closed = "window_closed" in by_kind

    receipted = {
        item.attempt for kind in ("sent", "delivered", "read", "undelivered") for item in by_kind.get(kind, ())
    }
    bad = by_kind.keys() & {"failed", "undelivered", "expired", "canceled"}
    good = by_kind.keys() & {"delivered", "read"}
    withdrawn = by_kind.keys() & {"expired", "canceled"}
    contradictory = bool((bad and good) or (receipted and withdrawn) or (receipted & undone) or (receipted - began))
    possible_duplicate = len(receipted | {item.attempt for item in unknown}) > 1

    status, decided_by = _decide(by_kind, unknown, opened, closed=closed)
    return StepStatus(status, decided_by, contradictory, possible_duplicate, closed)


def _decide(
    by_kind: Mapping[str, list[Evidence]], unknown: list[Evidence], opened: set[int], *, closed: bool
) -> tuple[Status, Evidence | None]:
    ranked: tuple[tuple[str, Status], ...] = (
        ("read", "READ"),
        ("delivered", "DELIVERED"),
        ("undelivered", "UNDELIVERED"),
        ("failed", "FAILED"),
        ("sent", "SENT"),
    )
    for kind, status in ranked:
        if kind in by_kind:
            return status, _first(by_kind[kind])
    if unknown:
        return ("FAILED" if closed else "UNKNOWN"), _first(unknown)
    withdrawn: tuple[tuple[str, Status], ...] = (("expired", "EXPIRED"), ("canceled", "CANCELED"))
    for kind, status in withdrawn:
        if kind in by_kind:
            return status, _first(by_kind[kind])
    if opened:
        return "SENDING", _first([item for item in by_kind["sending"] if item.attempt in opened])
    return "QUEUED", None


def _first(events: list[Evidence]) -> Evidence:
    """One of several, the same whatever their order."""
    return min(events, key=lambda item: (item.attempt, item.key))


#: What a receipt proves, from the least to the most.
_RECEIPTS: dict[str, Status] = {"sent": "SENT", "delivered": "DELIVERED", "read": "READ"}


def after_receipts(before: str, kinds: Iterable[str]) -> Status | None:
    """A step's status after receipts of these kinds, where it follows from the one before alone; else None.

    It does while nothing contradicts itself, the step was attempted once, and all receipts are about that attempt:
    then they can only bring it further.
    """
    told = set(kinds)
    if before not in ("SENDING", *_RECEIPTS.values()) or not told or not told <= _RECEIPTS.keys():
        return None
    return [status for kind, status in _RECEIPTS.items() if kind in told or status == before][-1]


def reached(status: Status, until: str) -> bool:
    """Whether a step has come as far as its fallback waits for (`sent`, `delivered` or `read`)."""
    wanted: dict[str, int] = {"sent": 3, "delivered": 4, "read": 5}
    return _PROGRESS.get(status, -1) >= wanted[until]


def message_status(steps: Mapping[int, Status], *, waiting: bool, unknown: Collection[int] = ()) -> tuple[Status, int]:
    """A message's status and the step that decides it, from the status of each step that was started.

    `waiting` says that a later fallback step is still to be started; `unknown` names the steps of which nobody ever
    heard what became: a later one that was merely not sent does not hide that.
    """
    alive = {number: status for number, status in steps.items() if status not in NEGATIVE_ENDS}
    if alive:
        best = max(alive, key=lambda number: (_PROGRESS[alive[number]], -number))
        return alive[best], best
    last = max(steps)
    if waiting:
        return "QUEUED", last
    if unknown and steps[last] in ("EXPIRED", "CANCELED"):
        last = max(unknown)
    return steps[last], last
