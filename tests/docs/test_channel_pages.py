"""What an operator looks for on a channel's page is there."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.mark.parametrize("plugin", ["sms_twilio", "whatsapp_twilio", "email_sendgrid"])
def test_the_webhook_url_to_paste_is_there(plugin: str, pages: Any) -> None:
    text = pages[f"docs/channels/{plugin}.md"].text
    assert f"https://<your public host>/webhooks/{plugin}" in text


@pytest.mark.parametrize("plugin", ["sms_twilio", "whatsapp_twilio", "email_sendgrid"])
def test_every_way_in_is_there(plugin: str, pages: Any) -> None:
    text = pages[f"docs/channels/{plugin}.md"].text
    for url in (f"`/webhooks/{plugin}/<gateway>`", f"`/webhooks/{plugin}`", "`/api/webhook.php`"):
        assert f"| {url} |" in text
    assert "`waypost gateways show NAME`" in text
