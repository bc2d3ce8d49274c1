"""What a message is billed as, and whether the customer service window is open.

Since July 2025 Meta charges per delivered template, by category and by the recipient's country; free-form messages
cost nothing, nor do utility templates inside an open window. Source: Meta, WhatsApp, "Pricing".
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

import phonenumbers
from waypost.plugin import Context, OutboundMessage, OutsideWindow, Quote, QuoteLine, Template
from waypost.plugin.content import Action

from waypost_whatsapp.addresses import E164, USER_ID
from waypost_whatsapp.settings import WhatsAppSettings
from waypost_whatsapp.templates import category_of

#: How long after a person's last message free-form content may follow.
WINDOW = timedelta(hours=24)
SERVICE = "service"
UTILITY_IN_WINDOW = "utility_in_window"

Window = Literal["open", "closed", "unknown"]

#: Countries whose numbers WhatsApp knows in two forms (Brazil's and Argentina's 9, Mexico's 1). Webhooks carry the
#: form that WhatsApp chose, so that a last inbound message may be on record under the other one.
_TWO_FORMS = ("+52", "+54", "+55")


def window(ctx: Context, message: OutboundMessage) -> Window:
    """Whether the recipient wrote within 24 hours: from what is on record, never guessed.

    `unknown` where this gateway has not received for long enough to tell, or where the person may be on record under
    another form of their number.
    """
    if ctx.last_inbound_at is not None and ctx.now - ctx.last_inbound_at < WINDOW:
        return "open"
    if (message.address(E164) or "").startswith(_TWO_FORMS):
        return "unknown"
    if ctx.silent_since is None or ctx.now - ctx.silent_since < WINDOW:
        return "unknown"
    return "closed"


def quote(ctx: Context, account: WhatsAppSettings, message: OutboundMessage) -> Quote:
    """Meter a message: one line, `charge_on` delivered. Raises `OutsideWindow` where the window is known closed."""
    if isinstance(message.content, Action):
        return Quote(lines=(), note="Not a message: nothing is charged.")
    state = window(ctx, message)
    if isinstance(message.content, Template):
        sku, note = _template_sku(ctx, account, message.content, state)
    elif state == "closed":
        raise OutsideWindow
    else:
        sku, note = SERVICE, f"Free-form; the customer service window is {state}."
    return Quote(lines=(QuoteLine(sku, charge_on="delivered"),), destination=_destination(message), note=note)


def _template_sku(ctx: Context, account: WhatsAppSettings, template: Template, state: Window) -> tuple[str, str]:
    category = category_of(account, template)
    carded = ctx.rates is not None and ctx.rates(UTILITY_IN_WINDOW) is not None
    if category == "utility" and state == "open" and carded:
        return UTILITY_IN_WINDOW, "Utility template inside the customer service window."
    return category, f"Template of category {category}; the customer service window is {state}."


def _destination(message: OutboundMessage) -> str | None:
    """The country's calling code for a person known only by a user id, whose first letters name the country."""
    if message.address(E164) is not None:
        return None
    user_id = message.address(USER_ID)
    calling_code = phonenumbers.country_code_for_region(user_id[:2]) if user_id else 0
    return str(calling_code) if calling_code else None
