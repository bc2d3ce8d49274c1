"""The documented webhooks that every plugin keeps beside its tests, and what a gateway needs to believe them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from waypost.plugin import WebhookRequest

#: One plugin for each channel, and WhatsApp by its second way.
PLUGINS = ("whatsapp", "messenger", "instagram", "email_sendgrid", "sms_twilio", "whatsapp_twilio")

_CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Documented:
    """A webhook as documented: raw bytes, true signature. `secret` is what it was signed with, None where unsigned."""

    plugin: str
    name: str
    request: WebhookRequest
    secret: str | None


@dataclass(frozen=True)
class Account:
    """Settings under which a plugin's documented webhooks are believed."""

    settings: Mapping[str, Any]
    provider_app: Mapping[str, Any] = field(default_factory=dict)


def documented() -> list[Documented]:
    """Every documented webhook of every plugin."""
    found = [*_meta("whatsapp"), *_meta("messenger"), *_meta("instagram"), *_sendgrid(), *_twilio()]
    return sorted(found, key=lambda item: (item.plugin, item.name))


def account(plugin: str) -> Account:
    """The account that a plugin's documented webhooks are for."""
    manifest = _manifest(plugin)
    if plugin == "whatsapp":
        secrets = manifest["credentials"]
        own = {"phone_number_id": "330011223344556", "waba_id": "220099887766551", "access_token": "fixture"}
        return Account(own, {"app_secrets": [secrets["app_secret"]], "verify_token": secrets["verify_token"]})
    if plugin in ("messenger", "instagram"):
        own = {"page_id": "118200456700123"} if plugin == "messenger" else {"ig_id": "17841400000012345"}
        app = {"app_secrets": [manifest["app_secret"]], "verify_token": manifest["verify_token"]}
        return Account({"access_token": "fixture", **own}, app)
    if plugin == "email_sendgrid":
        key = (fixtures_of(plugin) / "public_key.txt").read_text()
        # The unsigned parse delivery proves itself by the secret in its URL.
        keys = {"event_public_keys": [key], "parse_public_keys": [key], "inbound_secret": "fixture-inbound"}
        return Account({"api_key": "SG.fixture.fixture", "from_address": "orders@shop.example.test", **keys})
    token = next(entry["auth_token"] for entry in manifest["fixtures"] if entry["file"].startswith("webhooks/"))
    return Account({"account_sid": manifest["account_sid"], "auth_token": token})


def fixtures_of(plugin: str) -> Path:
    """The folder of a plugin's fixtures."""
    return _CHECKOUT / "plugins" / plugin.replace("whatsapp_twilio", "sms_twilio") / "tests" / "fixtures"


def _manifest(plugin: str) -> Any:
    return json.loads((fixtures_of(plugin) / "manifest.json").read_text())


def _request(entry: Mapping[str, Any], body: bytes) -> WebhookRequest:
    return WebhookRequest(
        method=entry["method"],
        url=entry["url"],
        headers=tuple((name.lower(), value) for name, value in entry["headers"].items()),
        query=tuple(parse_qsl(urlsplit(entry["url"]).query, keep_blank_values=True)),
        body=body,
    )


def _meta(plugin: str) -> list[Documented]:
    manifest = _manifest(plugin)
    if plugin == "whatsapp":
        secret = manifest["credentials"]["app_secret"]
        entries = {Path(entry["file"]).name: entry for entry in manifest["fixtures"]}
    else:
        secret, entries = manifest["app_secret"], manifest["webhooks"]
    return [
        Documented(plugin, name, _request(entry, (fixtures_of(plugin) / "webhooks" / name).read_bytes()), secret)
        for name, entry in entries.items()
    ]


def _sendgrid() -> list[Documented]:
    folder = fixtures_of("email_sendgrid")
    return [
        Documented(
            "email_sendgrid", name, _request(entry, (folder / "webhooks" / name).read_bytes()), entry["public_key"]
        )
        for name, entry in _manifest("email_sendgrid").items()
    ]


def _twilio() -> list[Documented]:
    folder = fixtures_of("sms_twilio")
    return [
        Documented(
            "whatsapp_twilio" if Path(entry["file"]).name.startswith("wa_") else "sms_twilio",
            Path(entry["file"]).name,
            _request(entry, b"" if entry["method"] == "GET" else (folder / entry["file"]).read_bytes()),
            entry["auth_token"],
        )
        for entry in _manifest("sms_twilio")["fixtures"]
        if entry["file"].startswith("webhooks/")
    ]
