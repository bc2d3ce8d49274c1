"""Deliveries are verified as Twilio signs them, and every documented one becomes the right events."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from odd_json import ODDITIES
from waypost.plugin import (
    Address,
    ConsentChange,
    DeliveryUpdate,
    Engagement,
    InboundMessage,
    Location,
    Media,
    NoSettings,
    Recognition,
    Rejected,
    SecretStr,
    Text,
    Unknown,
    UnknownEvent,
    Verified,
    WebhookContext,
    WebhookRequest,
)
from waypost_sms_twilio import events
from waypost_sms_twilio.channel import sms, whatsapp
from waypost_sms_twilio.settings import TwilioSettings
from waypost_sms_twilio.signature import sign, verify

ACCOUNT_SID = "ACd807640e943b7133f3f95e5fe3b21f7f"
VECTORS = json.loads((Path(__file__).parent / "fixtures" / "twilio_signature_sdk_vectors.json").read_text())
PHONE, OURS = Address("e164", "+14155550142"), Address("e164", "+15005550006")
WA_PHONE, WA_OURS = Address("e164", "+16505550143"), Address("e164", "+14155550100")


def form_request(
    form: dict[str, str] | list[tuple[str, str]], url: str = "https://gw.example.test/h"
) -> WebhookRequest:
    return WebhookRequest(
        method="POST",
        url=url,
        headers=(("content-type", "application/x-www-form-urlencoded"),),
        query=tuple(parse_qsl(urlsplit(url).query)),
        body=urlencode(form).encode(),
    )


# ---- verification


@pytest.mark.parametrize("case", VECTORS["cases"], ids=lambda case: case.get("note", "plain form"))
def test_published_vectors(case: dict[str, Any]) -> None:
    headers = [("x-twilio-signature", case["signature"])]
    if "body" in case:
        body = case["body"].encode()
        headers.append(("content-type", "application/json"))
    else:
        params = case.get("params")
        body = (case.get("form") or urlencode(VECTORS["cases"][0]["params"] if params == "same" else params)).encode()
        headers.append(("content-type", "application/x-www-form-urlencoded"))
    query = tuple(parse_qsl(urlsplit(case["url"]).query))
    request = WebhookRequest(method="POST", url=case["url"], headers=tuple(headers), query=query, body=body)
    assert verify(request, [SecretStr(VECTORS["auth_token"])]) == Verified()
    assert isinstance(verify(request, [SecretStr("another")]), Rejected)


async def test_every_documented_delivery_verifies(delivery: Any, webhook_context: WebhookContext) -> None:
    assert await delivery.channel.verify_webhook(webhook_context, delivery.request) == Verified()


async def test_both_tokens_are_good_while_they_roll(deliveries: Any, settings: TwilioSettings) -> None:
    request = deliveries["sms_inbound_text"].request
    old = settings.auth_token
    for tokens, good in [(("new", old.get_secret_value()), True), (("new", "newer"), False)]:
        account = settings.model_copy(
            update={"auth_token": SecretStr(tokens[0]), "other_auth_tokens": (SecretStr(tokens[1]),)}
        )
        ctx = WebhookContext(provider_app=NoSettings(), account=account, log=None, now=datetime.now(UTC))
        assert isinstance(await sms.verify_webhook(ctx, request), Verified if good else Rejected)


def _with_header(request: WebhookRequest, name: str, value: str | None) -> WebhookRequest:
    kept = tuple(header for header in request.headers if header[0] != name)
    return replace(request, headers=kept if value is None else (*kept, (name, value)))


TAMPERED: dict[str, Callable[[WebhookRequest], WebhookRequest]] = {
    "no signature": lambda request: _with_header(request, "x-twilio-signature", None),
    "empty": lambda request: _with_header(request, "x-twilio-signature", ""),
    "junk": lambda request: _with_header(request, "x-twilio-signature", "a" * 100_000),
    "not ASCII": lambda request: _with_header(request, "x-twilio-signature", "Ünïcödé \udcff"),
    "another body": lambda request: replace(request, body=request.body + b"&X=1"),
    "no body": lambda request: replace(request, body=b""),
    "another address": lambda request: replace(request, url=request.url + "?ref=other"),
    "another host": lambda request: replace(request, url=request.url.replace("gw.", "other.")),
    "broken address": lambda request: replace(request, url="https://[::1"),
    "no content type": lambda request: _with_header(request, "content-type", None),
    "JSON": lambda request: _with_header(request, "content-type", "application/json"),
    "too many": lambda request: replace(request, body=b"&".join([b"a=1"] * 2000)),
    "bytes": lambda request: replace(request, body=bytes(range(256))),
    "algorithm": lambda request: _with_header(request, "x-twilio-webhooks-signature-settings", "algorithm=NONE"),
}


@pytest.mark.parametrize("change", TAMPERED)
async def test_tampered_deliveries_are_rejected(change: str, deliveries: Any, webhook_context: WebhookContext) -> None:
    request = TAMPERED[change](deliveries["sms_inbound_text"].request)
    assert isinstance(await sms.verify_webhook(webhook_context, request), Rejected)


async def test_a_json_body_must_be_the_signed_one(deliveries: Any, webhook_context: WebhookContext) -> None:
    request = replace(deliveries["json_event_streams_delivered"].request, body=b"[]")
    assert isinstance(await sms.verify_webhook(webhook_context, request), Rejected)


async def test_without_account_or_token_nothing_is_believed(deliveries: Any, webhook_context: WebhookContext) -> None:
    request = deliveries["sms_inbound_text"].request
    assert isinstance(await sms.verify_webhook(replace(webhook_context, account=None), request), Rejected)
    for tokens in ([SecretStr("")], []):
        assert verify(request, tokens) == Rejected("no auth token is configured", unconfigured=True)


def test_sha256_signatures_with_a_shared_key() -> None:
    url = "https://gw.example.test/h"
    digest = hmac.new(b"shared", f"{url}A1".encode(), hashlib.sha256).digest()
    request = form_request({"A": "1"}, url)
    headers = (
        *request.headers,
        ("x-twilio-signature", base64.b64encode(digest).decode()),
        ("x-twilio-webhooks-signature-settings", "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"),
    )
    assert verify(replace(request, headers=headers), [SecretStr("shared")]) == Verified()


@pytest.mark.parametrize("url", ["https://u:p@gw.example.test/h?a=1", "http://[::1]:8080/h", "https://gw.example.test"])
def test_addresses_of_every_shape(url: str) -> None:
    request = form_request({"A": "1"}, url)
    signed = replace(request, headers=(*request.headers, ("x-twilio-signature", sign("t", url, [("A", "1")]))))
    assert verify(signed, [SecretStr("t")]) == Verified()


# ---- recognition


def test_each_channel_recognises_its_own(delivery: Any) -> None:
    other = sms if delivery.channel is whatsapp else whatsapp
    assert delivery.channel.recognize(delivery.request) == Recognition(ACCOUNT_SID)
    assert other.recognize(delivery.request) is None


@pytest.mark.parametrize("body", [b"", b"{}", b"AccountSid=AC1", b"XAccountSid=AC" + b"0" * 32, b"\xff" * 64])
def test_strange_bodies_are_nobodys(body: bytes) -> None:
    request = WebhookRequest(method="POST", url="https://gw.example.test/h", body=body)
    assert sms.recognize(request) is None
    assert whatsapp.recognize(request) is None


# ---- receipts

RECEIPTS: dict[str, tuple[str, str | None, str | None]] = {
    "sms_status_sent": ("sent", None, None),
    "sms_status_delivered": ("delivered", None, None),
    "sms_status_undelivered": ("undelivered", "30003", "Transient"),
    "sms_status_failed": ("failed", "30007", "ContentRejected"),
    "sms_status_canceled": ("failed", "canceled", "Permanent"),
    "sms_status_failed_21610_optout": ("failed", "21610", "OptedOut"),
    "sms_status_undelivered_30005_unknown": ("undelivered", "30005", "InvalidRecipient"),
    "sms_status_undelivered_30006_landline": ("undelivered", "30006", "InvalidRecipient"),
    "sms_status_failed_30034_unregistered_10dlc": ("undelivered", "30034", "Misconfigured"),
    "sms_status_failed_30036_validity_expired": ("failed", "30036", "Permanent"),
    "wa_status_sent": ("sent", None, None),
    "wa_status_delivered": ("delivered", None, None),
    "wa_status_read": ("read", None, None),
    "wa_status_failed_63016_window": ("failed", "63016", "OutsideWindow"),
    "wa_status_failed_63018_rate": ("failed", "63018", "RateLimited"),
    "wa_status_undelivered_63024_recipient": ("undelivered", "63024", "InvalidRecipient"),
    "wa_status_undelivered_63049_meta_chose": ("undelivered", "63049", "Permanent"),
}


@pytest.mark.parametrize("name", RECEIPTS)
def test_receipts(name: str, deliveries: Any) -> None:
    delivery = deliveries[name]
    status, code, cls = RECEIPTS[name]
    form = dict(parse_qsl(delivery.request.body.decode(), keep_blank_values=True))
    (event,) = delivery.channel.parse_event(delivery.request)
    assert isinstance(event, DeliveryUpdate)
    assert (event.status, event.error_code, event.error_class) == (status, code, cls)
    assert event.event_id == f"{form['MessageSid']}.{form['MessageStatus']}"
    assert event.provider_id == form["MessageSid"]
    assert event.account_ref == ACCOUNT_SID
    assert event.recipient == (WA_PHONE if name.startswith("wa_") else PHONE)
    assert event.occurred_at is None
    assert event.raw == form
    assert bool(event.error_detail) == (code is not None)


@pytest.mark.parametrize("name", ["sms_status_queued", "sms_status_sending"])
def test_statuses_before_any_receipt(name: str, deliveries: Any) -> None:
    (event,) = sms.parse_event(deliveries[name].request)
    assert isinstance(event, UnknownEvent)
    status = name.removeprefix("sms_status_")
    assert event.reason == f"status {status} is not a receipt"
    assert event.event_id.endswith(f".{status}")
    assert event.raw["MessageStatus"] == status


def test_the_correlation_comes_from_the_callbacks_address() -> None:
    form = {"MessageSid": "SM1", "SmsStatus": "DELIVERED", "From": "+15005550006", "To": "+14155550142"}
    (event,) = sms.parse_event(form_request(form, "https://gw.example.test/h?ref=att_1.abc"))
    assert isinstance(event, DeliveryUpdate)
    assert (event.correlation, event.status) == ("att_1.abc", "delivered")


def test_a_callback_by_get_has_its_correlation_in_the_address_too() -> None:
    query = (("MessageSid", "SM1"), ("MessageStatus", "sent"), ("To", "+14155550142"), ("ref", "att_1"))
    (event,) = sms.parse_event(WebhookRequest(method="GET", url="https://gw.example.test/h", query=query))
    assert isinstance(event, DeliveryUpdate)
    assert (event.provider_id, event.status, event.correlation) == ("SM1", "sent", "att_1")


def test_an_empty_correlation_is_none_and_of_two_values_the_first_counts() -> None:
    form = [("MessageSid", "SM1"), ("MessageStatus", "sent"), ("MessageSid", "SM2"), ("MessageStatus", "failed")]
    (event,) = sms.parse_event(replace(form_request(form), query=(("ref", ""),)))
    assert event == DeliveryUpdate(
        event_id="SM1.sent", status="sent", provider_id="SM1", raw={"MessageSid": "SM1", "MessageStatus": "sent"}
    )


def test_event_streams(deliveries: Any) -> None:
    request = deliveries["json_event_streams_delivered"].request
    (event,) = sms.parse_event(request)
    assert isinstance(event, DeliveryUpdate)
    assert event.event_id == "SM644638b195fe4519253e320ee003baef.delivered"
    assert event.occurred_at == datetime(2026, 11, 10, 9, 16, tzinfo=UTC)
    assert event.raw["specversion"] == "1.0"
    (foreign,) = whatsapp.parse_event(request)
    assert isinstance(foreign, UnknownEvent)


def _streamed(*pieces: dict[str, Any]) -> WebhookRequest:
    events = [
        {
            "specversion": "1.0",
            "type": "com.twilio.messaging.inbound-message.received",
            "source": "AB00000000000000000000000000000001",
            "id": f"NO{number:032}",
            "dataschema": "https://events-schemas.twilio.com/Messaging.InboundMessageV1/6",
            "data": {
                "messageSid": f"SM{number:032}",
                "timestamp": "2026-11-10T09:16:00.000Z",
                "accountSid": ACCOUNT_SID,
                "eventName": "com.twilio.messaging.inbound-message.received",
                "from": "+14155550142",
                "to": "+15005550006",
                "numMedia": 0,
                "body": "Ahoy!",
                "fromCountry": "US",
                **piece,
            },
        }
        for number, piece in enumerate(pieces)
    ]
    return WebhookRequest(method="POST", url="https://gw.example.test/h", body=json.dumps(events).encode())


def test_inbound_messages_of_event_streams() -> None:
    ours = {"from": "whatsapp:+16505550143", "to": "whatsapp:+14155550100"}
    request = _streamed({}, {**ours, "body": "oi"}, {"body": "leave me", "optOutType": "STOP"}, {"from": ""})
    text, foreign, stop, consent, nobody = sms.parse_event(request)
    assert isinstance(text, InboundMessage)
    assert (text.event_id, text.provider_id) == (f"{'SM' + '0' * 32}.received", "SM" + "0" * 32)
    assert (text.content, text.sender, text.recipient) == (Text(body="Ahoy!"), (PHONE,), OURS)
    assert (text.account_ref, text.occurred_at) == (ACCOUNT_SID, datetime(2026, 11, 10, 9, 16, tzinfo=UTC))
    assert text.raw["specversion"] == "1.0"
    assert isinstance(stop, InboundMessage)
    assert isinstance(consent, ConsentChange)
    assert (consent.state, consent.address, consent.reason) == ("opted_out", PHONE, "STOP")
    assert (consent.recipient, consent.account_ref, consent.occurred_at) == (OURS, ACCOUNT_SID, text.occurred_at)
    assert consent.raw == stop.raw != text.raw
    assert isinstance(foreign, UnknownEvent)
    assert isinstance(nobody, UnknownEvent)
    (received,) = [event for event in whatsapp.parse_event(request) if isinstance(event, InboundMessage)]
    assert (received.content, received.recipient) == (Text(body="oi"), WA_OURS)


def test_media_of_event_streams_are_counted_only() -> None:
    captioned, alone = sms.parse_event(_streamed({"numMedia": 2}, {"numMedia": 1, "body": ""}))
    assert isinstance(captioned, InboundMessage)
    assert isinstance(alone, InboundMessage)
    assert captioned.content == Text(body="Ahoy!")
    assert captioned.more == (Unknown(provider_kind="media", fields={"NumMedia": "2"}),)
    assert (alone.content, alone.more) == (Unknown(provider_kind="media", fields={"NumMedia": "1"}), ())


def test_a_strange_event_leaves_its_neighbours_alone(deliveries: Any) -> None:
    good = json.loads(deliveries["json_event_streams_delivered"].request.body)[0]
    body = json.dumps([7, None, {"type": 5}, {"type": "com.twilio.messaging.message.sent", "data": []}, good]).encode()
    parsed = sms.parse_event(WebhookRequest(method="POST", url="https://gw.example.test/h", body=body))
    assert [type(event) for event in parsed] == [UnknownEvent] * 4 + [DeliveryUpdate]
    assert len({event.event_id for event in parsed}) == 5


@pytest.mark.parametrize("oddity", ODDITIES)
@pytest.mark.parametrize("key", ["anything", "errorCode", "to", "timestamp"])
def test_whatever_a_value_is_its_neighbours_are_applied(key: str, oddity: bytes, deliveries: Any) -> None:
    good = json.loads(deliveries["json_event_streams_delivered"].request.body)[0]
    odd = json.dumps({**good, "data": {**good["data"], key: "ODDITY"}}).encode().replace(b'"ODDITY"', oddity)
    plain = json.dumps(good).encode()
    body = b"[" + b",".join([plain, odd, plain]) + b"]"
    parsed = sms.parse_event(WebhookRequest(method="POST", url="https://gw.example.test/h", body=body))
    (first, strange, last) = parsed
    assert isinstance(first, DeliveryUpdate)
    assert first == last
    assert "\\u0000" not in json.dumps(dict(strange.raw), allow_nan=False)
    orjson.dumps(dict(strange.raw))


# ---- inbound messages


def _inbound(name: str, deliveries: Any) -> InboundMessage:
    delivery = deliveries[name]
    event = delivery.channel.parse_event(delivery.request)[0]
    assert isinstance(event, InboundMessage)
    raw = delivery.request.body.decode() or urlsplit(delivery.request.url).query
    assert event.raw == dict(parse_qsl(raw, keep_blank_values=True))
    assert event.account_ref == ACCOUNT_SID
    assert event.event_id == f"{event.provider_id}.received"
    assert event.recipient == (WA_OURS if name.startswith("wa_") else OURS)
    return event


TEXTS = {
    "sms_inbound_text": "Hello there",
    "sms_inbound_unicode_plus_newline": "Ça va? 1+1=2 & more\nline two 😀 ",
    "sms_inbound_get_method": "via GET",
    "sms_inbound_messaging_service": "hi",
    "sms_inbound_stop_optout": "STOP",
    "sms_inbound_start_optin": "START",
    "sms_inbound_help": "HELP",
}


@pytest.mark.parametrize("name", TEXTS)
def test_inbound_sms(name: str, deliveries: Any) -> None:
    event = _inbound(name, deliveries)
    assert event.content == Text(body=TEXTS[name])
    assert event.sender == (PHONE,)


def test_inbound_sms_without_text(deliveries: Any) -> None:
    assert _inbound("sms_inbound_empty_body", deliveries).content == Unknown(provider_kind="empty")


def test_inbound_mms(deliveries: Any) -> None:
    event = _inbound("mms_inbound_two_media", deliveries)
    first, second = event.content, event.more[0]
    assert isinstance(first, Media)
    assert isinstance(second, Media)
    assert (first.kind, first.mime_type, first.caption) == ("image", "image/jpeg", "see pics")
    assert (second.kind, second.mime_type, second.caption) == ("image", "image/png", None)
    assert first.url is not None
    assert first.url.endswith("/Media/MEc233978d5613de63e284d45361061089")


CONSENT = {
    "sms_inbound_stop_optout": ("opted_out", "STOP"),
    "sms_inbound_start_optin": ("opted_in", "START"),
}


@pytest.mark.parametrize("name", ["sms_inbound_text", "sms_inbound_help", *CONSENT])
def test_consent(name: str, deliveries: Any) -> None:
    changes = sms.parse_event(deliveries[name].request)[1:]
    if name not in CONSENT:
        assert changes == []
        return
    state, reason = CONSENT[name]
    (change,) = changes
    assert isinstance(change, ConsentChange)
    assert (change.address, change.state, change.reason, change.scope) == (PHONE, state, reason, "all")
    assert change.event_id.endswith(f".{state}")


@pytest.mark.parametrize(
    ("body", "state"),
    [(" stop\n", "opted_out"), ("Unsubscribe", "opted_out"), ("unstop", "opted_in"), ("stop it", None), ("HELP", None)],
)
def test_default_consent_words_count_on_sms_only(body: str, state: str | None) -> None:
    form = {"MessageSid": "SM1", "SmsStatus": "received", "Body": body, "From": "+14155550142", "To": "+15005550006"}
    changes = sms.parse_event(form_request(form))[1:]
    assert [(change.state, change.reason) for change in changes if isinstance(change, ConsentChange)] == (
        [(state, "KEYWORD")] if state else []
    )
    on_whatsapp = form | {"From": "whatsapp:+14155550142", "To": "whatsapp:+15005550006"}
    assert len(whatsapp.parse_event(form_request(on_whatsapp))) == 1


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "OPTOUT", "REVOKE"), "opted_out"),
        (("START", "YES", "UNSTOP"), "opted_in"),
        (("INFO", "HELP", "NO", ""), None),
    ],
)
def test_every_word_that_twilio_obeys_is_obeyed(words: tuple[str, ...], state: str | None) -> None:
    for word in words:
        form = {"MessageSid": "SM1", "SmsStatus": "received", "Body": word, "From": "+14155550142", "To": "12345"}
        changes = [event for event in sms.parse_event(form_request(form)) if isinstance(event, ConsentChange)]
        assert [(change.state, change.recipient) for change in changes] == (
            [(state, Address("short_code", "12345"))] if state else []
        )


@pytest.mark.parametrize(("word", "state"), [("stop", "opted_out"), ("Start", "opted_in"), ("HELP", None), ("", None)])
def test_on_whatsapp_only_twilio_s_own_word_for_it_counts(word: str, state: str | None) -> None:
    ends = {"From": "whatsapp:+14155550142", "To": "whatsapp:+15005550006"}
    form = {"MessageSid": "SM1", "SmsStatus": "received", "Body": "STOP", "OptOutType": word, **ends}
    changes = whatsapp.parse_event(form_request(form))[1:]
    assert [(change.state, change.reason) for change in changes if isinstance(change, ConsentChange)] == (
        [(state, word.upper())] if state else []
    )


def test_inbound_whatsapp_text(deliveries: Any) -> None:
    event = _inbound("wa_inbound_text", deliveries)
    assert (event.content, event.sender, event.sender_name) == (Text(body="Hola!"), (WA_PHONE,), "Ada Okafor")


def test_inbound_whatsapp_image(deliveries: Any) -> None:
    content = _inbound("wa_inbound_image", deliveries).content
    assert isinstance(content, Media)
    assert (content.kind, content.caption) == ("image", "caption here")


def test_inbound_whatsapp_location(deliveries: Any) -> None:
    assert _inbound("wa_inbound_location", deliveries).content == Location(
        latitude=37.7879277, longitude=-122.3937508, name="Example office", address="375 Beale St, San Francisco"
    )


def test_inbound_whatsapp_quote(deliveries: Any) -> None:
    event = _inbound("wa_inbound_reply_quote", deliveries)
    assert (event.content, event.reply_to) == (Text(body="quoting you"), "SMb87f8756e59bb9e14396583bba2b6aa0")


@pytest.mark.parametrize(
    ("name", "title", "payload", "answered"),
    [
        ("wa_inbound_quick_reply_button", "Confirm", "confirm-42", "MMc7928c4cd7099f29415b64e851d68235"),
        ("wa_inbound_list_selection", "Ground", "ground", "SMd98f15d157eb4d71fb920ed55f406baa"),
    ],
)
def test_inbound_whatsapp_taps(name: str, title: str, payload: str, answered: str, deliveries: Any) -> None:
    event = _inbound(name, deliveries)
    assert (event.content, event.reply_to) == (Text(body=title), answered)
    (tap,) = whatsapp.parse_event(deliveries[name].request)[1:]
    assert isinstance(tap, Engagement)
    assert (tap.action, tap.provider_id, tap.sender) == ("postback", answered, (WA_PHONE,))
    assert tap.detail == {"title": title, "payload": payload}
    assert tap.event_id == f"{event.provider_id}.postback"


def test_inbound_whatsapp_from_an_ad(deliveries: Any) -> None:
    assert _inbound("wa_inbound_ctwa_referral", deliveries).content == Text(body="info please")
    (referral,) = whatsapp.parse_event(deliveries["wa_inbound_ctwa_referral"].request)[1:]
    assert isinstance(referral, Engagement)
    assert (referral.action, referral.detail["SourceId"]) == ("referral", "120200000000810726")


def test_inbound_whatsapp_with_a_business_scoped_user_id(deliveries: Any) -> None:
    user = Address("wa_user_id", "US.20417733905561208843")
    assert _inbound("wa_inbound_bsuid", deliveries).sender == (WA_PHONE, user)
    form = dict(parse_qsl(deliveries["wa_inbound_bsuid"].request.body.decode()))
    hidden = form | {"From": form["ExternalUserId"]}
    event = whatsapp.parse_event(form_request(hidden))[0]
    assert isinstance(event, InboundMessage)
    assert event.sender == (user,)


ODD_INBOUND: list[tuple[dict[str, str], type]] = [
    ({"MediaUrl0": "not a url", "NumMedia": "1"}, Unknown),
    ({"MediaUrl0": "https://api.twilio.com/" + "x" * 4000}, Unknown),
    ({"Latitude": "north", "Longitude": "1"}, Unknown),
    ({"Latitude": "nan", "Longitude": "1"}, Unknown),
    ({"Latitude": "91", "Longitude": "1"}, Unknown),
    ({"Latitude": "1", "Body": "x"}, Text),
    ({"Longitude": "1", "Body": "x"}, Text),
    ({"Body": "x" * 70_000}, Unknown),
    ({"Body": "x" * 5000, "MediaUrl0": "https://api.twilio.com/1"}, Text),
    ({"MediaUrl0": "https://api.twilio.com/1", "MediaContentType0": "text/vcard"}, Media),
]


@pytest.mark.parametrize(("extra", "cls"), ODD_INBOUND)
def test_odd_inbound_content_is_kept(extra: dict[str, str], cls: type) -> None:
    form = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+14155550142", "To": "12345"} | extra
    (event,) = sms.parse_event(form_request(form))
    assert isinstance(event, InboundMessage)
    assert isinstance(event.content, cls)
    assert event.recipient == Address("short_code", "12345")


@pytest.mark.parametrize(
    ("mime", "kind"),
    [
        ("image/gif", "image"), ("video/mp4", "video"), ("AUDIO/ogg", "audio"), ("application/pdf", "document"),
        ("", "document"),
    ],
)  # fmt: skip
def test_media_are_of_the_kind_that_their_type_says(mime: str, kind: str) -> None:
    form = {"MessageSid": "MM1", "SmsStatus": "received", "From": "+14155550142", "To": "+15005550006"}
    (event,) = sms.parse_event(
        form_request({**form, "MediaUrl0": "https://api.twilio.com/1", "MediaContentType0": mime})
    )
    assert isinstance(event, InboundMessage)
    assert event.content == Media(kind=kind, url="https://api.twilio.com/1", mime_type=mime or None)  # type: ignore[arg-type]


def test_what_a_delivery_leaves_empty_an_event_does_not_say() -> None:
    empty = dict.fromkeys(("AccountSid", "OriginalRepliedMessageSid", "ProfileName", "ButtonText", "ReferralBody"), "")
    form = {"MessageSid": "SM1", "SmsStatus": "received", "From": "+14155550142", "To": "+15005550006", "Body": "hi"}
    (event,) = sms.parse_event(form_request({**form, **empty}))
    assert event == InboundMessage(
        event_id="SM1.received",
        provider_id="SM1",
        sender=(PHONE,),
        recipient=OURS,
        content=Text(body="hi"),
        raw={**form, **empty},
    )


def test_of_ten_media_none_is_lost_and_what_claims_more_is_not_believed() -> None:
    media = {f"MediaUrl{index}": f"https://api.twilio.com/{index}" for index in range(12)}
    form = {"MessageSid": "MM1", "SmsStatus": "received", "From": "+14155550142", "To": "+15005550006"}
    (event,) = sms.parse_event(form_request({**form, **media, "NumMedia": "12", "Body": "see"}))
    assert isinstance(event, InboundMessage)
    found = [event.content, *event.more]
    assert [one.url for one in found if isinstance(one, Media)] == [media[f"MediaUrl{index}"] for index in range(10)]
    assert [one.caption for one in found if isinstance(one, Media)] == ["see"] + [None] * 9
    assert {(one.kind, one.mime_type) for one in found if isinstance(one, Media)} == {("document", None)}


@pytest.mark.parametrize(("length", "kinds"), [(4096, ["image"]), (4097, ["text", "image"])])
def test_a_text_that_is_too_long_for_a_caption_stands_before_the_media(length: int, kinds: list[str]) -> None:
    form = {"MessageSid": "MM1", "SmsStatus": "received", "From": "+14155550142", "To": "+15005550006"}
    media = {"MediaUrl0": "https://api.twilio.com/1", "MediaContentType0": "image/png", "Body": "x" * length}
    (event,) = sms.parse_event(form_request({**form, **media}))
    assert isinstance(event, InboundMessage)
    found = [event.content, *event.more]
    assert [one.kind for one in found] == kinds
    words = [one.body if isinstance(one, Text) else one.caption for one in found if isinstance(one, Text | Media)]
    assert words == ["x" * length, None][: len(kinds)]


def test_inbound_from_a_name() -> None:
    form = {"MessageSid": "SM1", "SmsStatus": "received", "From": "Acme", "To": "+15005550006", "Body": "hi"}
    event = sms.parse_event(form_request(form))[0]
    assert isinstance(event, InboundMessage)
    assert event.sender == (Address("sender_id", "Acme"),)


def test_a_sticker_is_one() -> None:
    form = {
        "MessageSid": "MM1",
        "SmsStatus": "received",
        "From": "whatsapp:+14155550142",
        "To": "whatsapp:+15005550006",
        "MessageType": "sticker",
        "MediaUrl0": "https://api.twilio.com/1",
        "MediaContentType0": "image/webp",
    }
    event = whatsapp.parse_event(form_request(form))[0]
    assert isinstance(event, InboundMessage)
    assert event.content.kind == "sticker"


# ---- whatever comes


def test_parsing_again_gives_the_same_ids(delivery: Any) -> None:
    first = [event.event_id for event in delivery.channel.parse_event(delivery.request)]
    assert first == [event.event_id for event in delivery.channel.parse_event(delivery.request)]
    assert len(set(first)) == len(first)


UNKNOWN: list[tuple[bytes, str]] = [
    (b"", "not a form"),
    (b"\xff\xfe\x00", "no message sid"),
    (b"Foo=1", "no message sid"),
    (b"MessageSid=SM1&MessageStatus=levitated&To=1", "unknown status"),
    (b"MessageSid=SM1&SmsStatus=received&Body=x", "an inbound message without sender"),
    (b"MessageSid=SM1&MessageStatus=sent&To=whatsapp%3A%2B14155550142", "a delivery for another channel"),
    (b"[", "not JSON"),
    (b"[" * 500 + b"]" * 500, "unknown kind of event"),
    (b"[" + b",".join([b"1"] * 1001) + b"]", "too many events"),
    (b"&".join([b"a=1"] * 2000), "not a form"),
    (b'{"type": "com.twilio.messaging.inbound-message.received"}', "unknown kind of event"),
    (b'{"type": "com.twilio.messaging.message.sent", "data": {"messageSid": true}}', "no sid"),
]


@pytest.mark.parametrize(("body", "reason"), UNKNOWN)
def test_what_is_not_known_is_kept(body: bytes, reason: str) -> None:
    (event,) = sms.parse_event(WebhookRequest(method="POST", url="https://gw.example.test/h", body=body))
    assert isinstance(event, UnknownEvent)
    assert event.reason == reason
    assert event.event_id.startswith("unknown.")
    assert event.raw


NAMES = st.sampled_from(
    [
        "MessageSid",
        "SmsSid",
        "MessageStatus",
        "SmsStatus",
        "From",
        "To",
        "Body",
        "ErrorCode",
        "AccountSid",
        "MediaUrl0",
        "MediaContentType0",
        "NumMedia",
        "Latitude",
        "Longitude",
        "OptOutType",
        "ButtonPayload",
        "ListId",
        "ReferralBody",
        "ExternalUserId",
        "OriginalRepliedMessageSid",
        "ProfileName",
        "Label",
    ]
)
VALUES = st.one_of(
    st.text(max_size=40),
    st.sampled_from(
        ["received", "delivered", "failed", "SM1", "whatsapp:+14155550142", "+14155550142", "STOP", "1e999"]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["type", "data", "messageSid", "to", "errorCode", "time", "x"]), inner)
    ),
    max_leaves=12,
)


@given(form=st.lists(st.tuples(NAMES, VALUES), max_size=12))
def test_no_form_raises(form: list[tuple[str, str]]) -> None:
    pairs = [(name, value.encode("utf-8", "replace").decode()) for name, value in form]
    for channel in (sms, whatsapp):
        first = channel.parse_event(form_request(pairs))
        assert first
        assert first == channel.parse_event(form_request(pairs))
        query = tuple(form)
        assert channel.parse_event(WebhookRequest(method="GET", url="https://gw.example.test/h", query=query))


@given(body=st.binary(max_size=200))
@example(body=b"[]")
def test_no_body_raises(body: bytes) -> None:
    request = WebhookRequest(method="POST", url="https://gw.example.test/h", body=body)
    for channel in (sms, whatsapp):
        assert channel.parse_event(request)
        channel.recognize(request)
    verify(replace(request, headers=(("x-twilio-signature", "x"),)), [SecretStr("t")])


@given(value=JSON, kind=st.sampled_from(["sent", "delivered", "failed", "x"]))
def test_no_json_raises(value: Any, kind: str) -> None:
    event = {"type": f"com.twilio.messaging.message.{kind}", "data": value, "time": value}
    body = json.dumps([value, event]).encode("utf-8", "replace")
    request = WebhookRequest(method="POST", url="https://gw.example.test/h", body=body)
    assert sms.parse_event(request)
    assert events.parse(request, whatsapp=True)
