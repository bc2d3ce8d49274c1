"""Documented exchanges of the Send API, replayed: our request is theirs, and their answer is understood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vcr
from waypost.plugin import (
    AccountBlocked,
    Action,
    Buttons,
    Card,
    Cards,
    ChannelError,
    Choice,
    Content,
    ContentRejected,
    Context,
    InvalidRecipient,
    Media,
    Misconfigured,
    OutboundMessage,
    OutsideWindow,
    RateLimited,
    Text,
    Transient,
)
from waypost_messenger.channel import messenger

CASSETTES = vcr.VCR(
    cassette_library_dir=str(Path(__file__).parent / "cassettes"),
    path_transformer=vcr.VCR.ensure_suffix(".yaml"),
    record_mode="none",
    ignore_localhost=True,
    match_on=["method", "scheme", "host", "port", "path", "query", "body"],
    filter_headers=["authorization"],
    filter_query_parameters=["access_token"],
)

SENDS: dict[str, tuple[Content, dict[str, Any]]] = {
    "send_text": (Text(body="hello"), {"correlation": "gw-msg-01JC9Q2V8N"}),
    "send_text_human_agent_tag": (Text(body="Sorry for the wait"), {"options": {"tag": "HUMAN_AGENT"}}),
    "send_text_reply_to": (
        Text(body="in reply"),
        {
            "reply_to": "m_kXwC7hHrQSCOzuMu3S66aYt3l4WUqELcD96HTszxOGeUhXE6f_xEPopB3KnNn89idK7QC74emjsEW2OD0cOezk",
        },
    ),
    "send_image_url": (Media(kind="image", url="https://cdn.example.test/p.jpg"), {"options": {"is_reusable": True}}),
    "send_file_attachment_id": (Media(kind="document", media_id="1745504518999123"), {}),
    "send_quick_replies": (
        Buttons(
            kind="quick_replies",
            body="Pick a color",
            choices=(Choice(title="Red", id="COLOR_RED"), Choice(title="Your email", id="user_email")),
        ),
        {},
    ),
    "send_button_template": (
        Buttons(
            body="What next?",
            choices=(Choice(title="Shop", url="https://shop.example.test"), Choice(title="Talk to us", id="AGENT")),
        ),
        {},
    ),
    "send_generic_template": (
        Cards(
            cards=(
                Card(
                    title="Red shirt",
                    subtitle="$19",
                    image_url="https://cdn.example.test/r.jpg",
                    choices=(Choice(title="Buy", id="BUY-1"),),
                ),
            )
        ),
        {},
    ),
    "sender_action_typing_on": (Action(kind="typing_on"), {}),
}

CLASSES: dict[str, type[ChannelError]] = {
    "auth": AccountBlocked,
    "account": AccountBlocked,
    "config": Misconfigured,
    "outside_window": OutsideWindow,
    "permanent_recipient": InvalidRecipient,
    "permanent_request": ContentRejected,
    "rate_limit": RateLimited,
    "transient": Transient,
}
FAILURES = sorted(path.stem for path in (Path(__file__).parent / "cassettes").glob("*error*.yaml"))

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
Exchange = Callable[[str], dict[str, Any]]


@pytest.mark.parametrize("name", sorted(SENDS))
async def test_send(name: str, context: MakeContext, outbound: MakeMessage, exchange: Exchange) -> None:
    content, given = SENDS[name]
    fields = dict(given)
    ctx = context(correlation=fields.pop("correlation", ""))
    with CASSETTES.use_cassette(name) as cassette:
        result = await messenger.send(ctx, outbound(content, **fields))
    answer = exchange(f"{name}.json")["response"]["body"]
    assert cassette.play_count == 1
    assert result.status == "sent"
    assert result.provider_ids == ((answer["message_id"],) if "message_id" in answer else ())
    assert result.raw.get("attachment_id") == answer.get("attachment_id")
    assert "7433201956612084" not in repr(result)


@pytest.mark.parametrize("name", FAILURES)
async def test_failure(name: str, context: MakeContext, outbound: MakeMessage, exchange: Exchange) -> None:
    documented = exchange(f"{name}.json")
    problem = documented["response"]["body"]["error"]
    with CASSETTES.use_cassette(name) as cassette, pytest.raises(ChannelError) as caught:
        await messenger.send(context(), outbound(Text(body="x")))
    assert cassette.play_count == 1
    assert type(caught.value) is CLASSES[documented["classification"]]
    assert caught.value.provider_code in (str(problem["code"]), f"{problem['code']}/{problem.get('error_subcode')}")
    assert caught.value.http_status == documented["response"]["status"]
    assert problem["message"] not in str(caught.value)


async def test_the_account_is_checked_and_connected(context: MakeContext) -> None:
    with CASSETTES.use_cassette("account") as cassette:
        assert (await messenger.check_account(context())).state == "ok"
        made = await messenger.connect_webhook(context(), "https://gw.example.test/hooks/messenger/page-main")
    assert cassette.play_count == 2
    assert "https://gw.example.test/hooks/messenger/page-main" in made.remaining


#: Played beside the shared client's tests: no hook of ours asks for them.
ELSEWHERE = {"attachment_upload", "handshake"}


def test_every_exchange_is_replayed() -> None:
    kept = {path.stem for path in (Path(__file__).parent / "cassettes").glob("*.yaml")}
    assert kept == {*SENDS, *FAILURES, "account", *ELSEWHERE}
