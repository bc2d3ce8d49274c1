"""The documented exchanges, replayed: every kind of content, every error, the account's own calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import vcr
from waypost.plugin import (
    AccountBlocked,
    Address,
    ChannelError,
    Content,
    ContentRejected,
    InvalidRecipient,
    Misconfigured,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    RateLimited,
    SecretStr,
    Template,
    Text,
    Transient,
    Unsupported,
)
from waypost_whatsapp.channel import WhatsApp
from waypost_whatsapp.payloads import message_body
from waypost_whatsapp.settings import WhatsAppSettings

HERE = Path(__file__).parent
API = HERE / "fixtures" / "api"
Make = Callable[..., Any]
Replay = Callable[[str], AbstractContextManager[Any]]
MESSAGE = "wamid.HBgLMTY1MDU1NTAxNDMVAgASGBRFMTJBNDg1NjVCRjhGMzEwQjE4MAA="
CDN = "https://cdn.example.test"

#: The documented request → (content, recipient, further fields of the message, correlation).
SENDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "send_text": ({"kind": "text", "body": "Your order has shipped."}, {}),
    "send_text_reply_with_tracker": (
        {"kind": "text", "body": "Yes, in green too."},
        {"reply_to": MESSAGE, "correlation": "gw-msg-01JC9Q2V8N"},
    ),
    "send_text_to_bsuid": ({"kind": "text", "body": "Hi Ada"}, {"recipient": "US.20417733905561208843"}),
    "send_image_link": ({"kind": "image", "url": f"{CDN}/p.jpg", "caption": "New arrival"}, {}),
    "send_video_id": ({"kind": "video", "media_id": "1166846181421424", "caption": "How to"}, {}),
    "send_audio_link": ({"kind": "audio", "url": f"{CDN}/a.ogg"}, {}),
    "send_document_link": (
        {"kind": "document", "url": f"{CDN}/i.pdf", "caption": "Invoice", "filename": "invoice-0042.pdf"},
        {},
    ),
    "send_sticker_id": ({"kind": "sticker", "media_id": "798882015472548"}, {}),
    "send_location": (
        {
            "kind": "location",
            "latitude": 37.758056,
            "longitude": -122.425332,
            "name": "Example HQ",
            "address": "1 Example Way",
        },
        {},
    ),
    "send_contacts": (
        {
            "kind": "contacts",
            "contacts": [
                {
                    "name": {"formatted_name": "Support Desk", "first_name": "Support"},
                    "phones": [{"phone": "+1 650 555 0100", "type": "WORK", "wa_id": "16505550100"}],
                }
            ],
        },
        {},
    ),
    "send_reaction": ({"kind": "reaction", "message_id": MESSAGE, "emoji": "😀"}, {"reply_to": "ignored"}),
    "send_interactive_buttons": (
        {
            "kind": "buttons",
            "header": "Delivery",
            "body": "Keep your slot?",
            "footer": "Reply within 2h",
            "choices": [{"id": "keep", "title": "Keep"}, {"id": "cancel-button", "title": "Cancel"}],
        },
        {},
    ),
    "send_interactive_cta_url": (
        {
            "kind": "buttons",
            "body": "Track your parcel",
            "choices": [{"title": "Track", "url": "https://shop.example.test/t/42"}],
        },
        {},
    ),
    "send_interactive_list": (
        {
            "kind": "list",
            "header": "Shipping",
            "body": "Choose an option",
            "button": "Options",
            "sections": [
                {
                    "title": "Fast",
                    "choices": [
                        {
                            "id": "priority_express",
                            "title": "Priority Mail Express",
                            "description": "Next Day to 2 Days",
                        }
                    ],
                },
                {"title": "Cheap", "choices": [{"id": "ground", "title": "Ground"}]},
            ],
        },
        {},
    ),
    "send_location_request": (
        {
            "kind": "whatsapp.interactive",
            "interactive": {
                "type": "location_request_message",
                "body": {"text": "Where are you?"},
                "action": {"name": "send_location"},
            },
        },
        {},
    ),
    "send_template_named_params": (
        {
            "kind": "template",
            "template_id": "welcome_named",
            "language": "en",
            "variables": {"first_name": "Ada", "order_id": "A-42"},
        },
        {},
    ),
    "send_template_positional": (
        {
            "kind": "template",
            "template_id": "order_update",
            "components": json.loads((API / "send_template_positional.json").read_text())["request"]["body"][
                "template"
            ]["components"],
        },
        {},
    ),
    "send_template_authentication_copy_code": (
        {
            "kind": "template",
            "template_id": "otp_code",
            "language": "en_US",
            "components": [
                {"type": "body", "parameters": [{"type": "text", "text": "481920"}]},
                {
                    "type": "button",
                    "sub_type": "url",
                    "index": "0",
                    "parameters": [{"type": "text", "text": "481920"}],
                },
            ],
        },
        {},
    ),
    "success_held_for_quality": ({"kind": "template", "template_id": "autumn_promo", "language": "de"}, {}),
    "mark_read_and_typing": ({"kind": "typing_on", "message_id": MESSAGE}, {}),
}
ERRORS: dict[str, type[ChannelError]] = {
    "error_100_invalid_parameter": ContentRejected,
    "error_130429_throughput": RateLimited,
    "error_131000_unknown": Transient,
    "error_131009_parameter_invalid": ContentRejected,
    "error_131016_service_unavailable": Transient,
    "error_131026_undeliverable_sync": InvalidRecipient,
    "error_131030_not_in_allowed_list": Misconfigured,
    "error_131031_account_locked": AccountBlocked,
    "error_131042_payment": AccountBlocked,
    "error_131047_window_sync": OutsideWindow,
    "error_131048_spam_rate": RateLimited,
    "error_131056_pair_rate": RateLimited,
    "error_132000_param_count": ContentRejected,
    "error_132001_template_missing": Misconfigured,
    "error_132015_template_paused": Misconfigured,
    "error_190_token_expired": AccountBlocked,
    "error_2_graph_transient": Transient,
    "error_368_policy_block": AccountBlocked,
    "error_502_html": OutcomeUnknown,
    "error_80007_waba_rate": RateLimited,
}


def made(plugin: WhatsApp, spec: dict[str, Any]) -> Content:
    model = plugin.channel_info().content_model(spec["kind"])
    assert model is not None
    content = model(**spec)
    assert isinstance(content, Content)
    return content


def normal(body: Any) -> Any:
    """A request's JSON; the documents leave out `preview_url` where it is false, as often as not."""
    value = json.loads(body) if isinstance(body, str | bytes) and body else body
    if isinstance(value, dict) and isinstance(value.get("text"), dict):
        return {**value, "text": {"preview_url": False, **value["text"]}}
    return value


