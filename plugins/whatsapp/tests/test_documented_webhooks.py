"""Every documented webhook: its signature holds, and it becomes the right events."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from waypost.plugin import (
    AccountUpdate,
    Address,
    AddressChange,
    ChannelEvent,
    ConsentChange,
    Contacts,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    Location,
    Media,
    PriceUpdate,
    Rejected,
    TemplateUpdate,
    Text,
    Unknown,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost_whatsapp.channel import WhatsApp

Parse = Callable[[Any], list[ChannelEvent]]
Deliveries = dict[str, WebhookRequest]

ADA = Address("e164", "+16505550143")
ADA_ID = Address("wa_user_id", "US.20417733905561208843")
US = Address("e164", "+15550001122")
NUMBER = "330011223344556"
M = "wamid.HBgLMTY1MDU1NTAxNDMVAgA"


def piece_of(request: WebhookRequest, kind: str) -> Any:
    return json.loads(request.body)["entry"][0]["changes"][0]["value"][kind][0]


INBOUND: dict[str, Any] = {
    "msg_text": Text(body="Does it come in another color?"),
    "msg_text_unicode": None,
    "msg_text_reply_context": None,
    "msg_text_forwarded": None,
    "msg_text_product_inquiry": None,
    "msg_text_ctwa_ad_referral": Text(body="Hello! Can I get more info on this?"),
    "msg_image_caption": Media,
    "msg_video": Media,
    "msg_audio_voice": Media,
    "msg_document": Media,
    "msg_sticker": Media,
    "msg_location": Location,
    "msg_contacts": Contacts,
    "msg_button_template_quick_reply": Text(body="Unsubscribe"),
    "msg_interactive_button_reply": None,
    "msg_interactive_list_reply": None,
    "msg_interactive_nfm_reply": Unknown,
    "msg_order": Unknown,
    "msg_unsupported": Unknown,
    "msg_edit": Text(body="Does it come in GREEN?"),
    "msg_revoke": Unknown,
    "msg_text_phone_and_bsuid": Text(body="hello with phone and BSUID"),
    "msg_text_bsuid_only": Text(body="hello without a phone number"),
}
OTHERS = {
    "msg_reaction",
    "msg_reaction_removed",
    "msg_system_user_changed_number",
    "value_level_errors",
    "batch_two_entries_messages_and_statuses",
    "field_message_template_status_update_approved",
    "field_message_template_status_update_rejected",
    "field_phone_number_quality_update",
    "field_user_preferences_resume",
    "field_user_preferences_stop",
}
STATUSES: dict[str, tuple[str, tuple[bool, str] | None]] = {
    "status_sent": ("sent", (True, "utility")),
    "status_sent_v23_conversation": ("sent", (True, "marketing")),
    "status_delivered": ("delivered", (True, "utility")),
    "status_delivered_free_service": ("delivered", (False, "service")),
    "status_delivered_free_entry_point": ("delivered", (False, "referral_conversion")),
    "status_delivered_with_bsuid_contact": ("delivered", (True, "utility")),
    "status_sent_with_opaque_callback_data": ("sent", (True, "utility")),
    "status_read": ("read", None),
    "status_played": ("read", None),
    "status_group_read": ("read", None),
    "status_failed_130472_experiment": ("failed", None),
    "status_failed_131026_undeliverable": ("failed", None),
    "status_failed_131047_window": ("failed", None),
    "status_failed_131049_ecosystem": ("failed", None),
    "status_failed_131050_marketing_optout": ("failed", None),
    "status_failed_131053_media_upload": ("failed", None),
}
FAILURES = {
    "status_failed_130472_experiment": ("130472", "Permanent"),
    "status_failed_131026_undeliverable": ("131026", "InvalidRecipient"),
    "status_failed_131047_window": ("131047", "OutsideWindow"),
    "status_failed_131049_ecosystem": ("131049", "Permanent"),
    "status_failed_131050_marketing_optout": ("131050", "OptedOut"),
    "status_failed_131053_media_upload": ("131053", "ContentRejected"),
}


def test_every_documented_webhook_has_a_case(deliveries: Deliveries) -> None:
    assert set(deliveries) == set(INBOUND) | set(STATUSES) | OTHERS


async def test_every_signature_holds_and_none_for_other_bytes(
    plugin: WhatsApp, webhook_ctx: WebhookContext, deliveries: Deliveries
) -> None:
    for name, request in deliveries.items():
        assert isinstance(await plugin.verify_webhook(webhook_ctx, request), Verified), name
        changed = replace(request, body=request.body + b" ")
        assert isinstance(await plugin.verify_webhook(webhook_ctx, changed), Rejected), name


def test_every_delivery_is_recognised_with_its_number(plugin: WhatsApp, deliveries: Deliveries) -> None:
    for name, request in deliveries.items():
        found = plugin.recognize(request)
        assert found is not None
        template = name.startswith(("field_message_template", "field_phone_number"))
        assert found.account_ref == (None if template else NUMBER)


@pytest.mark.parametrize("name", sorted(INBOUND))
def test_inbound(name: str, deliveries: Deliveries, parse: Parse) -> None:
    request = deliveries[name]
    event = parse(request)[0]
    assert isinstance(event, InboundMessage)
    raw = piece_of(request, "messages")
    assert event.raw == raw
    assert event.account_ref == NUMBER
    assert event.recipient == US
    assert event.occurred_at == datetime.fromtimestamp(int(raw["timestamp"]), UTC)
    assert event.sender_name == "Ada Okafor"
    assert event.event_id == f"message:{NUMBER}:{raw['id']}"
    if not name.startswith(("msg_edit", "msg_revoke")):
        assert event.provider_id == raw["id"]
        assert event.change == "new"
    if not name.endswith("bsuid_only"):
        assert event.sender[0] == ADA
    expected = INBOUND[name]
    if isinstance(expected, type):
        assert isinstance(event.content, expected)
    elif expected is not None:
        assert event.content == expected


def content_of(name: str, deliveries: Deliveries, parse: Parse) -> Any:
    event = parse(deliveries[name])[0]
    assert isinstance(event, InboundMessage)
    return event.content


def test_inbound_unicode_is_read_from_metas_escapes(deliveries: Deliveries, parse: Parse) -> None:
    request = deliveries["msg_text_unicode"]
    assert b"\\u" in request.body
    assert content_of("msg_text_unicode", deliveries, parse).body == "Größe M bitte 👍🏽 — ¿vale? שלום"


def test_inbound_media_keep_id_url_and_what_belongs_to_them(deliveries: Deliveries, parse: Parse) -> None:
    for name, kind in (
        ("msg_image_caption", "image"),
        ("msg_video", "video"),
        ("msg_audio_voice", "audio"),
        ("msg_document", "document"),
        ("msg_sticker", "sticker"),
    ):
        media = piece_of(deliveries[name], "messages")[kind]
        content = content_of(name, deliveries, parse)
        assert (content.kind, content.media_id, content.url) == (kind, media["id"], media.get("url"))
        assert content.mime_type == media["mime_type"]
        assert content.caption == media.get("caption")
        assert content.filename == media.get("filename")
        assert content.voice == media.get("voice", False)
    assert content_of("msg_image_caption", deliveries, parse).url is not None
    assert content_of("msg_audio_voice", deliveries, parse).voice is True


def test_inbound_location_and_contacts(deliveries: Deliveries, parse: Parse) -> None:
    place = piece_of(deliveries["msg_location"], "messages")["location"]
    content = content_of("msg_location", deliveries, parse)
    assert (content.latitude, content.longitude) == (place["latitude"], place["longitude"])
    assert content_of("msg_contacts", deliveries, parse).contacts[0]["name"]["formatted_name"] == "Lucía Gómez"


def test_inbound_reply_and_forward(deliveries: Deliveries, parse: Parse) -> None:
    quoted, forwarded = (parse(deliveries[f"msg_text_{name}"])[0] for name in ("reply_context", "forwarded"))
    assert isinstance(quoted, InboundMessage)
    assert quoted.reply_to == piece_of(deliveries["msg_text_reply_context"], "messages")["context"]["id"]
    assert isinstance(forwarded, InboundMessage)
    assert forwarded.reply_to is None


@pytest.mark.parametrize(
    ("name", "kind", "payload", "title"),
    [
        ("msg_button_template_quick_reply", "button", "UNSUBSCRIBE", "Unsubscribe"),
        ("msg_interactive_button_reply", "button_reply", None, None),
        ("msg_interactive_list_reply", "list_reply", None, None),
    ],
)
def test_a_tap_is_a_message_and_a_postback(
    name: str, kind: str, payload: str | None, title: str | None, deliveries: Deliveries, parse: Parse
) -> None:
    message, tap = parse(deliveries[name])
    raw = piece_of(deliveries[name], "messages")
    if payload is None:
        reply = raw["interactive"][kind]
        payload, title = reply["id"], reply["title"]
    assert isinstance(message, InboundMessage)
    assert message.content == Text(body=str(title))
    assert message.reply_to == raw["context"]["id"]
    assert isinstance(tap, Engagement)
    assert (tap.action, tap.provider_id) == ("postback", raw["context"]["id"])
    assert tap.sender == (ADA,)
    assert tap.detail == {"kind": kind, "payload": payload, "title": title, "message_id": raw["id"]}
    assert tap.event_id != message.event_id


def test_a_flow_comes_back_with_its_answers(deliveries: Deliveries, parse: Parse) -> None:
    content = content_of("msg_interactive_nfm_reply", deliveries, parse)
    assert content.provider_kind == "interactive.nfm_reply"
    assert content.fields["response"] == {"flow_token": "ft-77", "rating": "4", "comment": "ok"}


def test_orders_and_unsupported_messages_keep_their_fields(deliveries: Deliveries, parse: Parse) -> None:
    order = content_of("msg_order", deliveries, parse)
    assert order.provider_kind == "order"
    assert order.fields["product_items"][1]["item_price"] == 25.5
    unsupported = content_of("msg_unsupported", deliveries, parse)
    assert unsupported.fields["errors"][0]["code"] == 131051


def test_an_ad_referral_is_kept(deliveries: Deliveries, parse: Parse) -> None:
    _, referral = parse(deliveries["msg_text_ctwa_ad_referral"])
    assert isinstance(referral, Engagement)
    assert referral.action == "referral"
    assert referral.detail["ctwa_clid"] == "Aff-n8ZTODiE79d22KtAwQKj9e_example"


def test_edits_and_revocations_name_the_message_they_change(deliveries: Deliveries, parse: Parse) -> None:
    original = f"{M}SGBRFMTJBNDg1NjVCRjhGMzEwQjE4MAA="
    for name, change in (("msg_edit", "edit"), ("msg_revoke", "unsend")):
        (event,) = parse(deliveries[name])
        assert isinstance(event, InboundMessage)
        assert (event.provider_id, event.change) == (original, change)


def test_people_known_by_a_user_id(deliveries: Deliveries, parse: Parse) -> None:
    both, hidden = (parse(deliveries[f"msg_text_{name}"])[0] for name in ("phone_and_bsuid", "bsuid_only"))
    assert isinstance(both, InboundMessage)
    assert both.sender == (ADA, ADA_ID)
    assert isinstance(hidden, InboundMessage)
    assert hidden.sender == (ADA_ID, Address("wa_user_id", "US.ENT.77120094411873"))


def test_reactions(deliveries: Deliveries, parse: Parse) -> None:
    target = f"{M}RGBQyRjBDNTlGQjY3RDEzNEVCMzUyNAA="
    for name, action, detail in (
        ("msg_reaction", "reaction", {"emoji": "👍"}),
        ("msg_reaction_removed", "unreaction", {}),
    ):
        (event,) = parse(deliveries[name])
        assert isinstance(event, Engagement)
        assert (event.action, event.provider_id, event.sender) == (action, target, (ADA,))
        assert event.detail == detail
        assert event.raw == piece_of(deliveries[name], "messages")


def test_a_changed_number(deliveries: Deliveries, parse: Parse) -> None:
    (event,) = parse(deliveries["msg_system_user_changed_number"])
    assert isinstance(event, AddressChange)
    assert (event.old, event.new) == (ADA, Address("e164", "+16505550177"))
    assert event.account_ref == NUMBER


@pytest.mark.parametrize("name", sorted(STATUSES))
def test_statuses(name: str, deliveries: Deliveries, parse: Parse) -> None:
    status, price = STATUSES[name]
    raw = piece_of(deliveries[name], "statuses")
    events = parse(deliveries[name])
    update = events[0]
    assert isinstance(update, DeliveryUpdate)
    assert (update.status, update.provider_id, update.account_ref) == (status, raw["id"], NUMBER)
    assert update.occurred_at == datetime.fromtimestamp(int(raw["timestamp"]), UTC)
    assert update.raw == raw
    assert update.correlation == raw.get("biz_opaque_callback_data")
    assert (update.error_code, update.error_class) == FAILURES.get(name, (None, None))
    assert (update.error_detail is None) == (name not in FAILURES)
    if price is None:
        assert len(events) == 1
        return
    pricing = events[1]
    assert isinstance(pricing, PriceUpdate)
    assert (pricing.billable, pricing.category, pricing.model) == (*price, "PMP")
    assert pricing.provider_id == raw["id"]
    assert pricing.correlation == update.correlation
    assert pricing.account_ref == NUMBER


def test_a_status_correlates_by_our_own_id(deliveries: Deliveries, parse: Parse) -> None:
    update = parse(deliveries["status_sent_with_opaque_callback_data"])[0]
    assert isinstance(update, DeliveryUpdate)
    assert update.correlation


def test_a_groups_status_names_the_participant(deliveries: Deliveries, parse: Parse) -> None:
    (update,) = parse(deliveries["status_group_read"])
    assert isinstance(update, DeliveryUpdate)
    assert update.participant == "16505550143"
    assert update.recipient is not None
    assert update.recipient.kind == "wa_group"


def test_errors_without_a_message_concern_the_account(deliveries: Deliveries, parse: Parse) -> None:
    (event,) = parse(deliveries["value_level_errors"])
    assert isinstance(event, AccountUpdate)
    assert (event.topic, event.state, event.account_ref) == ("error", "warning", NUMBER)
    assert event.detail.startswith("130429")


def test_a_batch_of_two_accounts(deliveries: Deliveries, parse: Parse) -> None:
    events = parse(deliveries["batch_two_entries_messages_and_statuses"])
    assert [type(event) for event in events] == [
        InboundMessage,
        InboundMessage,
        DeliveryUpdate,
        PriceUpdate,
        DeliveryUpdate,
        PriceUpdate,
        DeliveryUpdate,
    ]
    assert [event.account_ref for event in events] == [NUMBER] * 6 + ["330011223344999"]
    assert len({event.event_id for event in events}) == 7


def test_templates_tell_their_status(deliveries: Deliveries, parse: Parse) -> None:
    (approved,) = parse(deliveries["field_message_template_status_update_approved"])
    (rejected,) = parse(deliveries["field_message_template_status_update_rejected"])
    assert isinstance(approved, TemplateUpdate)
    assert approved.status == "approved"
    assert isinstance(rejected, TemplateUpdate)
    assert (rejected.template_id, rejected.name, rejected.language) == ("1689556908129833", "autumn_promo", "de")
    assert (rejected.status, rejected.reason) == ("rejected", "INVALID_FORMAT")


def test_a_flagged_number_is_a_warning(deliveries: Deliveries, parse: Parse) -> None:
    (event,) = parse(deliveries["field_phone_number_quality_update"])
    assert isinstance(event, AccountUpdate)
    assert (event.topic, event.state) == ("phone_number_quality_update", "warning")
    assert event.detail == "FLAGGED TIER_10K"


def test_consent_to_marketing(deliveries: Deliveries, parse: Parse) -> None:
    for name, state in (("stop", "opted_out"), ("resume", "opted_in")):
        (event,) = parse(deliveries[f"field_user_preferences_{name}"])
        assert isinstance(event, ConsentChange)
        assert (event.address, event.state, event.scope, event.reason) == (ADA, state, "marketing", name)
        assert event.account_ref == NUMBER


def test_ids_do_not_depend_on_the_batch_or_the_clock(
    deliveries: Deliveries, plugin: WhatsApp, webhook_ctx: WebhookContext
) -> None:
    later = replace(webhook_ctx, now=webhook_ctx.now.replace(year=2030))
    for request in deliveries.values():
        document = json.loads(request.body)
        twice = {**document, "entry": [{"id": "1", "changes": []}, *document["entry"], *document["entry"]]}
        again = replace(request, body=json.dumps(twice).encode())
        once = {event.event_id for event in plugin.parse_event(webhook_ctx, request)}
        assert once <= {event.event_id for event in plugin.parse_event(later, again)}
        assert len({event.event_id for event in plugin.parse_event(later, again)}) == len(once) + 1
