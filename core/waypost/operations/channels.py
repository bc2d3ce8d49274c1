"""Channels: the plugins that are installed, and what became of each."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from waypost.host.loader import PluginRecord
from waypost.operations.operator import Operator
from waypost.operations.registry import operation


@operation("channels.list")
async def list_all(operator: Operator) -> list[dict[str, Any]]:
    """List every installed channel plugin: loaded, disabled, incompatible or failed, with its reason."""
    return [shown(record) for record in sorted(operator.records.values(), key=lambda record: record.id)]


def shown(record: PluginRecord) -> dict[str, Any]:
    """A plugin as it is shown."""
    info = record.plugin.info if record.plugin else None
    return {
        "id": record.id,
        "channel": info.channel if info else None,
        "title": info.title if info else None,
        "distribution": record.distribution,
        "version": record.version,
        "api": info.api if info else None,
        "state": record.state,
        "reason": record.reason,
        "hooks": sorted(record.hooks),
        "features": sorted(info.features) if info else [],
        "content": sorted(info.content_kinds) if info else [],
        "limits": asdict(info.limits) if info else {},
        "last_receipt": info.last_receipt if info else None,
        "settings": sorted(info.account_settings.model_fields) if info else [],
        "provider_app_settings": sorted(info.provider_app_settings.model_fields) if info else [],
    }