def same_json(one: Any, other: Any) -> None:
    assert normal(one.body) == normal(other.body)


@pytest.fixture
def replay() -> Replay:
    recorder = vcr.VCR(
        cassette_library_dir=str(HERE / "cassettes"),
        record_mode="none",
        ignore_localhost=True,
        match_on=["method", "uri", "same_json"],
        filter_headers=["authorization"],
        filter_query_parameters=["access_token"],
    )
    recorder.register_matcher("same_json", same_json)
    return lambda name: recorder.use_cassette(f"{name}.yaml")


@pytest.fixture
def documented() -> dict[str, Any]:
    return {path.stem: json.loads(path.read_text()) for path in API.glob("*.json")}


def test_every_documented_exchange_has_a_case(documented: dict[str, Any]) -> None:
    # Played in plugins/meta_graph/tests/test_cassettes.py, with the shared client.
    elsewhere = {"media_get_url", "media_upload", "webhook_verify_ok", "webhook_verify_wrong_token"}
    assert set(documented) == set(SENDS) | set(ERRORS) | elsewhere


@pytest.mark.parametrize("name", sorted(SENDS))
async def test_a_documented_send(
    name: str, plugin: WhatsApp, context: Make, outbound: Make, replay: Replay, documented: dict[str, Any]
) -> None:
    spec, extra = SENDS[name]
    fields = dict(extra)
    ctx = context(correlation=fields.pop("correlation", ""))
    message = outbound(made(plugin, spec), fields.pop("recipient", None), **fields)
    assert message_body(ctx.account, message, ctx.correlation) == normal(documented[name]["request"]["body"])
    with replay("sends") as cassette:
        result = await plugin.send(ctx, message)
        assert cassette.play_count == 1
    answer = documented[name]["response"]["body"]
    assert result.raw == answer
    if "messages" in answer:
        assert result.provider_ids == (answer["messages"][0]["id"],)
        assert result.status == "accepted"
    else:
        assert (result.provider_ids, result.status) == ((), "sent")


async def test_every_documented_error(
    plugin: WhatsApp, context: Make, outbound: Make, replay: Replay, documented: dict[str, Any]
) -> None:
    message = outbound(made(plugin, {"kind": "text", "body": "x"}))
    with replay("errors") as cassette:
        for name in sorted(ERRORS):
            with pytest.raises(ChannelError) as caught:
                await plugin.send(context(), message)
            error = documented[name]["response"].get("body", {}).get("error", {})
            assert type(caught.value) is ERRORS[name], name
            code = caught.value.provider_code
            assert (code or "").split("/")[0] == str(error.get("code", "")), name
            assert caught.value.http_status == documented[name]["response"]["status"]
            assert error.get("message", "?") not in str(caught.value)
        assert cassette.play_count == len(ERRORS)


