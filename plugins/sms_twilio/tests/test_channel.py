"""Addresses, prices, the loader's view, accounts, templates and lookups."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points
from typing import Any

import pluggy
import pytest
from waypost.plugin import (
    CHANNELS_GROUP,
    AccountBlocked,
    Address,
    Context,
    InvalidRecipient,
    LookupResult,
    Media,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    SendAttempt,
    Template,
    Text,
)
from waypost.plugin.settings import secret_fields
from waypost.plugin.spec import ChannelSpec
from waypost_sms_twilio.channel import sms, whatsapp
from waypost_sms_twilio.settings import TwilioSettings
from waypost_sms_twilio.simulator import TwilioSimulator, TwilioWhatsAppSimulator

Make = Callable[..., OutboundMessage]
TEMPLATE = Template(template_id="HXf8aa5a783ac6df54b1d28473f2de4c75", variables={"1": "Ada"})
STARTED = datetime(2026, 11, 10, 9, 15, 0, 500_000, tzinfo=UTC)

# ---- the loader's view


def test_both_entry_points_name_their_channels() -> None:
    found = {entry.name: entry for entry in entry_points(group=CHANNELS_GROUP)}
    assert found["sms_twilio"].load() is sms
    assert found["whatsapp_twilio"].load() is whatsapp


def test_the_hooks_are_as_specified() -> None:
    manager = pluggy.PluginManager("waypost")
    manager.add_hookspecs(ChannelSpec)
    for channel in (sms, whatsapp):
        manager.register(channel)
    manager.check_pending()


@pytest.mark.parametrize(("channel", "name"), [(sms, "SMS"), (whatsapp, "WHATSAPP")])
async def test_the_info_and_its_examples_hold(channel: Any, name: str, context: Context, message: Make) -> None:
    info = channel.channel_info()
    assert info.channel == name
    assert set(info.examples) == info.content_kinds
    assert info.account_ref_field in TwilioSettings.model_fields
    assert secret_fields(info.account_settings) == {"auth_token", "other_auth_tokens", "api_key_secret"}
    for kind, example in info.examples.items():
        content = info.content_model(kind).model_validate({"kind": kind, **example})
        assert channel.price(context, message(content)).lines


def test_other_tokens_may_come_as_one_text() -> None:
    """So they come from an environment variable."""
    settings = {"account_sid": f"AC{'0' * 32}", "auth_token": "new", "other_auth_tokens": "old,older oldest"}
    tokens = TwilioSettings.model_validate(settings).webhook_tokens
    assert [token.get_secret_value() for token in tokens] == ["new", "old", "older", "oldest"]


def test_importing_is_cheap_and_leaves_the_sdk_alone() -> None:
    # The plugin API itself (aiohttp, pydantic) is imported before, as every deployment has.
    code = (
        "import time, sys, waypost.plugin.simulator, waypost.plugin.http\n"
        "began = time.process_time()\n"
        "import waypost_sms_twilio.channel\n"
        "print(time.process_time() - began, any(name.split('.')[0] == 'twilio' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    seconds, with_sdk = done.stdout.split()
    assert with_sdk == "False"
    assert float(seconds) < 0.3


# ---- addresses

NUMBERS = {
    "+14155550142": "+14155550142",
    "+1 (415) 555-0142": "+14155550142",
    "+1.415.555.0142": "+14155550142",
    " +65 6123 4567 ": "+6561234567",
    "+1234567890": "+1234567890",
    "+15551234567": "+15551234567",
    "+1‑415‑555‑0142": "+14155550142",
    "+1234567": "+1234567",
    "+123456789012345": "+123456789012345",
}


@pytest.mark.parametrize("written", NUMBERS)
def test_phone_numbers(written: str) -> None:
    assert sms.parse_address(written) == Address("e164", NUMBERS[written])
    assert whatsapp.parse_address("whatsapp:" + written) == Address("e164", NUMBERS[written])


@pytest.mark.parametrize(
    "written",
    [
        "",
        "14155550142",
        "+123456",
        "+1234567890123456",
        "+0123456789",
        "ada@example.com",
        "+1415555O142",
        "+" + "1" * 90,
        "+١٤١٥٥٥٥٠١٤٢",
        "+1415555\x000142",
        "US.123",
    ],
)
def test_what_is_no_phone_number(written: str) -> None:
    with pytest.raises(InvalidRecipient) as caught:
        sms.parse_address(written)
    assert not written or written not in str(caught.value)


def test_business_scoped_user_ids() -> None:
    assert whatsapp.parse_address("US.20417733905561208843") == Address("wa_user_id", "US.20417733905561208843")
    with pytest.raises(InvalidRecipient):
        whatsapp.parse_address("US.not-one")


# ---- prices

SEGMENTS = [
    ("x" * 160, 1),
    ("x" * 161, 2),
    ("x" * 306, 2),
    ("x" * 307, 3),
    ("€" * 80, 1),
    ("€" * 81, 2),
    ("я" * 70, 1),
    ("я" * 71, 2),
    ("😀" * 35, 1),
    ("😀" * 36, 2),
]


@pytest.mark.parametrize(("text", "count"), SEGMENTS)
def test_sms_is_priced_by_segments(text: str, count: int, context: Context, message: Make) -> None:
    quote = sms.price(context, message(Text(body=text), "+6561234567"))
    assert [(line.sku, line.quantity, line.charge_on) for line in quote.lines] == [("sms", count, "sent")]
    assert quote.destination is None  # which means the recipient's own digits


def test_templates_and_mms_count_one(context: Context, message: Make) -> None:
    assert [line.sku for line in sms.price(context, message(TEMPLATE)).lines] == ["sms"]
    picture = Media(kind="image", url="https://cdn.example.com/1.jpg", caption="x" * 1000)
    (line,) = sms.price(context, message(picture)).lines
    assert (line.sku, line.quantity) == ("mms", 1)
    (line,) = sms.price(context, message(Text(body="x" * 500), options={"sendAsMms": True})).lines
    assert (line.sku, line.quantity) == ("mms", 1)


def test_whatsapp_is_priced_by_kind(context: Context, message: Make) -> None:
    template = whatsapp.price(context, message(TEMPLATE))
    session = whatsapp.price(context, message(Text(body="hi")))
    assert [quote.lines[0].sku for quote in (template, session)] == ["template", "session"]
    assert template.destination == "14155550142"
    hidden = whatsapp.price(context, message(TEMPLATE, "SG.123", kind="wa_user_id"))
    assert hidden.destination == "65"
    assert whatsapp.price(context, message(TEMPLATE, "XX.123", kind="wa_user_id")).destination is None


def test_whatsapp_needs_a_template_outside_the_window(context: Context, message: Make) -> None:
    day, hour = timedelta(hours=24), timedelta(hours=1)
    text = message(Text(body="hi"))
    for known in (
        {},
        {"last_inbound_at": context.now - hour, "history_since": context.now - 9 * day},
        {"history_since": context.now - hour},
        {"last_inbound_at": context.now - 2 * day, "history_since": context.now - hour},
        {"last_inbound_at": context.now - day},
    ):
        assert whatsapp.price(replace(context, **known), text).lines
    for known in ({"last_inbound_at": context.now - day - hour}, {"history_since": context.now - day - hour}):
        with pytest.raises(OutsideWindow):
            whatsapp.price(replace(context, **known), text)
        assert whatsapp.price(replace(context, **known), message(TEMPLATE)).lines


@pytest.mark.parametrize("number", ["+5511987654321", "+5215512345678", "+5491112345678"])
def test_numbers_of_two_forms_are_never_known_to_be_outside_the_window(
    number: str, context: Context, message: Make
) -> None:
    week = timedelta(days=7)
    for known in ({"history_since": context.now - week}, {"last_inbound_at": context.now - week}):
        assert whatsapp.price(replace(context, **known), message(Text(body="oi"), number)).lines


# ---- the account and its templates


async def test_an_active_account_is_well(context: Context, cassette: Any) -> None:
    with cassette("account_active"):
        assert (await sms.check_account(context)).state == "ok"
    with cassette("account_suspended"):
        assert (await sms.check_account(context)).state == "blocked"


async def test_wrong_credentials_block_and_silence_does_not(
    twilio: TwilioSimulator, against: Any, message: Make, settings: TwilioSettings
) -> None:
    assert (await sms.check_account(against(twilio))).state == "ok"
    wrong = against(twilio, auth_token="wrong")
    assert (await sms.check_account(wrong)).state == "blocked"
    with pytest.raises(AccountBlocked):
        await sms.send(wrong, message(Text(body="hi")))
    twilio.account_status = "suspended"
    assert (await sms.check_account(against(twilio))).state == "blocked"
    with pytest.raises(AccountBlocked):
        await sms.send(against(twilio), message(Text(body="hi")))
    twilio.account_status = "dormant"
    assert (await sms.check_account(against(twilio))).state == "unknown"
    nowhere = against(twilio, base_url="http://127.0.0.1:9")
    assert (await sms.check_account(nowhere)).state == "unknown"
    assert [entry.accepted for entry in twilio.journal] == [False, False]


async def test_with_an_api_key_the_key_is_checked(twilio: TwilioSimulator, against: Any) -> None:
    # The simulator knows no API keys, as Twilio knows no revoked ones.
    keyed = against(twilio, api_key_sid="SK" + "0" * 32, api_key_secret="revoked")
    assert (await sms.check_account(keyed)).state == "blocked"


async def test_documented_templates(context: Context, cassette: Any) -> None:
    with cassette("content_and_approvals_list"):
        (template,) = await whatsapp.list_templates(context)
    assert (template.template_id, template.name) == ("HXf8aa5a783ac6df54b1d28473f2de4c75", "order_shipped")
    assert (template.language, template.category, template.status) == ("en", "UTILITY", "approved")
    assert template.variables == ("1", "2")


async def test_simulated_templates(twilio: TwilioSimulator, against: Any) -> None:
    templates = await sms.list_templates(against(twilio))
    assert [(template.name, template.status) for template in templates] == [
        ("order_shipped", "approved"),
        ("one_time_code", "unsubmitted"),
    ]


# ---- lookups


def _attempt(message: OutboundMessage, **fields: Any) -> SendAttempt:
    return SendAttempt(message=message, correlation="att_1", **{"started_at": STARTED, **fields})


DOCUMENTED = {
    "message_fetch_delivered": ("SM4217141f52019cf754ee6cfcf910dcc2", "delivered", None),
    "message_fetch_undelivered": ("SMedabecb7179bde91273363e1c5996cf3", "undelivered", "30003"),
}


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_lookup_by_id(name: str, context: Context, cassette: Any, message: Make) -> None:
    sid, status, code = DOCUMENTED[name]
    with cassette(name):
        found = await sms.lookup(context, _attempt(message(Text(body="Hello! 👍")), provider_ids=(sid,)))
    assert found == LookupResult(found=True, provider_ids=(sid,), status=status, provider_code=code)


async def test_lookup_by_what_was_sent(context: Context, cassette: Any, message: Make) -> None:
    def asked(text: str, **fields: Any) -> SendAttempt:
        return _attempt(message(Text(body=text), **fields))

    service = "MG393578e56aca76416da235415669597e"
    late = replace(context, now=context.now + timedelta(minutes=5))
    with cassette("messages_list_page") as played:
        played.allow_playback_repeats = True
        found = await sms.lookup(late, asked("Hello! 👍"))
        assert found == LookupResult(found=True, provider_ids=("SM4217141f52019cf754ee6cfcf910dcc2",))
        found = await sms.lookup(late, asked("Hello! 👍", sender=service))
        assert found == LookupResult(found=True, provider_ids=("SMa5e5b5f7fcf71d071b60d5aa3c744576",))
        assert await sms.lookup(late, asked("something else", sender=service)) is None


async def test_lookup_settles_an_answer_that_was_lost(twilio: TwilioSimulator, against: Any, message: Make) -> None:
    ctx = against(twilio)
    sent = message(Text(body="hi"), "+15005550117")
    with pytest.raises(OutcomeUnknown):
        await sms.send(ctx, sent)
    (entry,) = twilio.journal
    found = await sms.lookup(ctx, _attempt(sent, started_at=ctx.now))
    assert found == LookupResult(found=True, provider_ids=(str(entry.provider_id),), status="delivered")
    other = message(Text(body="other"), "+15005550117")
    assert await sms.lookup(ctx, _attempt(other, started_at=ctx.now)) is None


async def test_lookup_of_a_template_goes_by_time_alone(
    twilio_whatsapp: TwilioWhatsAppSimulator, against: Any, message: Make
) -> None:
    ctx = against(twilio_whatsapp)
    sent = message(TEMPLATE, "+15005550117")
    with pytest.raises(OutcomeUnknown):
        await whatsapp.send(ctx, sent)
    found = await whatsapp.lookup(ctx, _attempt(sent, started_at=ctx.now))
    assert found is not None
    assert found.found
    await whatsapp.send(ctx, replace(sent, recipient=(Address("e164", "+15005550101"),)))
    missing = _attempt(replace(sent, recipient=(Address("e164", "+15005550199"),)), started_at=ctx.now)
    assert await whatsapp.lookup(ctx, missing) is None
    later = replace(ctx, now=ctx.now + timedelta(seconds=61))
    assert await whatsapp.lookup(later, missing) == LookupResult(found=False)


async def test_lookup_tells_nothing_when_twilio_does_not(twilio: TwilioSimulator, against: Any, message: Make) -> None:
    sent = message(Text(body="hi"))
    wrong = against(twilio, auth_token="wrong")
    assert await sms.lookup(wrong, _attempt(sent)) is None
    assert await sms.lookup(against(twilio), _attempt(sent, provider_ids=("SM0",))) is None
    assert await sms.lookup(against(twilio, base_url="http://127.0.0.1:9"), _attempt(sent)) is None
