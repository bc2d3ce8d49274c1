"""The cassettes of the three Meta channels hold what is documented, all of it; and what no plugin calls is played here.

Waypost sends media by id or URL and leaves it to partners to upload and download them, so that those exchanges are
played through the shared client. A handshake is Meta's request: its cassette is what we must answer.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import pytest
import vcr
from documented import account
from vcr.cassette import Cassette
from waypost.plugin import Challenge, Rejected, WebhookContext, WebhookRequest
from waypost.plugin.http import request
from waypost_instagram.channel import instagram
from waypost_messenger.channel import messenger
from waypost_meta_graph import ErrorTable, Graph, GraphAccountSettings, MetaAppSettings
from waypost_whatsapp.channel import whatsapp

CHANNELS: dict[str, Any] = {"whatsapp": whatsapp, "messenger": messenger, "instagram": instagram}
PLUGINS = Path(__file__).parents[2]
RECORDER = vcr.VCR(record_mode="none", ignore_localhost=True, match_on=["method", "uri"])


@dataclass(frozen=True)
class Exchange:
    """One request and its answer, as a fixture or a cassette has it."""

    method: str
    url: str
    asked: Any
    status: int
    answered: Any


def asked(body: Any) -> Any:
    """A request's JSON; None where there is none. `preview_url` is false where a document leaves it out."""
    if not isinstance(body, dict):
        body = body.decode() if isinstance(body, bytes) else body
        body = json.loads(body) if body and body.startswith("{") else None
    if body is not None and isinstance(body.get("text"), dict):
        return {**body, "text": {"preview_url": False, **body["text"]}}
    return body


def documented_exchange(path: Path) -> Exchange:
    fixture = json.loads(path.read_text())
    given, answer = fixture["request"], fixture["response"]
    answered = answer["body"] if "body" in answer else answer["body_text"]
    return Exchange(given["method"], given["url"], asked(given.get("body")), answer["status"], answered)


def exchanges(cassette: Cassette) -> Iterator[Exchange]:
    for given, answer in zip(cassette.requests, cassette.responses, strict=True):
        text = answer["body"]["string"]
        text = text.decode() if isinstance(text, bytes) else text
        answered = json.loads(text) if text.startswith("{") else text
        yield Exchange(given.method, given.uri, asked(given.body), answer["status"]["code"], answered)


def recorded(plugin: str, name: str = "*") -> list[Exchange]:
    paths = sorted((PLUGINS / plugin / "tests" / "cassettes").glob(f"{name}.yaml"))
    assert paths
    return [exchange for path in paths for exchange in exchanges(Cassette.load(path=str(path)))]


@pytest.mark.parametrize("plugin", CHANNELS)
def test_every_documented_exchange_is_on_a_cassette_as_it_is_documented(plugin: str) -> None:
    kept = recorded(plugin)
    for path in sorted((PLUGINS / plugin / "tests" / "fixtures" / "api").glob("*.json")):
        assert documented_exchange(path) in kept, path.name


def test_the_form_of_an_upload_is_the_documented_one() -> None:
    fixture = json.loads((PLUGINS / "whatsapp" / "tests" / "fixtures" / "api" / "media_upload.json").read_text())
    (upload, _) = Cassette.load(path=str(PLUGINS / "whatsapp" / "tests" / "cassettes" / "media.yaml")).requests
    fields = {**fixture["request"]["form"]}
    name = fields.pop("file").removeprefix("@")
    form = upload.body.decode()
    assert form.count("Content-Disposition") == len(fields) + 1
    assert all(f'name="{field}"\r\n\r\n{value}\r\n' in form for field, value in fields.items())
    assert f'name="file"; filename="{name}"\r\nContent-Type: {fields["type"]}\r\n' in form


#: What the plugins ask beyond the documented examples: account, subscription, templates.
OWN_CALLS = {"whatsapp": {"management"}, "messenger": {"account"}, "instagram": {"account"}}


@pytest.mark.parametrize("plugin", CHANNELS)
def test_no_cassette_holds_anything_else(plugin: str) -> None:
    folder = PLUGINS / plugin / "tests"
    known = [documented_exchange(path) for path in (folder / "fixtures" / "api").glob("*.json")]
    for path in sorted((folder / "cassettes").glob("*.yaml")):
        assert "ranscribed from" in path.read_text().splitlines()[0], path.name
        if path.stem not in OWN_CALLS[plugin]:
            for exchange in recorded(plugin, path.stem):
                assert exchange in known, path.name


@pytest.mark.parametrize("plugin", CHANNELS)
async def test_the_documented_handshakes_are_answered_as_documented(plugin: str) -> None:
    app = MetaAppSettings.model_validate(account(plugin).provider_app)
    ctx = WebhookContext(
        provider_app=app, account=None, log=logging.getLogger("test"), now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    right, wrong = recorded(plugin, "handshake")
    for exchange in (right, wrong):
        query = tuple(parse_qsl(urlsplit(exchange.url).query))
        given = WebhookRequest(method=exchange.method, url=exchange.url, query=query)
        verdict = await CHANNELS[plugin].verify_webhook(ctx, given)
        if exchange is right:
            assert isinstance(verdict, Challenge)
            assert (verdict.reply.status, verdict.reply.body.decode()) == (exchange.status, exchange.answered)
        else:  # refused like every other stranger: with the one constant 401 in place of the documented 403
            assert isinstance(verdict, Rejected)
            assert (exchange.status, exchange.answered) == (403, "")


@pytest.fixture
async def graph() -> AsyncIterator[Graph]:
    async with aiohttp.ClientSession() as session:
        yield Graph.of(session, GraphAccountSettings(access_token="EAAFixtureOnlyToken"), ErrorTable({}))


def played(plugin: str, name: str) -> Any:
    return RECORDER.use_cassette(str(PLUGINS / plugin / "tests" / "cassettes" / f"{name}.yaml"))


async def test_media_are_uploaded_and_found(graph: Graph) -> None:
    upload, found = recorded("whatsapp", "media")
    form = aiohttp.FormData({"messaging_product": "whatsapp", "type": "image/jpeg"})
    form.add_field("file", b"not really a picture", filename="p.jpg", content_type="image/jpeg")
    with played("whatsapp", "media") as cassette:
        reply = await request(graph.session, "POST", f"{graph.root}/330011223344556/media", data=form)
        node = await graph.get("1003383421387256")
    assert cassette.play_count == 2
    assert reply.json() == upload.answered
    assert node == found.answered


async def test_an_attachment_is_uploaded(graph: Graph) -> None:
    (upload,) = recorded("messenger", "attachment_upload")
    with played("messenger", "attachment_upload") as cassette:
        answer = await graph.post("118200456700123/message_attachments", upload.asked)
    assert cassette.play_count == 1
    assert answer == upload.answered
