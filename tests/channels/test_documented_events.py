"""Every documented webhook of every channel, held field by field against a table of what it says.

`events.json` beside each plugin's fixtures has every field that says something; `raw` is given as the place in the
delivery that it repeats. Who changes what an event says changes the table, and sees in it what partners will see.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from documented import PLUGINS, Documented, account, documented, fixtures_of
from documented_events import plain
from waypost.host.loader import load_channels
from waypost.plugin import WebhookContext, WebhookRequest

CHANNELS = {name: record.plugin for name, record in load_channels(PLUGINS).items() if record.plugin is not None}
EXPECTED = {name: json.loads((fixtures_of(name) / "events.json").read_text()) for name in PLUGINS}
WEBHOOKS = documented()


def read(request: WebhookRequest) -> Any:
    """A delivery as the values it holds, whichever form it has."""
    try:
        return json.loads(request.body)
    except ValueError:
        return dict(parse_qsl(request.body.decode("latin-1"), keep_blank_values=True) or request.query)


@pytest.mark.parametrize("item", WEBHOOKS, ids=lambda item: f"{item.plugin}-{item.name}")
def test_the_events_say_what_the_table_says(item: Documented) -> None:
    channel, given = CHANNELS[item.plugin], account(item.plugin)
    ctx = WebhookContext(
        provider_app=channel.info.provider_app_settings.model_validate(given.provider_app),
        account=channel.info.account_settings.model_validate(given.settings),
        log=None,
        # Long after: no event is to take its time from our clock.
        now=datetime(2030, 1, 1, tzinfo=UTC),
    )
    found = [plain(event, read(item.request)) for event in channel.parse_event(ctx, item.request)]
    assert found == EXPECTED[item.plugin][Path(item.name).stem]


def test_the_tables_have_every_documented_webhook_and_nothing_else() -> None:
    named: dict[Path, set[str]] = {fixtures_of(name): set() for name in PLUGINS}
    for item in WEBHOOKS:
        named[fixtures_of(item.plugin)].add(Path(item.name).stem)
    assert named == {fixtures_of(name): set(rows) for name, rows in EXPECTED.items()}
