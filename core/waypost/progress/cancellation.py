"""Cancellation: what has still to be sent is wished away. What is being sent, or was, is left alone."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection

from waypost.lifecycle.evidence import Source
from waypost.progress.case import NOT_WANTED, Change, Report, Rules
from waypost.progress.queue import own
from waypost.progress.report import report
from waypost.store import messages, steps
from waypost.store.steps import UNSENT


def cancel(conn: Connection, ids: Iterable[str], rules: Rules, now: int, source: Source) -> list[Change]:
    """Cancel what has still to be sent of these messages, fallbacks too; say what changed of those that had any.

    Where an earlier attempt may have been sent, only its repeat is canceled, and its receipt is waited for.
    """
    # Before the steps are looked at: whoever passes the fence has these locks.
    locked = messages.lock_many(conn, ids)
    found = steps.of_messages(conn, locked) if locked else {}
    reports = [
        Report(own(step, "canceled", now, code=NOT_WANTED if step.state == "waiting" else None, source=source))
        for of_message in found.values()
        for step in of_message
        if step.state in UNSENT
    ]
    return report(conn, reports, rules, now)
