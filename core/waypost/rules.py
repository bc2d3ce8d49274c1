"""The rules of progress, as operators set them and plugins declare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from waypost import watermarks
from waypost.host.dispatch import ChannelPlugin
from waypost.plugin.types import LastReceipt
from waypost.progress.case import Rules
from waypost.routing import Directory


def rules_of(directory: Callable[[], Directory], plugins: Mapping[str, ChannelPlugin]) -> Rules:
    """The rules by a directory, which is asked for anew each time, and the plugins that are loaded."""

    def plugin_of(gateway_id: str) -> ChannelPlugin | None:
        gateway = directory().gateways.get(gateway_id)
        return plugins.get(gateway.plugin) if gateway else None

    def last_receipt(gateway_id: str) -> LastReceipt:
        plugin = plugin_of(gateway_id)
        return plugin.info.last_receipt if plugin else "delivered"

    def has_watermarks(gateway_id: str) -> bool:
        plugin = plugin_of(gateway_id)
        return plugin is not None and watermarks.FEATURE in plugin.info.features

    return Rules(
        last_receipt=last_receipt,
        receipt_window=lambda gateway_id: directory().receipt_window(gateway_id),
        on_unknown=lambda app_id: directory().on_unknown(app_id),
        has_watermarks=has_watermarks,
    )