async def test_templates_are_listed_over_all_pages(plugin: WhatsApp, context: Make, replay: Replay) -> None:
    with replay("management"):
        first, second = await plugin.list_templates(context())
    assert (first.template_id, first.language, first.category, first.status) == (
        "order_update",
        "en_US",
        "utility",
        "approved",
    )
    assert first.variables == ("1", "2", "3")
    assert second.variables == ("first_name", "order_id")


async def test_the_account_is_checked_and_connected(plugin: WhatsApp, context: Make, replay: Replay) -> None:
    with replay("management") as cassette:
        health = await plugin.check_account(context())
        assert (health.state, health.detail) == ("ok", "LIMITED: PHONE_NUMBER.")
        await plugin.connect_webhook(context(), "https://gw.example.test/hooks/whatsapp/meta-main")
        assert cassette.play_count == 2


async def test_what_needs_a_business_account_says_so(plugin: WhatsApp, context: Make) -> None:
    ctx = context(account=WhatsAppSettings(phone_number_id="1", access_token=SecretStr("t")))
    with pytest.raises(Misconfigured):
        await plugin.list_templates(ctx)
    with pytest.raises(Misconfigured):
        await plugin.connect_webhook(ctx, "https://gw.example.test/")


def menu(*rows: dict[str, Any], button: str = "Choose") -> dict[str, Any]:
    return {"kind": "list", "body": "?", "button": button, "sections": [{"title": "s", "choices": list(rows)}]}


@pytest.mark.parametrize(
    ("spec", "error"),
    [
        ({"kind": "text", "body": "x" * 4097}, ContentRejected),
        ({"kind": "image", "url": f"{CDN}/a", "caption": "x" * 1025}, ContentRejected),
        ({"kind": "buttons", "body": "?", "choices": [{"title": word} for word in "abcd"]}, ContentRejected),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "x" * 21, "id": "1"}]}, ContentRejected),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "x", "id": "1" * 257}]}, ContentRejected),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "x" * 21, "url": CDN}]}, ContentRejected),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "x"}], "footer": "x" * 61}, ContentRejected),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "a"}, {"title": "b", "id": "a"}]}, ContentRejected),
        (
            {
                "kind": "list",
                "body": "?",
                "button": "b",
                "sections": [{"title": "one", "choices": [{"title": "a"}]}, {"choices": [{"title": "b"}]}],
            },
            ContentRejected,
        ),
        (menu(*({"title": str(number)} for number in range(11))), ContentRejected),
        (menu({"title": "x" * 25, "id": "1"}), ContentRejected),
        (menu({"title": "x", "description": "x" * 73}), ContentRejected),
        (menu({"title": "x", "id": "1" * 201}), ContentRejected),
        (menu({"title": "x"}, button="x" * 21), ContentRejected),
        ({"kind": "contacts", "contacts": [{"name": {"first_name": "Ada"}}]}, ContentRejected),
        ({"kind": "image"}, ContentRejected),
        ({"kind": "image", "url": f"{CDN}/a", "media_id": "1"}, ContentRejected),
        ({"kind": "image", "url": f"{CDN}/a", "more_urls": [f"{CDN}/b"]}, Unsupported),
        ({"kind": "audio", "url": f"{CDN}/a", "caption": "no"}, Unsupported),
        ({"kind": "sticker", "url": f"{CDN}/a", "caption": "no"}, Unsupported),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "a", "phone": "+1555"}]}, Unsupported),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "a", "description": "b"}]}, Unsupported),
        ({"kind": "buttons", "body": "?", "choices": [{"title": "a"}, {"title": "b", "url": CDN}]}, Unsupported),
        (
            {"kind": "list", "body": "?", "button": "b", "sections": [{"choices": [{"title": "a", "url": CDN}]}]},
            Unsupported,
        ),
        ({"kind": "template", "template_id": "x", "variables": {"1": "a", "3": "c"}}, ContentRejected),
        ({"kind": "template", "template_id": "x", "variables": {"1": "a", "name": "c"}}, ContentRejected),
        (
            {"kind": "template", "template_id": "x", "variables": {"1": "a"}, "components": [{"type": "BODY"}]},
            ContentRejected,
        ),
        ({"kind": "mark_read"}, ContentRejected),
    ],
)
async def test_what_whatsapp_cannot_express(
    spec: dict[str, Any], error: type[Permanent], plugin: WhatsApp, context: Make, outbound: Make
) -> None:
    message = outbound(made(plugin, spec))
    with pytest.raises(error) as priced:
        plugin.price(context(), message)
    with pytest.raises(error) as sent:
        await plugin.send(context(), message)
    assert type(priced.value) is type(sent.value) is error


