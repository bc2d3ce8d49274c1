"""Messages: what became of them, and why."""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import Connection

from waypost.lifecycle.status import STATUSES
from waypost.money import format_amount
from waypost.operations import references, words
from waypost.operations.errors import InvalidArgumentError, NotFoundError
from waypost.operations.masking import masked
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.operations.timeline import explain, load
from waypost.store import apps, messages, organizations
from waypost.store.messages import Message

MOST = 500


def shown(row: Message, app: str, organization: str) -> dict[str, Any]:
    """A message as it is shown: neither its content nor a whole address."""
    return {
        "id": row.id,
        "organization": organization,
        "app": app,
        "channel": row.channel,
        "recipient": masked(row.recipient),
        "status": row.status,
        "mode": row.mode,
        "currency": row.currency,
        "held": format_amount(row.held),
        "captured": format_amount(row.captured),
        "cost": format_amount(row.cost),
        "error_code": row.error_code,
        "contradictory": row.contradictory,
        "possible_duplicate": row.possible_duplicate,
        "created_at": words.shown_moment(row.created_at),
        "updated_at": words.shown_moment(row.updated_at),
        "settled_at": words.shown_moment(row.settled_at),
    }


@operation("messages.list")
async def list_all(
    operator: Operator,
    *,
    organization: str | None = None,
    app: str | None = None,
    channel: str | None = None,
    status: str | None = None,
    before: str | None = None,
    limit: int = 50,
) -> list[dict[str, Any]]:
    """List messages, newest first; `before` is the id of the last one of the page before."""
    if not 1 <= limit <= MOST:
        raise InvalidArgumentError("limit", f"write a number from 1 to {MOST}")
    if status is not None and status.upper() not in STATUSES:
        raise InvalidArgumentError("status", f"write one of {', '.join(sorted(STATUSES))}")

    def work(conn: Connection) -> list[dict[str, Any]]:
        if before is not None and messages.get(conn, before) is None:
            raise NotFoundError("message", before, "messages")
        rows = messages.newest(
            conn,
            limit,
            org_id=references.organization(conn, organization).id if organization is not None else None,
            app_id=references.app(conn, app).id if app is not None else None,
            channel=channel.upper() if channel else None,
            status=status.upper() if status else None,
            before=before,
        )
        names = _names(conn)
        return [shown(row, *names(row)) for row in rows]

    return await operator.read(work)


@operation("messages.show")
async def show(operator: Operator, *, message: str, content: bool = False) -> dict[str, Any]:
    """Explain one message: its timeline, prices, attempts and money; `content` shows what was sent to whom too, and
    goes into the audit log.
    """

    def work(conn: Connection) -> dict[str, Any]:
        row = messages.get(conn, message)
        if row is None:
            raise NotFoundError("message", message, "messages")
        told = shown(row, *_names(conn)(row)) | {
            "key": row.key_id,
            "request_id": row.request_id,
            "deadline": words.shown_moment(row.deadline),
            "error_detail": row.error_detail,
            **explain(load(conn, row)),
        }
        if content:
            operator.record(conn, "messages.show-content", row.id, {})
            told |= {
                "recipient": row.recipient,
                "sender": row.sender,
                "content": orjson.loads(row.content),
                "options": orjson.loads(row.options),
            }
        return told

    return await (operator.change(work) if content else operator.read(work))


@operation("messages.counts")
async def counts(operator: Operator) -> dict[str, int]:
    """Count the messages in each status."""
    return await operator.read(messages.counts_by_status)


def _names(conn: Connection) -> Any:
    app_names = {row.id: row.name for row in apps.all_of_them(conn)}
    org_names = {row.id: row.name for row in organizations.all_of_them(conn)}
    return lambda row: (app_names.get(row.app_id, row.app_id), org_names.get(row.org_id, row.org_id))
