"""The rules of sending through Messenger and Instagram: who, under which type and tag, when, and what it is metered as.

Source: Meta, Messenger Platform, "Send API reference", "Messenger Platform policy overview" (24 hours, message tags).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from waypost.plugin import (
    Address,
    Content,
    Context,
    InvalidRecipient,
    OutboundMessage,
    OutcomeUnknown,
    OutsideWindow,
    Quote,
    QuoteLine,
    SendResult,
    Unsupported,
)

from waypost_meta_graph.messaging_payloads import Surface, is_action
from waypost_meta_graph.pieces import text

#: Free-form messages are allowed for so long after the person's last message.
WINDOW = timedelta(hours=24)
#: A person at the business may answer for so long, with the tag HUMAN_AGENT.
HUMAN_AGENT_WINDOW = timedelta(days=7)
HUMAN_AGENT = "HUMAN_AGENT"

#: What a message is metered as.
MESSAGE_SKU = "message"
ACTION_SKU = "action"

#: Page-scoped and Instagram-scoped ids: digits, 15 to 17 of them as far as seen, fewer in Meta's own tests.
_SCOPED_ID = re.compile(r"[0-9]{4,32}")


def scoped_id(surface: Surface, value: str) -> Address:
    """The address of a person by the id Meta gave them for this account. Raises `InvalidRecipient`."""
    identifier = value.strip()
    if not _SCOPED_ID.fullmatch(identifier):
        raise InvalidRecipient(
            f"A {surface.title} recipient is the id ({surface.user_kind}) of somebody who wrote first."
        )
    return Address(surface.user_kind, identifier)


def person_id(surface: Surface, message: OutboundMessage) -> str:
    """The recipient's scoped id. Raises `InvalidRecipient`."""
    identifier = message.address(surface.user_kind)
    if identifier is None:
        raise InvalidRecipient(f"{surface.title} needs an address of the kind {surface.user_kind}.")
    return identifier


def message_tag(message: OutboundMessage) -> str | None:
    """The message tag the partner asked for, if any."""
    tag = message.options.get("tag")
    return tag if isinstance(tag, str) and tag else None


def messaging_type(surface: Surface, message: OutboundMessage, tags: tuple[str, ...]) -> dict[str, str]:
    """The `messaging_type` and `tag` fields, from the partner's options. Raises `Unsupported`."""
    tag = message_tag(message)
    asked = message.options.get("messaging_type")
    if tag is None and message.options.get("tag") is not None:
        raise Unsupported("The option `tag` is the name of a message tag.")
    if asked is not None and (not isinstance(asked, str) or asked not in surface.messaging_types):
        raise Unsupported(f"The option `messaging_type` is one of {', '.join(sorted(surface.messaging_types))}.")
    if tag is not None:
        if tag not in tags:
            raise Unsupported(f"This gateway allows these message tags: {', '.join(tags) or 'none'}.")
        if asked not in (None, "MESSAGE_TAG"):
            raise Unsupported("A tag goes with the messaging type MESSAGE_TAG only.")
        return {"messaging_type": "MESSAGE_TAG", "tag": tag}
    if asked == "MESSAGE_TAG":
        raise Unsupported("The messaging type MESSAGE_TAG needs the option `tag`.")
    chosen = asked or surface.default_messaging_type
    return {"messaging_type": chosen} if chosen else {}


def require_open_window(ctx: Context, message: OutboundMessage) -> None:
    """Raise `OutsideWindow` where we know that the person has not written recently enough.

    We know it when the gateway has received for longer than the window and nothing came in that time. A tag keeps
    the window open: HUMAN_AGENT for seven days, any other for as long as Meta accepts it.
    """
    tag = message_tag(message)
    if ctx.silent_since is None or (tag is not None and tag != HUMAN_AGENT):
        return
    if ctx.now - ctx.silent_since > (HUMAN_AGENT_WINDOW if tag else WINDOW):
        raise OutsideWindow("The person has not written recently; use a message tag, or wait until they write.")


def meter(content: Content) -> Quote:
    """One unit per message, or per action, billable once sent."""
    return Quote(lines=(QuoteLine(sku=ACTION_SKU if is_action(content) else MESSAGE_SKU, charge_on="sent"),))


def sent(reply: Mapping[str, Any], content: Content) -> SendResult:
    """What the Send API's answer means: with a message id the message is in the thread.

    Raises `OutcomeUnknown` for a success without one, unless it answers an action, which has none.
    """
    mid = text(reply, "message_id")
    if mid is not None:
        kept = {key: value for key in ("message_id", "attachment_id") if (value := text(reply, key)) is not None}
        return SendResult(provider_ids=(mid,), status="sent", raw=kept)
    if is_action(content):
        return SendResult(status="sent")
    raise OutcomeUnknown("The provider answered success without a message id.")
