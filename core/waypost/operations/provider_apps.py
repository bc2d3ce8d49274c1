"""Provider apps: an operator's apps at providers, shared by gateways, such as a Meta app with its secret."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection

from waypost.ids import new_id
from waypost.operations import credentials, references, words
from waypost.operations.errors import InvalidArgumentError, NameTakenError
from waypost.operations.operator import Operator
from waypost.operations.registry import operation
from waypost.plugin.settings import NoSettings
from waypost.store import gateways
from waypost.store.gateways import ProviderApp
from waypost.vault import provider_app_place


def shown(operator: Operator, row: ProviderApp) -> dict[str, Any]:
    """A provider app as it is shown, without its secrets."""
    record = operator.records.get(row.plugin)
    model = record.plugin.info.provider_app_settings if record and record.plugin else None
    return {
        "id": row.id,
        "name": row.name,
        "plugin": row.plugin,
        "settings": credentials.shown(operator.vault, model, row.settings, row.secrets, provider_app_place(row.id)),
        "created_at": words.shown_moment(row.created_at),
    }


@operation("provider-apps.create")
async def create(operator: Operator, *, name: str, plugin: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Store an app that the operator has at a provider."""
    model = operator.plugin(plugin).info.provider_app_settings
    if model is NoSettings:
        raise InvalidArgumentError("plugin", f"{plugin} needs no provider app; its gateways hold all settings")
    checked = credentials.check(model, settings)
    app_id = new_id("pa")
    public, sealed = credentials.seal(operator.vault, model, settings, provider_app_place(app_id))
    row = ProviderApp(
        id=app_id, name=words.name(name), plugin=plugin, settings=public, secrets=sealed, created_at=operator.now()
    )

    def work(conn: Connection) -> None:
        if any(other.name == row.name for other in gateways.provider_apps(conn)):
            raise NameTakenError("a provider app", row.name)
        gateways.add_provider_app(conn, row)
        detail = {"name": row.name, "plugin": plugin, "fields": sorted(settings)}
        operator.record(conn, "provider-apps.create", app_id, detail, cached=True)

    await operator.change(work)
    return shown(operator, row) | {"warnings": list(checked.warnings)}


@operation("provider-apps.list")
async def list_all(operator: Operator) -> list[dict[str, Any]]:
    """List the provider apps, oldest first."""
    return [shown(operator, row) for row in await operator.read(gateways.provider_apps)]


@operation("provider-apps.show")
async def show(operator: Operator, *, provider_app: str) -> dict[str, Any]:
    """Show one provider app, without its secrets."""
    return shown(operator, await operator.read(lambda conn: references.provider_app(conn, provider_app)))


@operation("provider-apps.update")
async def update(operator: Operator, *, provider_app: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Replace some settings of a provider app, as when its secret is rotated; null takes one away."""
    before = await operator.read(lambda conn: references.provider_app(conn, provider_app))
    model = operator.plugin(before.plugin).info.provider_app_settings
    warnings: list[str] = []

    def work(conn: Connection) -> ProviderApp:
        row = references.provider_app(conn, before.id, locked=True)
        given = credentials.updated(
            operator.vault, model, row.settings, row.secrets, provider_app_place(row.id), settings
        )
        checked = credentials.check(model, given)
        warnings[:] = checked.warnings
        public, sealed = credentials.seal(operator.vault, model, given, provider_app_place(row.id))
        changed = ProviderApp(
            id=row.id, name=row.name, plugin=row.plugin, settings=public, secrets=sealed, created_at=row.created_at
        )
        gateways.save_provider_app(conn, changed)
        operator.record(conn, "provider-apps.update", row.id, {"fields": sorted(settings)}, cached=True)
        return changed

    return shown(operator, await operator.change(work)) | {"warnings": warnings}
