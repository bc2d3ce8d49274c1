"""Whatever of a content a channel does not send it refuses; left out without a word are the guide's hints alone."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_plus

import aiohttp
import pytest
from documented import PLUGINS
from waypost.plugin import ChannelError
from waypost.plugin.content import Content
from waypost.testing.stage import on_stage, texts_of
from waypost.testing.subject import Subject

WORD = "Pangolin"
URL = f"https://example.com/{WORD}.png"
#: As `docs/partners.md` names them: by kind of content, or `media` for all media.
HINTS = {
    ("text", "preview_url"), ("media", "filename"), ("media", "mime_type"), ("media", "voice"),
    ("template", "language"), ("template", "category"),
    ("typing_on", "message_id"), ("typing_off", "message_id"), ("mark_read", "message_id"),
}  # fmt: skip
MEDIA = {"image", "video", "audio", "document", "sticker"}
CHOICES: tuple[dict[str, str], ...] = (
    {"title": "A", "id": WORD}, {"title": "A", "description": WORD}, {"title": "A", "url": URL},
    {"title": "A", "phone": "+15557654321"}, {"title": "A", "image_url": URL}, {"title": WORD},
)  # fmt: skip
FIELDS: dict[str, dict[str, Any]] = {
    "text": {"preview_url": True},
    "template": {
        "language": WORD, "variables": {"1": WORD}, "category": "marketing",
        "components": [{"type": "body", "parameters": [{"type": "text", "text": WORD}]}],
    },
    "media": {
        "caption": WORD, "filename": f"{WORD}.png", "mime_type": f"image/{WORD}", "more_urls": [URL], "voice": True,
    },
    "location": {"name": WORD, "address": WORD},
    "buttons": {"header": WORD, "footer": WORD},
    "quick_replies": {"header": WORD, "footer": WORD},
    "list": {"header": WORD, "footer": WORD},
    "cards": {
        "cards": [
            {"title": "A", "subtitle": WORD}, {"title": "A", "image_url": URL},
            {"title": "A", "subtitle": "B", "url": URL},
        ]
    },
    "email": {
        "subject": WORD, "text": f"text {WORD}", "html": f"<p>{WORD}</p>", "from_name": WORD,
        "reply_to": f"{WORD}@example.com", "cc": [f"{WORD}@example.com"], "bcc": [f"{WORD}@example.com"],
        "headers": {"X-Animal": WORD}, "categories": [WORD],
        "attachments": [{"filename": WORD, "data": "UGFuZ29saW4="}],
        "template_id": f"d-{WORD}", "variables": {"animal": WORD},
    },
    "typing_on": {"message_id": WORD}, "typing_off": {"message_id": WORD}, "mark_read": {"message_id": WORD},
}  # fmt: skip


def changes(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field of a kind, by the name of its family, with something in it that can be found again."""
    family = "media" if kind in MEDIA else kind
    for field, value in FIELDS.get(family, {}).items():
        yield f"{family} {field}", {field: value}
    for choice in CHOICES:
        if kind in ("buttons", "quick_replies"):
            yield f"{family} choices", {"choices": [choice]}
        elif kind == "list":
            yield f"{family} sections", {"sections": [{"title": "T", "choices": [choice]}]}
        elif kind == "cards":
            yield f"{family} choices", {"cards": [{"title": "T", "subtitle": "S", "choices": [choice]}]}


class Written:
    """Everything that goes to the provider, as a middleware of aiohttp."""

    def __init__(self) -> None:
        self.text = ""

    async def __call__(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        body = request.body
        sent = (body if isinstance(body, bytes) else await body.as_bytes()).decode()
        self.text += sent if sent.startswith("{") else unquote_plus(sent)
        return await handler(request)


def told(change: Mapping[str, Any]) -> set[str]:
    """What of a change can be found again: its words, not what is too short."""
    return texts_of(change) - {"parameters"} or {str(value) for value in change.values()}


@pytest.mark.parametrize("plugin", PLUGINS)
async def test_what_is_not_sent_is_refused(plugin: str) -> None:
    class Channel(Subject):
        pass

    Channel.plugin = plugin
    subject, written = Channel(), Written()
    tried, dropped = set(), set()
    info = subject.channel.info
    async with (
        on_stage(subject) as stage,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), middlewares=(written,)) as session,
    ):
        stage.http = session
        for kind in sorted(info.content_kinds & info.examples.keys()):
            model = info.content_model(kind)
            assert model is not None
            for name, change in changes(kind):
                content = model.model_validate({"kind": kind, **info.examples[kind], **change})
                assert isinstance(content, Content)
                message = replace(subject.message(stage.simulator, kind), content=content)
                written.text = ""
                try:
                    subject.hooks.price(ctx=stage.context(), message=message)
                    async with asyncio.timeout(10):
                        await stage.send(message)
                except ChannelError:
                    continue
                tried.add(name)
                if not all(word in written.text for word in told(change)):
                    dropped.add(tuple(name.split()))
    assert dropped <= HINTS
    assert len(tried) >= 3, "the channel refuses nearly all that it declares"
