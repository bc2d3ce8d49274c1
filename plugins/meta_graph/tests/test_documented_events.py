"""Every documented webhook of the three Meta channels, held field by field against a table of what it says.

`events.json` beside each channel's fixtures has every field that says something; `raw` is given as the place in the
delivery that it repeats. Who changes what an event says changes the table, and sees in it what partners will see.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from documented import Documented, account, documented
from documented_events import plain
from waypost.plugin import WebhookContext
from waypost_instagram.channel import instagram
from waypost_messenger.channel import messenger
from waypost_whatsapp.channel import whatsapp

CHANNELS: dict[str, Any] = {"whatsapp": whatsapp, "messenger": messenger, "instagram": instagram}
PLUGINS = Path(__file__).parents[2]
EXPECTED = {name: json.loads((PLUGINS / name / "tests" / "fixtures" / "events.json").read_text()) for name in CHANNELS}
WEBHOOKS = [item for item in documented() if item.plugin in CHANNELS]


@pytest.mark.parametrize("item", WEBHOOKS, ids=lambda item: f"{item.plugin}-{item.name}")
def test_the_events_say_what_the_table_says(item: Documented) -> None:
    channel, given = CHANNELS[item.plugin], account(item.plugin)
    info = channel.channel_info()
    ctx = WebhookContext(
        provider_app=info.provider_app_settings.model_validate(given.provider_app),
        account=info.account_settings.model_validate(given.settings),
        log=None,
        # Long after: no event is to take its time from our clock.
        now=datetime(2030, 1, 1, tzinfo=UTC),
    )
    delivery = json.loads(item.request.body)
    found = [plain(event, delivery) for event in channel.parse_event(ctx, item.request)]
    assert found == EXPECTED[item.plugin][Path(item.name).stem]


def test_the_table_has_every_documented_webhook() -> None:
    named = {name: {Path(item.name).stem for item in WEBHOOKS if item.plugin == name} for name in CHANNELS}
    assert named == {name: set(rows) for name, rows in EXPECTED.items()}
