"""Apps: the clients of an organization."""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import Connection

from waypost.ids import new_id
from waypost.operations import references, words
from waypost.operations.errors import NameTakenError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.store import apps, organizations
from waypost.store.apps import App


def shown(row: App, organization: str) -> dict[str, Any]:
    """An app with its organization's name, as it is shown."""
    return {
        "id": row.id,
        "name": row.name,
        "organization": organization,
        "organization_id": row.org_id,
        "status": row.status,
        "on_unknown": row.on_unknown,
        "created_at": words.shown_moment(row.created_at),
    }


@operation("apps.create")
async def create(
    operator: Operator, *, organization: str, name: str, on_unknown: Literal["hold", "resend", "fallback"] = "hold"
) -> dict[str, Any]:
    """Create an app; `on_unknown` is what happens when nobody can say whether a message was sent."""
    app_id, app_name, now = new_id("app"), words.name(name), operator.now()

    def work(conn: Connection) -> dict[str, Any]:
        owner = references.organization(conn, organization)
        if any(other.org_id == owner.id for other in apps.by_reference(conn, app_name)):
            raise NameTakenError(f"in {owner.name} an app", app_name)
        row = App(app_id, owner.id, app_name, "active", on_unknown, now)
        apps.add(conn, row)
        detail = {"name": app_name, "organization": owner.id, "on_unknown": on_unknown}
        operator.record(conn, "apps.create", app_id, detail, cached=True)
        return shown(row, owner.name)

    return await operator.change(work)


@operation("apps.list")
async def list_all(operator: Operator, *, organization: str | None = None) -> list[dict[str, Any]]:
    """List the apps, of all organizations or of one, oldest first."""

    def work(conn: Connection) -> list[dict[str, Any]]:
        only = references.organization(conn, organization).id if organization is not None else None
        names = {row.id: row.name for row in organizations.all_of_them(conn)}
        return [shown(row, names[row.org_id]) for row in apps.all_of_them(conn) if only in (None, row.org_id)]

    return await operator.read(work)


@operation("apps.suspend")
async def suspend(operator: Operator, *, app: str) -> dict[str, Any]:
    """Refuse an app's requests from the next one on; what was accepted is still sent."""
    return await _set_status(operator, app, "suspended")


@operation("apps.activate")
async def activate(operator: Operator, *, app: str) -> dict[str, Any]:
    """Let a suspended app send again."""
    return await _set_status(operator, app, "active")


async def _set_status(operator: Operator, reference: str, status: str) -> dict[str, Any]:
    def work(conn: Connection) -> dict[str, Any]:
        row = references.app(conn, reference)
        if row.status != status:
            apps.set_status(conn, row.id, status)
            action = "apps.suspend" if status == "suspended" else "apps.activate"
            operator.record(conn, action, row.id, {}, cached=True)
        return shown(references.app(conn, row.id), references.organization(conn, row.org_id).name)

    return await operator.change(work)
