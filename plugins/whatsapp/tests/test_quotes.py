"""What a message is billed as, and when free-form content is refused before credit is held."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from waypost.plugin import (
    Address,
    ContentRejected,
    Context,
    OutboundMessage,
    OutsideWindow,
    Quote,
    QuoteLine,
    Reaction,
    Template,
    Text,
    Unsupported,
)
from waypost.plugin.content import Action, Buttons, Choice
from waypost.plugin.types import Micros
from waypost_whatsapp.channel import WhatsApp
from waypost_whatsapp.quotes import window
from waypost_whatsapp.settings import WhatsAppSettings

Make = Callable[..., Any]
HI = Text(body="hi")
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("last_inbound", "history", "state"),
    [
        (HOUR, None, "open"),
        (HOUR, HOUR, "open"),
        (DAY - timedelta(seconds=1), 30 * DAY, "open"),
        (DAY, 30 * DAY, "closed"),
        (2 * DAY, None, "closed"),
        (2 * DAY, HOUR, "unknown"),
        (None, None, "unknown"),
        (None, HOUR, "unknown"),
        (None, DAY - timedelta(seconds=1), "unknown"),
        (None, DAY, "closed"),
        (None, 30 * DAY, "closed"),
    ],
)
def test_the_window_is_known_or_not_never_guessed(
    last_inbound: timedelta | None,
    history: timedelta | None,
    state: str,
    plugin: WhatsApp,
    context: Make,
    outbound: Make,
    now: datetime,
) -> None:
    ctx = context(
        last_inbound_at=None if last_inbound is None else now - last_inbound,
        history_since=None if history is None else now - history,
    )
    message = outbound(HI)
    assert window(ctx, message) == state
    if state == "closed":
        with pytest.raises(OutsideWindow):
            plugin.price(ctx, message)
    else:
        assert plugin.price(ctx, message).lines == (QuoteLine("service", charge_on="delivered"),)


@pytest.mark.parametrize("number", ["+5531987654321", "+5215512345678", "+5491112345678"])
def test_numbers_of_two_forms_are_never_known_to_be_closed(number: str, context: Make, outbound: Make) -> None:
    assert window(context(last_inbound_at=None), outbound(HI, number)) == "unknown"


@pytest.mark.parametrize(
    "content",
    [HI, Reaction(message_id="wamid.1", emoji="👍"), Buttons(body="?", choices=(Choice(title="Yes"),))],
)
def test_free_form_of_every_kind_is_refused_outside_the_window(
    content: Any, plugin: WhatsApp, context: Make, outbound: Make
) -> None:
    with pytest.raises(OutsideWindow):
        plugin.price(context(last_inbound_at=None), outbound(content))


@pytest.mark.parametrize("window_open", [True, False])
@pytest.mark.parametrize(
    ("category", "sku"),
    [
        ("marketing", "marketing"),
        ("UTILITY", "utility"),
        ("authentication", "authentication"),
        ("authentication_international", "authentication_international"),
        ("marketing_lite", "marketing_lite"),
        (None, "marketing"),
    ],
)
def test_templates_are_charged_by_category_when_delivered(
    category: str | None, sku: str, window_open: bool, plugin: WhatsApp, context: Make, outbound: Make, now: datetime
) -> None:
    ctx = context(last_inbound_at=now - HOUR if window_open else None)
    quote = plugin.price(ctx, outbound(Template(template_id="x", category=category)))
    assert quote.lines == (QuoteLine(sku, charge_on="delivered"),)
    assert quote.destination is None


@pytest.mark.parametrize(
    ("carded", "window_open", "sku"),
    [
        ({"utility_in_window"}, True, "utility_in_window"),
        ({"utility_in_window"}, False, "utility"),
        ({"utility"}, True, "utility"),
    ],
)
def test_a_utility_template_in_the_window_is_free_where_the_rate_card_says_so(
    carded: set[str], window_open: bool, sku: str, plugin: WhatsApp, context: Make, outbound: Make, now: datetime
) -> None:
    ctx = context(
        last_inbound_at=now - HOUR if window_open else None,
        rates=lambda name: Micros(0) if name in carded else None,
    )
    assert plugin.price(ctx, outbound(Template(template_id="x", category="utility"))).lines[0].sku == sku


def test_the_operators_category_outranks_the_partners(
    plugin: WhatsApp, context: Make, outbound: Make, account: WhatsAppSettings
) -> None:
    settings = {**account.model_dump(), "template_categories": {"promo": "marketing"}, "default_category": "utility"}
    ctx: Context = context(account=WhatsAppSettings(**settings))
    assert plugin.price(ctx, outbound(Template(template_id="promo", category="utility"))).lines[0].sku == "marketing"
    assert plugin.price(ctx, outbound(Template(template_id="other"))).lines[0].sku == "utility"


def test_an_unknown_category_is_refused(plugin: WhatsApp, context: Make, outbound: Make) -> None:
    with pytest.raises(ContentRejected):
        plugin.price(context(), outbound(Template(template_id="x", category="gossip")))


def test_what_cannot_be_expressed_is_refused_before_credit_is_held(
    plugin: WhatsApp, context: Make, outbound: Make
) -> None:
    with pytest.raises(Unsupported):
        plugin.price(context(), outbound(Buttons(body="?", choices=(Choice(title="Call", phone="+15550001111"),))))


@pytest.mark.parametrize("kind", ["mark_read", "typing_on"])
def test_what_is_no_message_costs_nothing(kind: Any, plugin: WhatsApp, context: Make, outbound: Make) -> None:
    quote = plugin.price(context(last_inbound_at=None), outbound(Action(kind=kind, message_id="wamid.1")))
    assert quote.lines == ()


@pytest.mark.parametrize(("user_id", "destination"), [("US.1", "1"), ("GB.1", "44"), ("ZZ.1", None)])
def test_a_user_id_is_rated_by_its_country(
    user_id: str, destination: str | None, plugin: WhatsApp, context: Make, outbound: Make
) -> None:
    assert plugin.price(context(), outbound(HI, user_id)).destination == destination


def test_a_person_known_by_both_is_rated_by_number(plugin: WhatsApp, context: Make, outbound: Make) -> None:
    message: OutboundMessage = outbound(HI)
    both = replace(message, recipient=(Address("wa_user_id", "GB.1"), *message.recipient))
    assert plugin.price(context(), both).destination is None


def test_pricing_is_pure(plugin: WhatsApp, context: Make, outbound: Make) -> None:
    ctx, message = context(), outbound(Template(template_id="x", variables={"1": "a"}))
    first: Quote = plugin.price(ctx, message)
    assert plugin.price(ctx, message) == first