@pytest.mark.parametrize(
    "spec",
    [
        {"kind": "text", "body": "x" * 4096},
        {"kind": "image", "url": f"{CDN}/a", "caption": "x" * 1024},
        {"kind": "buttons", "body": "?", "choices": [{"title": word * 20, "id": word * 256} for word in "abc"]},
        {"kind": "buttons", "body": "?", "choices": [{"title": "x" * 20, "url": CDN}], "footer": "x" * 60},
        menu(*({"title": f"{n:024}", "id": f"{n:0200}", "description": "x" * 72} for n in range(10)), button="x" * 20),
    ],
)
def test_what_just_fits(spec: dict[str, Any], plugin: WhatsApp, context: Make, outbound: Make) -> None:
    assert plugin.price(context(), outbound(made(plugin, spec))).lines


def test_positional_variables_go_by_number_not_by_order(account: WhatsAppSettings, outbound: Make) -> None:
    variables = {str(n): f"v{n}" for n in (10, 2, 1, 3, 4, 5, 6, 7, 8, 9)}
    body = message_body(account, outbound(Template(template_id="x", variables=variables)))
    (component,) = body["template"]["components"]
    assert [parameter["text"] for parameter in component["parameters"]] == [f"v{n}" for n in range(1, 11)]


def test_variables_go_beside_a_header_and_a_button(account: WhatsAppSettings, outbound: Make) -> None:
    header = {"type": "header", "parameters": [{"type": "text", "text": "H"}]}
    content = Template(template_id="x", variables={"1": "a"}, components=[header])
    assert message_body(account, outbound(content))["template"]["components"] == [
        header,
        {"type": "body", "parameters": [{"type": "text", "text": "a"}]},
    ]


@pytest.mark.parametrize("category", ["AUTHENTICATION", "authentication_international"])
def test_a_code_goes_into_the_body_and_into_the_button(
    category: str, account: WhatsAppSettings, outbound: Make, documented: dict[str, Any]
) -> None:
    content = Template(template_id="otp_code", variables={"1": "481920"}, category=category)
    body = message_body(account, outbound(content))
    assert body == normal(documented["send_template_authentication_copy_code"]["request"]["body"])


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"category": "utility", "variables": {"1": "481920"}}, ["body"]),
        ({"category": "authentication", "variables": {"1": "481920", "2": "x"}}, ["body"]),
        (
            {"category": "authentication", "variables": {"1": "481920"}, "components": [{"type": "BUTTON"}]},
            ["BUTTON", "body"],
        ),
    ],
)
def test_no_button_is_added_to_other_templates(
    fields: Any, kinds: list[str], account: WhatsAppSettings, outbound: Make
) -> None:
    body = message_body(account, outbound(Template(template_id="x", **fields)))
    assert [component["type"] for component in body["template"]["components"]] == kinds


def test_codes_go_to_phone_numbers_only(
    plugin: WhatsApp, account: WhatsAppSettings, context: Make, outbound: Make
) -> None:
    settings = {**account.model_dump(), "template_categories": {"otp_code": "authentication"}}
    content = Template(template_id="otp_code", variables={"1": "481920"}, category="utility")
    by_id = outbound(content, "US.20417733905561208843")
    with pytest.raises(Unsupported):
        plugin.price(context(account=WhatsAppSettings(**settings)), by_id)
    both = replace(by_id, recipient=(*by_id.recipient, Address("e164", "+16505550143")))
    assert plugin.price(context(account=WhatsAppSettings(**settings)), both).lines
    assert plugin.price(context(), by_id).lines


def test_small_things_of_each_kind(account: WhatsAppSettings, outbound: Make, plugin: WhatsApp) -> None:
    def body(**spec: Any) -> dict[str, Any]:
        return message_body(account, outbound(made(plugin, spec)))

    assert body(kind="audio", media_id="1", voice=True)["audio"] == {"id": "1", "voice": True}
    assert body(kind="reaction", message_id="m")["reaction"] == {"message_id": "m", "emoji": ""}
    assert body(kind="text", body="https://x.test", preview_url=True)["text"]["preview_url"] is True
    assert body(kind="location", latitude=0, longitude=0)["location"] == {"latitude": 0.0, "longitude": 0.0}
    assert body(kind="mark_read", message_id="m") == {
        "messaging_product": "whatsapp",
        "status": "read",
        "message_id": "m",
    }
    choices = body(kind="buttons", body="?", choices=[{"title": "Yes"}])["interactive"]["action"]["buttons"]
    assert choices == [{"type": "reply", "reply": {"id": "Yes", "title": "Yes"}}]


def test_a_recipient_of_another_kind_is_refused(account: WhatsAppSettings, outbound: Make) -> None:
    message = replace(outbound(Text(body="x")), recipient=(Address("email", "ada@example.test"),))
    with pytest.raises(InvalidRecipient) as caught:
        message_body(account, message)
    assert "ada" not in str(caught.value)
