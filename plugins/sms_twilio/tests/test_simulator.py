"""The simulator answers and calls back as Twilio does, and each magic number does what it says."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from waypost.plugin import (
    AccountBlocked,
    ChannelError,
    ContentRejected,
    Context,
    DeliveryUpdate,
    InboundMessage,
    InvalidRecipient,
    Media,
    Misconfigured,
    NoSettings,
    OptedOut,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    RateLimited,
    Template,
    Text,
    Verified,
    WebhookContext,
)
from waypost.plugin.simulator import Outcome
from waypost_sms_twilio.channel import sms, whatsapp
from waypost_sms_twilio.settings import TwilioSettings
from waypost_sms_twilio.simulator import TwilioSimulator, TwilioWhatsAppSimulator

Make = Callable[..., OutboundMessage]
HI = Text(body="hi")


def number_for(simulator: TwilioSimulator, outcome: Outcome) -> str:
    return [number for number, does in simulator.magic.items() if does is outcome][-1]


async def receipts(simulator: TwilioSimulator, gateway: Any, channel: Any) -> list[DeliveryUpdate]:
    """Every receipt that arrived, each verified."""
    await simulator.settle()
    account = TwilioSettings.model_validate(simulator.account_settings())
    found = []
    for request in gateway.received:
        ctx = WebhookContext(provider_app=NoSettings(), account=account, log=None, now=None)  # type: ignore[arg-type]
        assert await channel.verify_webhook(ctx, request) == Verified()
        (event,) = channel.parse_event(request)
        assert isinstance(event, DeliveryUpdate)
        found.append(event)
    return found


@pytest.mark.parametrize("to", ["+14155550142", "+15551234567", "+1234567890"])
async def test_ordinary_numbers_get_everything(
    to: str, twilio: TwilioSimulator, gateway: Any, against: Any, message: Make
) -> None:
    result = await sms.send(against(twilio, f"{gateway.url}?ref=att_1"), message(HI, to))
    updates = await receipts(twilio, gateway, sms)
    assert [update.status for update in updates] == ["sent", "delivered"]
    assert {(update.provider_id, update.correlation) for update in updates} == {(result.provider_ids[0], "att_1")}
    assert gateway.received[0].header("i-twilio-idempotency-token")
    (entry,) = twilio.journal
    assert (entry.accepted, entry.correlation, entry.provider_id) == (True, "att_1", result.provider_ids[0])


ACCEPTED = {
    Outcome.ACCEPTED: [],
    Outcome.SENT: ["sent"],
    Outcome.DELIVERED: ["sent", "delivered"],
    Outcome.UNDELIVERED: ["sent", "undelivered"],
    Outcome.FAILED: ["failed"],
    Outcome.DUPLICATE_RECEIPTS: ["sent", "sent", "delivered", "delivered"],
    Outcome.REORDERED_RECEIPTS: ["delivered", "sent"],
    Outcome.EARLY_RECEIPTS: ["sent", "delivered"],
}
WHATSAPP_ACCEPTED = ACCEPTED | {Outcome.READ: ["sent", "delivered", "read"]}


@pytest.mark.parametrize("outcome", ACCEPTED)
async def test_accepted_outcomes(
    outcome: Outcome, twilio: TwilioSimulator, gateway: Any, against: Any, message: Make
) -> None:
    await sms.send(against(twilio, f"{gateway.url}?ref=a"), message(HI, number_for(twilio, outcome)))
    if outcome is Outcome.EARLY_RECEIPTS:
        assert len(gateway.received) == 2
    updates = await receipts(twilio, gateway, sms)
    assert [update.status for update in updates] == ACCEPTED[outcome]
    assert len({update.event_id for update in updates}) == len(set(ACCEPTED[outcome]))
    assert {update.error_code for update in updates if update.error_code} <= {"30003", "30007"}
    assert [entry.accepted for entry in twilio.journal] == [True]


@pytest.mark.parametrize("outcome", WHATSAPP_ACCEPTED)
async def test_accepted_whatsapp_outcomes(
    outcome: Outcome, twilio_whatsapp: TwilioWhatsAppSimulator, gateway: Any, against: Any, message: Make
) -> None:
    to = number_for(twilio_whatsapp, outcome)
    await whatsapp.send(against(twilio_whatsapp, f"{gateway.url}?ref=a"), message(HI, to))
    updates = await receipts(twilio_whatsapp, gateway, whatsapp)
    assert [update.status for update in updates] == WHATSAPP_ACCEPTED[outcome]


REFUSED: dict[Outcome, type[ChannelError]] = {
    Outcome.INVALID_RECIPIENT: InvalidRecipient,
    Outcome.OPTED_OUT: OptedOut,
    Outcome.CONTENT_REJECTED: ContentRejected,
    Outcome.MISCONFIGURED: Misconfigured,
    Outcome.ACCOUNT_BLOCKED: AccountBlocked,
    Outcome.RATE_LIMITED: RateLimited,
    Outcome.UNAVAILABLE: OutcomeUnknown,
    Outcome.GARBAGE: OutcomeUnknown,
}


@pytest.mark.parametrize("outcome", REFUSED)
async def test_refused_outcomes(outcome: Outcome, twilio: TwilioSimulator, against: Any, message: Make) -> None:
    with pytest.raises(REFUSED[outcome]) as caught:
        await sms.send(against(twilio), message(HI, number_for(twilio, outcome)))
    assert type(caught.value) is REFUSED[outcome]
    (entry,) = twilio.journal
    assert (entry.accepted, entry.provider_id, entry.outcome) == (False, None, outcome)
    assert not twilio.messages


@pytest.mark.parametrize("outcome", [*REFUSED, Outcome.OUTSIDE_WINDOW])
async def test_refused_whatsapp_outcomes(
    outcome: Outcome, twilio_whatsapp: TwilioWhatsAppSimulator, against: Any, message: Make
) -> None:
    expected = REFUSED.get(outcome, OutsideWindow)
    with pytest.raises(expected):
        await whatsapp.send(against(twilio_whatsapp), message(HI, number_for(twilio_whatsapp, outcome)))
    assert [entry.accepted for entry in twilio_whatsapp.journal] == [False]


async def test_a_template_opens_the_window(
    twilio_whatsapp: TwilioWhatsAppSimulator, against: Any, message: Make
) -> None:
    template = Template(template_id="HXf8aa5a783ac6df54b1d28473f2de4c75", variables={"1": "Ada", "2": "A-42"})
    to = number_for(twilio_whatsapp, Outcome.OUTSIDE_WINDOW)
    assert (await whatsapp.send(against(twilio_whatsapp), message(template, to))).provider_ids


def test_every_outcome_has_a_number() -> None:
    assert set(TwilioWhatsAppSimulator.magic.values()) == set(Outcome)
    assert set(Outcome) - set(TwilioSimulator.magic.values()) == {Outcome.READ, Outcome.OUTSIDE_WINDOW}


TWILIOS_OWN = {
    "+15005550001": "21211",
    "+15005550002": "21612",
    "+15005550003": "21408",
    "+15005550004": "21610",
    "+15005550009": "21614",
}


@pytest.mark.parametrize("to", TWILIOS_OWN)
async def test_twilios_own_magic_recipients(to: str, twilio: TwilioSimulator, against: Any, message: Make) -> None:
    with pytest.raises(ChannelError) as caught:
        await sms.send(against(twilio), message(HI, to))
    assert caught.value.provider_code == TWILIOS_OWN[to]


@pytest.mark.parametrize(
    ("sender", "code"), [("+15005550001", "21212"), ("+15005550007", "21606"), ("+15005550008", "21611")]
)
async def test_twilios_own_magic_senders(
    sender: str, code: str, twilio: TwilioSimulator, against: Any, message: Make
) -> None:
    with pytest.raises(ChannelError) as caught:
        await sms.send(against(twilio), message(HI, sender=sender))
    assert caught.value.provider_code == code


async def test_a_rate_limit_passes(twilio: TwilioSimulator, against: Any, message: Make) -> None:
    asked = message(HI, number_for(twilio, Outcome.RATE_LIMITED_ONCE))
    with pytest.raises(RateLimited) as caught:
        await sms.send(against(twilio), asked)
    assert caught.value.retry_after == 1
    assert (await sms.send(against(twilio), asked)).provider_ids


async def test_a_dropped_connection_leaves_a_message(
    twilio: TwilioSimulator, gateway: Any, against: Any, message: Make
) -> None:
    asked = message(HI, number_for(twilio, Outcome.ACCEPT_THEN_DROP))
    with pytest.raises(OutcomeUnknown):
        await sms.send(against(twilio, f"{gateway.url}?ref=lost"), asked)
    updates = await receipts(twilio, gateway, sms)
    assert [(update.status, update.correlation) for update in updates] == [("sent", "lost"), ("delivered", "lost")]
    assert [entry.accepted for entry in twilio.journal] == [True]


async def test_late_receipts_wait(twilio: TwilioSimulator, gateway: Any, against: Any, message: Make) -> None:
    ctx = against(twilio, f"{gateway.url}?ref=a")
    result = await sms.send(ctx, message(HI, number_for(twilio, Outcome.LATE_RECEIPTS)))
    await twilio.settle()
    assert gateway.received == []
    assert twilio.messages[result.provider_ids[0]].status == "queued"
    twilio.release_late_receipts()
    assert [update.status for update in await receipts(twilio, gateway, sms)] == ["sent", "delivered"]
    assert twilio.messages[result.provider_ids[0]].status == "delivered"


@pytest.mark.parametrize("body", ["hello", "STOP", "Ça va? 1+1=2 & more\n😀"])
async def test_inbound_messages(body: str, twilio_whatsapp: TwilioWhatsAppSimulator, twilio: TwilioSimulator) -> None:
    channels: list[tuple[Any, TwilioSimulator]] = [(sms, twilio), (whatsapp, twilio_whatsapp)]
    for channel, simulator in channels:
        simulator.webhook_url = "https://gw.example.test/hook"
        request = simulator.inbound(body)
        account = TwilioSettings.model_validate(simulator.account_settings())
        ctx = WebhookContext(provider_app=NoSettings(), account=account, log=None, now=None)  # type: ignore[arg-type]
        assert await channel.verify_webhook(ctx, request) == Verified()
        assert channel.recognize(request).account_ref == simulator.account_sid
        event = channel.parse_event(request)[0]
        assert isinstance(event, InboundMessage)
        assert event.content == Text(body=body)
        assert event.sender[0].value == simulator.ordinary_recipient
        assert event.recipient.value == simulator.senders()[0]
        assert simulator.inbound("x", "+15551234567").body != request.body


# ---- the API, as Twilio's clients see it


async def post(simulator: TwilioSimulator, session: aiohttp.ClientSession, **form: Any) -> tuple[int, dict[str, Any]]:
    url = f"{simulator.base_url}/2010-04-01/Accounts/{simulator.account_sid}/Messages.json"
    pairs = [(name, item) for name, value in form.items() for item in (value if isinstance(value, list) else [value])]
    basic = {"Authorization": aiohttp.encode_basic_auth(simulator.account_sid, simulator.auth_token)}
    async with session.post(url, data=pairs, headers=basic) as response:
        return response.status, await response.json()


GOOD = {"To": "+14155550142", "From": "+15005550006", "Body": "x"}
#: Two days after `NOW`.
SCHEDULED = {
    "MessagingServiceSid": "MG393578e56aca76416da235415669597e",
    "ScheduleType": "fixed",
    "SendAt": "2026-11-12T09:00:00Z",
}
NOW = datetime(2026, 11, 10, 9, 15, tzinfo=UTC)
INVALID: list[tuple[dict[str, Any], int]] = [
    ({"To": ""}, 21604),
    ({"To": "12"}, 21211),
    ({"To": "whatsapp:12", "From": "whatsapp:+14155238886"}, 21211),
    ({"To": "whatsapp:+14155550142"}, 63007),
    ({"From": ""}, 21603),
    ({"From": "far too long a name"}, 21212),
    ({"From": "", "MessagingServiceSid": "MG1"}, 21701),
    ({"Body": ""}, 21619),
    ({"Body": "x" * 1601}, 21617),
    ({"MediaUrl": ["https://cdn.example.com/1"] * 11}, 21623),
    ({"MediaUrl": "ftp://cdn.example.com/1"}, 21620),
    ({"ContentSid": "HX1"}, 21655),
    ({"ContentSid": "HX" + "0" * 32}, 21655),
    ({"ContentSid": "HXf8aa5a783ac6df54b1d28473f2de4c75", "ContentVariables": "not json"}, 21656),
    ({"ContentSid": "HXf8aa5a783ac6df54b1d28473f2de4c75", "ContentVariables": "[]"}, 21656),
    ({"StatusCallback": "nowhere"}, 21609),
    ({"ValidityPeriod": "36001"}, 21624),
    (SCHEDULED | {"MessagingServiceSid": ""}, 21701),
    (SCHEDULED | {"SendAt": "tomorrow"}, 35114),
    (SCHEDULED | {"SendAt": "2026-11-10T09:19:59Z"}, 35114),
    (SCHEDULED | {"SendAt": "2026-12-15T09:15:01Z"}, 35114),
    (SCHEDULED | {"SendAt": "2026-11-12T09:00:00"}, 35114),
    (SCHEDULED | {"ScheduleType": "optimize"}, 35126),
    ({"ScheduleType": "fixed"}, 35111),
]


@pytest.mark.parametrize(("change", "code"), INVALID)
async def test_parameters_are_validated(
    change: dict[str, Any], code: int, twilio: TwilioSimulator, session: aiohttp.ClientSession
) -> None:
    twilio.clock = lambda: NOW
    status, answer = await post(twilio, session, **(GOOD | change))
    assert (status, answer["code"], answer["status"]) == (400, code, 400)
    assert answer["more_info"] == f"https://www.twilio.com/docs/errors/{code}"
    assert [entry.accepted for entry in twilio.journal] == [False]


async def test_answers_are_shaped_as_twilios(
    twilio: TwilioSimulator, session: aiohttp.ClientSession, exchanges: Any
) -> None:
    twilio.clock = lambda: NOW
    for name in ("sms_create_from", "sms_create_messaging_service", "sms_create_scheduled", "mms_create_two_media"):
        exchange = exchanges(name)
        status, answer = await post(twilio, session, **exchange["request"]["form"])
        documented = exchange["response"]["body"]
        assert status == 201
        assert set(answer) == set(documented)
        for field in (
            "status",
            "from",
            "messaging_service_sid",
            "num_media",
            "num_segments",
            "body",
            "to",
            "direction",
        ):
            assert answer[field] == documented[field], (name, field)
        assert answer["sid"][:2] == documented["sid"][:2]


async def test_messages_are_listed_fetched_changed_and_deleted(
    twilio: TwilioSimulator, session: aiohttp.ClientSession, against: Any
) -> None:
    for index in range(5):
        await post(twilio, session, **(GOOD | {"Body": str(index)}))
    await post(twilio, session, **(GOOD | {"To": "+15551234567"}))
    client: Any = await sms.open_account(against(twilio))
    messages = client._sdk.messages
    listed = await messages.list_async(to="+14155550142", page_size=2)
    assert [message.body for message in listed] == ["4", "3", "2", "1", "0"]
    assert await messages.list_async(from_="+15550000000") == []
    sent_on = listed[0].date_sent
    assert len(await messages.list_async(date_sent=sent_on.date())) == 6
    assert len(await messages.list_async(date_sent_after=sent_on.replace(year=2020))) == 6
    assert await messages.list_async(date_sent_before=sent_on.replace(year=2020)) == []
    one = await messages(listed[0].sid).update_async(body="")
    assert one.body == ""
    with pytest.raises(ChannelError) as caught:
        await messages(listed[0].sid).update_async(status="canceled")
    assert caught.value.provider_code == "30409"
    basic = {"Authorization": aiohttp.encode_basic_auth(twilio.account_sid, twilio.auth_token)}
    url = f"{twilio.base_url}{one.uri}"
    for expected in (204, 404):
        async with session.delete(url, headers=basic) as response:
            assert response.status == expected


async def test_a_scheduled_message_can_be_canceled(
    twilio: TwilioSimulator, gateway: Any, session: aiohttp.ClientSession, against: Any
) -> None:
    twilio.clock = lambda: NOW
    _, answer = await post(twilio, session, **(GOOD | SCHEDULED), StatusCallback=f"{gateway.url}?ref=later#rc=3")
    assert answer["status"] == "scheduled"
    client: Any = await sms.open_account(against(twilio))
    await client._sdk.messages(answer["sid"]).update_async(status="canceled")
    (update,) = await receipts(twilio, gateway, sms)
    assert (update.status, update.error_code, update.correlation) == ("failed", "canceled", "later")


async def test_another_account_is_not_found(twilio: TwilioSimulator, against: Any, message: Make) -> None:
    ctx = against(twilio)
    url = f"{twilio.base_url}/2010-04-01/Accounts/AC{'0' * 32}.json"
    basic = {"Authorization": aiohttp.encode_basic_auth(twilio.account_sid, twilio.auth_token)}
    async with ctx.http.get(url, headers=basic) as response:
        assert response.status == 404


async def test_kinds_over_the_sdk(
    twilio: TwilioSimulator, twilio_whatsapp: TwilioWhatsAppSimulator, against: Any, message: Make
) -> None:
    channels: list[tuple[Any, TwilioSimulator]] = [(sms, twilio), (whatsapp, twilio_whatsapp)]
    for channel, simulator in channels:
        for kind, example in channel.channel_info().examples.items():
            content = channel.channel_info().content_model(kind).model_validate({"kind": kind, **example})
            result = await channel.send(against(simulator), message(content))
            assert simulator.messages[result.provider_ids[0]].num_media == isinstance(content, Media)
            assert result.provider_ids[0].startswith("MM" if isinstance(content, Media | Template) else "SM")


async def test_the_oldest_messages_are_forgotten(
    twilio: TwilioSimulator, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("waypost_sms_twilio.simulator.server.MOST_MESSAGES", 2)
    for index in range(4):
        await post(twilio, session, **(GOOD | {"Body": str(index)}))
    assert [message.body for message in twilio.messages.values()] == ["2", "3"]


async def test_it_runs_by_itself(tmp_path: Path, context: Context, message: Make, gateway: Any) -> None:
    journal = tmp_path / "journal.jsonl"
    journal.write_text('{"earlier": true}\n')
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "waypost_sms_twilio.simulator", "--port", "0", "--journal", str(journal)),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 20))
        assert ready["senders"] == ["+15005550006"]
        account = TwilioSettings.model_validate(ready["account_settings"])
        ctx = replace(context, account=account, callback_url=f"{gateway.url}?ref=att_7")
        assert ready["account_settings"]["base_url"] == ready["url"]
        result = await sms.send(ctx, message(HI))
        with pytest.raises(InvalidRecipient):
            await sms.send(ctx, message(HI, "+15005550001"))
        earlier, accepted, refused = [json.loads(line) for line in journal.read_text().splitlines()]
        assert earlier == {"earlier": True}
        assert accepted["provider_id"] == result.provider_ids[0]
        assert (accepted["accepted"], accepted["correlation"], accepted["outcome"]) == (True, "att_7", "delivered")
        assert (refused["accepted"], refused["outcome"]) == (False, "invalid_recipient")
    finally:
        process.kill()
        await process.wait()
