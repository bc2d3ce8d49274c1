"""Documented exchanges of the Send API, replayed: our request is theirs, and their answer is understood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import vcr
from waypost.plugin import (
    AccountBlocked,
    Card,
    Cards,
    ChannelError,
    Choice,
    Content,
    Context,
    InvalidRecipient,
    Media,
    Misconfigured,
    OutboundMessage,
    OutsideWindow,
    RateLimited,
    Reaction,
    Text,
    Transient,
)
from waypost_instagram.channel import instagram
from waypost_instagram.settings import InstagramAccount

CASSETTES = vcr.VCR(
    cassette_library_dir=str(Path(__file__).parent / "cassettes"),
    path_transformer=vcr.VCR.ensure_suffix(".yaml"),
    record_mode="none",
    ignore_localhost=True,
    match_on=["method", "scheme", "host", "port", "path", "query", "body"],
    filter_headers=["authorization"],
    filter_query_parameters=["access_token"],
)
REACTED = (
    "aWdfZAG1faXRlbToxOklHTWVzc2FnZAUlEOZZQERSPqtitUrQdWU4PKAOWS3j6SUZ1ZW2qFgFCZEHWkYpg6ZkIdFXxh15xf6AYT1NFwZj8n3Z"
    "TWepZZlHYlcwQcZD"
)
SENDS: dict[str, tuple[Content, dict[str, Any]]] = {
    "send_text_page_token": (Text(body="Yes, in stock"), {}),
    "send_text_instagram_login": (Text(body="Yes, in stock"), {"login": "instagram"}),
    "send_image": (Media(kind="image", url="https://cdn.example.test/p.jpg"), {}),
    "send_like_heart": (Media(kind="sticker", media_id="like_heart"), {}),
    "send_reaction": (Reaction(message_id=REACTED, emoji="❤️"), {}),
    "send_human_agent_tag": (Text(body="Following up"), {"options": {"tag": "HUMAN_AGENT"}}),
    "send_generic_template": (
        Cards(
            cards=(
                Card(
                    title="Red shirt",
                    image_url="https://cdn.example.test/r.jpg",
                    choices=(Choice(title="Buy", id="BUY-1"),),
                ),
            )
        ),
        {},
    ),
}
CLASSES: dict[str, type[ChannelError]] = {
    "auth": AccountBlocked,
    "config": Misconfigured,
    "outside_window": OutsideWindow,
    "permanent_recipient": InvalidRecipient,
    "rate_limit": RateLimited,
    "transient": Transient,
}
FAILURES = sorted(path.stem for path in (Path(__file__).parent / "cassettes").glob("error*.yaml"))

MakeContext = Callable[..., Context]
MakeMessage = Callable[..., OutboundMessage]
Exchange = Callable[[str], dict[str, Any]]


@pytest.mark.parametrize("name", sorted(SENDS))
async def test_send(name: str, context: MakeContext, outbound: MakeMessage, exchange: Exchange) -> None:
    content, given = SENDS[name]
    settings = {
        "ig_id": "17841400000012345",
        "access_token": "EAAFixturePageToken",
        "login": given.get("login", "page"),
    }
    # A correlation is given as always: Instagram has no place for it.
    ctx = context(account=InstagramAccount.model_validate(settings), correlation="att_1")
    with CASSETTES.use_cassette(name) as cassette:
        result = await instagram.send(ctx, outbound(content, options=given.get("options", {})))
    answer = exchange(f"{name}.json")["response"]["body"]
    assert cassette.play_count == 1
    assert result.status == "sent"
    assert result.provider_ids == ((answer["message_id"],) if "message_id" in answer else ())


@pytest.mark.parametrize("name", FAILURES)
async def test_failure(name: str, context: MakeContext, outbound: MakeMessage, exchange: Exchange) -> None:
    documented = exchange(f"{name}.json")
    problem = documented["response"]["body"]["error"]
    with CASSETTES.use_cassette(name) as cassette, pytest.raises(ChannelError) as caught:
        await instagram.send(context(), outbound(Text(body="x")))
    assert cassette.play_count == 1
    assert type(caught.value) is CLASSES[documented["classification"]]
    assert caught.value.provider_code in (str(problem["code"]), f"{problem['code']}/{problem.get('error_subcode')}")
    assert caught.value.http_status == documented["response"]["status"]


async def test_the_account_is_checked_and_connected_by_both_ways_in(context: MakeContext) -> None:
    with CASSETTES.use_cassette("account") as cassette:
        for login in ("page", "instagram"):
            settings = {"ig_id": "17841400000012345", "access_token": "EAAFixturePageToken", "login": login}
            ctx = context(account=InstagramAccount.model_validate(settings))
            assert (await instagram.check_account(ctx)).state == "ok"
            await instagram.connect_webhook(ctx, "https://gw.example.test/hooks/instagram/ig-main")
    assert cassette.play_count == 4


def test_every_exchange_is_replayed() -> None:
    kept = {path.stem for path in (Path(__file__).parent / "cassettes").glob("*.yaml")}
    # The handshake is Meta's to ask, and is answered beside the shared client's tests.
    assert kept == {*SENDS, *FAILURES, "account", "handshake"}
