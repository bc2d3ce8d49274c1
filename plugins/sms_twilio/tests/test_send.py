"""What is sent is what Twilio documents, and what comes back is understood."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from aiohttp import web
from waypost.plugin import (
    Action,
    ContentRejected,
    Context,
    InvalidRecipient,
    Location,
    Media,
    Misconfigured,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    Permanent,
    SendResult,
    Template,
    Text,
    Transient,
    Unsupported,
)
from waypost_sms_twilio.channel import sms, whatsapp
from waypost_sms_twilio.client import TwilioClient
from waypost_sms_twilio.settings import TwilioSettings
from waypost_sms_twilio.simulator import TwilioSimulator, TwilioWhatsAppSimulator

TEMPLATE = Template(template_id="HXf8aa5a783ac6df54b1d28473f2de4c75", variables={"1": "Ada", "2": "A-42"})
SERVICE = "MG393578e56aca76416da235415669597e"
WA_TO, WA_FROM = "+16505550143", "+14155550100"
MEDIA = ("https://cdn.example.test/1.jpg", "https://cdn.example.test/2.png")

Make = Callable[..., OutboundMessage]

DOCUMENTED: dict[str, tuple[Any, Any, dict[str, Any], dict[str, Any]]] = {
    "sms_create_from": (sms, Text(body="Hello! 👍"), {"validity": 3600}, {}),
    "sms_create_messaging_service": (
        sms,
        Text(body="Hi"),
        {"sender": None},
        {"messaging_service_sid": SERVICE},
    ),
    "sms_create_scheduled": (
        sms,
        Text(body="Later"),
        {"sender": SERVICE, "options": {"sendAt": "2026-11-12T10:00:00+01:00"}},
        {"callback": None},
    ),
    "mms_create_two_media": (
        sms,
        Media(kind="image", url=MEDIA[0], more_urls=(MEDIA[1],), caption="My pic!"),
        {},
        {"callback": None},
    ),
    "wa_create_freeform": (whatsapp, Text(body="Sure!"), {"to": WA_TO, "sender": WA_FROM}, {}),
    "wa_create_content_template": (whatsapp, TEMPLATE, {"to": WA_TO, "sender": WA_FROM}, {}),
    "wa_create_content_template_messaging_service": (
        whatsapp,
        TEMPLATE,
        {"to": WA_TO, "sender": None},
        {"messaging_service_sid": SERVICE, "callback": None},
    ),
    "wa_create_location_persistent_action": (
        whatsapp,
        Location(
            latitude=37.78789,
            longitude=-122.391664,
            name="This is one of the Twilio office locations",
            address="375 Beale St",
        ),
        {"to": WA_TO, "sender": "whatsapp:" + WA_FROM},
        {"callback": None},
    ),
}


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_sends_what_is_documented(
    name: str, context: Context, message: Make, cassette: Any, exchanges: Any, settings: TwilioSettings
) -> None:
    channel, content, fields, setup = DOCUMENTED[name]
    context = replace(context, callback_url=setup.get("callback", context.callback_url))
    account = settings.model_copy(update={key: value for key, value in setup.items() if key != "callback"})
    with cassette(name) as played:
        result = await channel.send(replace(context, account=account), message(content, **fields))
    assert played.all_played
    created = exchanges(name)["response"]["body"]
    assert result == SendResult(
        provider_ids=(created["sid"],),
        status="accepted",
        raw={"status": created["status"], "num_segments": created["num_segments"], "price_unit": None},
    )


async def test_the_open_client_is_used_and_another_made_when_the_account_changed(
    twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    ctx = against(twilio)
    client = await sms.open_account(ctx)
    assert isinstance(client, TwilioClient)
    await sms.send(replace(ctx, client=client), message(Text(body="one")))
    twilio.auth_token = "rolled"
    rolled = against(twilio)
    await sms.send(replace(rolled, client=client), message(Text(body="two")))
    assert [entry.fields["Body"] for entry in twilio.journal if entry.accepted] == ["one", "two"]


async def test_an_api_key_makes_the_calls(settings: TwilioSettings) -> None:
    keyed = TwilioSettings.model_validate(
        settings.model_dump() | {"api_key_sid": "SK" + "0" * 32, "api_key_secret": "key-secret"}
    )
    assert keyed.credentials == ("SK" + "0" * 32, "key-secret")
    assert settings.credentials[0] == settings.account_sid
    with pytest.raises(ValueError, match="both its SID and its secret"):
        TwilioSettings.model_validate(settings.model_dump() | {"api_key_sid": "SK" + "0" * 32})


async def test_the_callback_carries_our_correlation_and_asks_for_retries(
    twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    ctx = against(twilio, "https://gw.example.test/hook?ref=att_1.abc")
    await sms.send(ctx, message(Text(body="hi")))
    (entry,) = twilio.journal
    assert entry.correlation == "att_1.abc"
    assert entry.fields["StatusCallback"] == "https://gw.example.test/hook?ref=att_1.abc#rc=3&rp=5xx,ct,rt"


@pytest.mark.parametrize(("validity", "sent"), [(0, "1"), (60, "60"), (36_000, "36000"), (86_400, "36000")])
async def test_validity_is_kept_within_twilios_bounds(
    validity: int, sent: str, twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    await sms.send(against(twilio), message(Text(body="hi"), validity=validity))
    assert twilio.journal[0].fields["ValidityPeriod"] == sent


@pytest.mark.parametrize("sender", ["Pathomics", "12345", "+1234567890"])
async def test_alphanumeric_and_short_senders(
    sender: str, twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    ctx = against(twilio, messaging_service_sid=SERVICE)
    await sms.send(ctx, message(TEMPLATE, sender=sender))
    fields = twilio.journal[0].fields
    assert fields["From"] == sender
    assert "MessagingServiceSid" not in fields
    assert fields["ContentVariables"] == '{"1":"Ada","2":"A-42"}'


async def test_known_options_are_passed_and_others_left_to_others(
    twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    options = {"smartEncoded": True, "risk_check": "disable", "ContentRetention": "discard", "sandbox_mode": 1}
    await sms.send(against(twilio), message(Text(body="hi"), options=options))
    fields = twilio.journal[0].fields
    assert {name: fields[name] for name in ("SmartEncoded", "RiskCheck", "ContentRetention")} == {
        "SmartEncoded": "true",
        "RiskCheck": "disable",
        "ContentRetention": "discard",
    }
    assert "StatusCallback" not in fields
    assert len(fields) == 6


async def test_whatsapp_to_a_business_scoped_user_id(
    twilio_whatsapp: TwilioWhatsAppSimulator, against: Any, message: Make
) -> None:
    await whatsapp.send(against(twilio_whatsapp), message(TEMPLATE, "US.20417733905561208843", kind="wa_user_id"))
    assert twilio_whatsapp.journal[0].fields["To"] == "whatsapp:US.20417733905561208843"


REFUSED: list[tuple[Any, Any, dict[str, Any], type[Permanent]]] = [
    (sms, Text(body="x" * 1601), {}, ContentRejected),
    (sms, Media(kind="image", url=MEDIA[0], caption="x" * 1601), {}, ContentRejected),
    (sms, Text(body="hi"), {"sender": None}, Misconfigured),
    (sms, Text(body="hi"), {"options": {"sendAt": "2026-11-12T09:00:00Z"}}, Misconfigured),
    (sms, Text(body="hi"), {"sender": SERVICE, "options": {"sendAt": "tomorrow"}}, Unsupported),
    (sms, Text(body="hi"), {"sender": SERVICE, "options": {"sendAt": "0001-01-01T00:00:00+23:59"}}, Unsupported),
    (sms, Text(body="hi"), {"sender": SERVICE, "options": {"sendAt": "2026-11-12T09:15:01Z"}}, ContentRejected),
    (sms, Text(body="hi"), {"options": {"smartEncoded": "yes"}}, Unsupported),
    (sms, Text(body="hi"), {"kind": "wa_user_id"}, InvalidRecipient),
    (sms, Location(latitude=1, longitude=2), {}, Unsupported),
    (sms, Action(kind="typing_on"), {}, Unsupported),
    (sms, Media(kind="image", media_id="123"), {}, Unsupported),
    (sms, Media(kind="sticker", url=MEDIA[0]), {}, Unsupported),
    (sms, Template(template_id="order_shipped"), {}, Misconfigured),
    (sms, Template(template_id=TEMPLATE.template_id, components=[{"type": "body"}]), {}, Unsupported),
    (whatsapp, Media(kind="image", url=MEDIA[0], more_urls=(MEDIA[1],)), {}, Unsupported),
    (whatsapp, Text(body="x" * 1601), {}, ContentRejected),
]


@pytest.mark.parametrize(("channel", "content", "fields", "error"), REFUSED)
async def test_price_refuses_what_twilio_could_not_send(
    channel: Any, content: Any, fields: dict[str, Any], error: type[Permanent], context: Context, message: Make
) -> None:
    with pytest.raises(error) as caught:
        channel.price(context, message(content, **fields))
    assert "+1415" not in str(caught.value)


def test_how_far_ahead_may_be_scheduled_is_a_setting(context: Context, settings: TwilioSettings, message: Make) -> None:
    later = context.now + timedelta(days=35)
    month = replace(context, account=settings.model_copy(update={"schedule_hours": 35 * 24}))
    for moment, allowed in ((later, True), (later + timedelta(seconds=1), False)):
        planned = message(Text(body="hi"), sender=SERVICE, options={"sendAt": moment.isoformat()})
        if allowed:
            assert sms.price(month, planned).lines
        else:
            with pytest.raises(ContentRejected, match="at most 840 hours"):
                sms.price(month, planned)


async def test_short_links_need_the_service_and_keep_the_sender(
    twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    ctx = against(twilio, messaging_service_sid=SERVICE)
    await sms.send(ctx, message(Text(body="hi"), options={"shortenUrls": True}))
    fields = twilio.journal[0].fields
    assert (fields["From"], fields["MessagingServiceSid"], fields["ShortenUrls"]) == ("+15005550006", SERVICE, "true")


def _answering(status: int, body: bytes, content_type: str = "application/json") -> Any:
    async def handle(request: web.Request) -> web.Response:
        return web.Response(status=status, body=body, content_type=content_type)

    return handle


UNREADABLE = [
    (201, b""),
    (201, b"null"),
    (201, b"[]"),
    (201, b'"SM1"'),
    (201, b"{}"),
    (201, b'{"sid": null}'),
    (201, b'{"sid": 7}'),
    (201, b'{"sid": "SM1", "date_created": ["x"]}'),
    (201, b"\x00<html>nonsense"),
    (200, b"ok"),
    (302, b""),
    (304, b""),
    (500, b'{"code": 20500, "message": "Internal Server Error", "status": 500}'),
    (503, b'{"code": 20503}'),
    (503, b"upstream connect error"),
    (500, b'{"code": 21211}'),
    (502, b"<html>"),
]


@pytest.mark.parametrize(("status", "body"), UNREADABLE)
async def test_an_answer_that_proves_nothing_is_an_unknown_outcome(
    status: int, body: bytes, context: Context, message: Make, settings: TwilioSettings, serve: Any
) -> None:
    url = await serve(_answering(status, body))
    ctx = replace(context, account=settings.model_copy(update={"base_url": url}))
    with pytest.raises(OutcomeUnknown):
        await sms.send(ctx, message(Text(body="hi")))


FAILED_AT_ONCE = [
    ("failed", 63016, OutsideWindow, "63016"),
    ("failed", "30007", ContentRejected, "30007"),
    ("undelivered", 30003, Transient, "30003"),
    ("canceled", None, Permanent, None),
    ("failed", 99999, Permanent, "99999"),
    ("failed", 30410, OutcomeUnknown, "30410"),
]


@pytest.mark.parametrize(("status", "code", "error", "provider_code"), FAILED_AT_ONCE)
async def test_a_created_message_that_failed_already_is_an_error(
    status: str,
    code: Any,
    error: Any,
    provider_code: str | None,
    context: Context,
    message: Make,
    settings: Any,
    serve: Any,
) -> None:
    shown = str(code) if not isinstance(code, str) else f'"{code}"'
    body = f'{{"sid": "SM1", "status": "{status}", "error_code": {shown if code else "null"}}}'.encode()
    url = await serve(_answering(201, body))
    with pytest.raises(error) as caught:
        await sms.send(replace(context, account=settings.model_copy(update={"base_url": url})), message(Text(body="x")))
    assert caught.value.provider_code == provider_code


async def test_nobody_listening_is_transient(context: Context, message: Make, settings: TwilioSettings) -> None:
    ctx = replace(context, account=settings.model_copy(update={"base_url": "http://127.0.0.1:9"}))
    with pytest.raises(Transient):
        await sms.send(ctx, message(Text(body="hi")))


async def journalled(simulator: TwilioSimulator) -> None:
    """Wait until the simulator has seen a request."""
    async with asyncio.timeout(5):
        while not simulator.journal:  # noqa: ASYNC110 - the simulator's frame has no event for it
            await asyncio.sleep(0.005)


async def test_cancellation_passes_through(twilio: TwilioSimulator, against: Any, message: Make) -> None:
    task = asyncio.ensure_future(sms.send(against(twilio), message(Text(body="hi"), "+15005550116")))
    await journalled(twilio)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_concurrent_sends_each_get_their_own_message(
    twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    ctx = against(twilio)
    ctx = replace(ctx, client=await sms.open_account(ctx))
    bodies = [f"message {index}" for index in range(40)]
    results = await asyncio.gather(*(sms.send(ctx, message(Text(body=body))) for body in bodies))
    by_sid = {entry.provider_id: entry.fields["Body"] for entry in twilio.journal}
    assert [by_sid[result.provider_ids[0]] for result in results] == bodies
