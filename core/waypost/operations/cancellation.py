"""Cancellation: what waits is not sent after all, as after a mistake of a partner's or a backup that was restored."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from waypost.operations import references
from waypost.operations.errors import InvalidArgumentError, NotFoundError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.progress.cancellation import cancel
from waypost.progress.case import Change
from waypost.routing import Directory
from waypost.rules import rules_of
from waypost.store import apps, gateways, steps
from waypost.store import messages as stored
from waypost.store.steps import Unsent

#: So many messages go in one transaction, which keeps others from them.
AT_ONCE = 500


@operation("messages.cancel")
async def cancel_unsent(
    operator: Operator,
    *,
    messages: list[str] | None = None,
    organization: str | None = None,
    app: str | None = None,
    channel: str | None = None,
    gateway: str | None = None,
    before: str | None = None,
    everything: bool = False,
) -> dict[str, Any]:
    """Cancel what has still to be sent: of these messages, or of all that match; `before` is the id of a message.

    What is being sent, or was, goes on: `left` counts the messages of which nothing was canceled.
    """
    narrowed = {
        "organization": organization, "app": app, "channel": channel, "gateway": gateway, "before": before,
    }  # fmt: skip
    given = {name: value for name, value in narrowed.items() if value is not None}
    if sum((bool(messages), bool(given), everything)) != 1:
        raise InvalidArgumentError("messages", "write ids, or narrow down which are meant, or ask for all")

    def meant(conn: Connection) -> list[str]:
        if messages:
            return _known(conn, messages)
        if before is not None:
            _known(conn, [before])
        wanted = Unsent(
            org_id=references.organization(conn, organization).id if organization is not None else None,
            app_id=references.app(conn, app).id if app is not None else None,
            channel=channel.upper() if channel is not None else None,
            gateway_id=references.gateway(conn, gateway).id if gateway is not None else None,
            before=before,
        )
        return steps.unsent(conn, wanted)

    ids = await operator.read(meant)
    canceled = 0
    for first in range(0, len(ids), AT_ONCE):
        canceled += await _cancel(operator, ids[first : first + AT_ONCE], given if not messages else None)
    return {"canceled": canceled, "left": len(ids) - canceled}


async def _cancel(operator: Operator, ids: list[str], given: dict[str, str] | None) -> int:
    """Cancel what can be, in one transaction with its entry in the audit log; say of how many messages."""

    def work(conn: Connection) -> list[Change]:
        directory = _directory(conn)
        changes = cancel(conn, ids, rules_of(lambda: directory, operator.plugins), operator.now(), "operator")
        if changes:
            which = {"messages": [change.message_id for change in changes]} if given is None else given
            operator.record(conn, "messages.cancel", "messages", {**which, "canceled": len(changes)})
        return changes

    changes = await operator.change(work)
    operator.changed(changes)
    return len(changes)


def _known(conn: Connection, ids: list[str]) -> list[str]:
    """These ids, each once. Raises `NotFoundError` for one that is no message's."""
    found = stored.statuses(conn, ids)
    for message_id in ids:
        if message_id not in found:
            raise NotFoundError("message", message_id, "messages")
    return sorted(found)


def _directory(conn: Connection) -> Directory:
    """What is to be known of gateways and apps, without routes and rates."""
    return Directory(
        gateways={row.id: row for row in gateways.all_of_them(conn)},
        apps={row.id: row for row in apps.all_of_them(conn)},
    )
