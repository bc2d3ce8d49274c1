"""The plugin as the host finds it: by its entry point, with hooks that the specification knows."""

from __future__ import annotations

from importlib.metadata import entry_points

import pluggy
from meta_products import Product
from waypost.plugin import CHANNELS_GROUP
from waypost.plugin.settings import secret_fields
from waypost.plugin.spec import ChannelSpec


def test_entry_point(product: Product) -> None:
    (found,) = (each for each in entry_points(group=CHANNELS_GROUP) if each.name == product.name)
    assert found.load() is product.channel


def test_hooks_are_the_specification_s(product: Product) -> None:
    manager = pluggy.PluginManager("waypost")
    manager.add_hookspecs(ChannelSpec)
    manager.register(product.channel, product.name)
    manager.check_pending()
    assert {caller.name for caller in manager.get_hookcallers(product.channel) or ()} == {
        "channel_info",
        "send",
        "price",
        "verify_webhook",
        "parse_event",
        "parse_address",
        "recognize",
        "check_account",
        "connect_webhook",
        "simulator",
    }


def test_info_hangs_together(product: Product) -> None:
    info = product.channel.info
    assert info.webhook_scope == "shared"
    assert info.account_ref_field in info.account_settings.model_fields
    assert secret_fields(info.account_settings) == {"access_token"}
    assert secret_fields(info.provider_app_settings) == {"app_secrets", "verify_token"}
    assert all(info.content_model(kind) is not None for kind in info.content_kinds)
    assert info.account_settings.model_json_schema()["title"]
