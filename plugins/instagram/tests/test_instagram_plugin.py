"""The plugin as the host finds it: by its entry point, with hooks that the specification knows."""

from __future__ import annotations

from importlib.metadata import entry_points

import pluggy
from waypost.plugin import CHANNELS_GROUP
from waypost.plugin.settings import secret_fields
from waypost.plugin.spec import ChannelSpec
from waypost_instagram.channel import INFO, instagram


def test_entry_point() -> None:
    (found,) = (each for each in entry_points(group=CHANNELS_GROUP) if each.name == "instagram")
    assert found.load() is instagram


def test_hooks_are_the_specification_s() -> None:
    manager = pluggy.PluginManager("waypost")
    manager.add_hookspecs(ChannelSpec)
    manager.register(instagram, "instagram")
    manager.check_pending()
    assert {caller.name for caller in manager.get_hookcallers(instagram) or ()} == {
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


def test_info_hangs_together() -> None:
    assert INFO.webhook_scope == "shared"
    assert INFO.account_ref_field in INFO.account_settings.model_fields
    assert secret_fields(INFO.account_settings) == {"access_token"}
    assert secret_fields(INFO.provider_app_settings) == {"app_secrets", "verify_token"}
    assert all(INFO.content_model(kind) is not None for kind in INFO.content_kinds)
    assert INFO.account_settings.model_json_schema()["title"]
