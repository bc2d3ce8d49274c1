"""From a message to the parameters of Twilio's `Messages` resource.

Source: Twilio docs, "Message resource", create parameters. The keys are those of the SDK's `create_async`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from waypost.plugin import (
    Content,
    ContentRejected,
    Context,
    InvalidRecipient,
    Location,
    Media,
    Misconfigured,
    OutboundMessage,
    OutsideWindow,
    Template,
    Text,
    Unsupported,
)

from waypost_sms_twilio.addresses import WHATSAPP_PREFIX
from waypost_sms_twilio.settings import TwilioSettings

#: Twilio refuses longer bodies with 21617.
LONGEST_BODY = 1600
#: Twilio keeps a message queued for ten hours at most.
LONGEST_VALIDITY = 36_000
#: WhatsApp takes free-form messages for a day after the recipient last wrote (Twilio error 63016).
WINDOW = timedelta(hours=24)
#: Countries whose numbers WhatsApp knows in two forms (Brazil's and Argentina's 9, Mexico's 1). Webhooks carry the
#: form that WhatsApp chose, so that a last inbound message may be on record under the other one.
_TWO_FORMS = ("+52", "+54", "+55")

_CONTENT_SID = re.compile(r"HX[0-9a-fA-F]{32}")
_SERVICE_SID = re.compile(r"MG[0-9a-fA-F]{32}")

#: What partners may set in `options`, by Twilio's own parameter names in any case style → the SDK's name and type.
_OPTIONS: Mapping[str, tuple[str, type]] = {
    "addressretention": ("address_retention", str),
    "contentretention": ("content_retention", str),
    "providefeedback": ("provide_feedback", bool),
    "riskcheck": ("risk_check", str),
    "sendasmms": ("send_as_mms", bool),
    "sendat": ("send_at", str),
    "shortenurls": ("shorten_urls", bool),
    "smartencoded": ("smart_encoded", bool),
}
#: Only a Messaging Service can do these.
_OF_SERVICES = ("send_at", "shorten_urls")


def parameters(ctx: Context, account: TwilioSettings, message: OutboundMessage, *, whatsapp: bool) -> dict[str, Any]:
    """The whole request for one message; raises `Permanent` for what Twilio could not express."""
    options = _options(message.options) if message.options else {}
    if options:
        _check_schedule(ctx, account, options)
    fields = _content(message.content, whatsapp=whatsapp)
    fields["to"] = recipient(message, whatsapp=whatsapp)
    fields |= _sender(account, message.sender, options, whatsapp=whatsapp)
    fields |= options
    if ctx.callback_url:
        fields["status_callback"] = ctx.callback_url
        if account.callback_overrides and "#" not in ctx.callback_url:
            fields["status_callback"] += f"#{account.callback_overrides}"
    if message.validity is not None:
        fields["validity_period"] = min(max(message.validity, 1), LONGEST_VALIDITY)
    return fields


def recipient(message: OutboundMessage, *, whatsapp: bool) -> str:
    """The recipient as Twilio wants it. Raises `InvalidRecipient` where no address of theirs will do."""
    address = message.address("e164", "wa_user_id") if whatsapp else message.address("e164")
    if address is None:
        raise InvalidRecipient("The recipient has no phone number.")
    return WHATSAPP_PREFIX + address if whatsapp else address


def check_window(ctx: Context, message: OutboundMessage) -> None:
    """Raise `OutsideWindow` for free-form WhatsApp content when the recipient is known not to have written in time.

    Where this gateway has not been receiving for a whole day, or where the person may be on record under another form
    of their number, nothing is known, and Twilio decides.
    """
    if isinstance(message.content, Template) or (message.address("e164") or "").startswith(_TWO_FORMS):
        return
    if ctx.silent_since is not None and ctx.now - ctx.silent_since > WINDOW:
        raise OutsideWindow


def _sender(
    account: TwilioSettings, sender: str | None, options: Mapping[str, Any], *, whatsapp: bool
) -> dict[str, str]:
    service = account.messaging_service_sid
    if sender and _SERVICE_SID.fullmatch(sender):
        service, sender = sender, None
    if options and any(name in options for name in _OF_SERVICES):
        if not service:
            raise Misconfigured("Scheduling and short links need a Messaging Service.")
    elif sender:
        # A named sender need not belong to the service, and Twilio would refuse the pair.
        service = None
    if not sender and not service:
        raise Misconfigured("No sender and no Messaging Service is set up for this gateway.")
    fields = {"messaging_service_sid": service} if service else {}
    if sender:
        prefixed = whatsapp and not sender.startswith(WHATSAPP_PREFIX)
        fields["from_"] = WHATSAPP_PREFIX + sender if prefixed else sender
    return fields


def _content(content: Content, *, whatsapp: bool) -> dict[str, Any]:
    match content:
        case Text():
            return {"body": _body(content.body)}
        case Template():
            return _template(content)
        case Media():
            return _media(content, whatsapp=whatsapp)
        case Location() if whatsapp:
            return _location(content)
        case _:
            raise Unsupported(f"Twilio cannot send {content.kind} on this channel.")


def _template(content: Template) -> dict[str, Any]:
    if not _CONTENT_SID.fullmatch(content.template_id):
        raise Misconfigured("A template is named by its content SID: HX and 32 hexadecimal digits.")
    if content.components:
        raise Unsupported("Twilio's templates take variables, not components.")
    fields = {"content_sid": content.template_id}
    if content.variables:
        fields["content_variables"] = json.dumps(content.variables, ensure_ascii=False, separators=(",", ":"))
    return fields


def _media(content: Media, *, whatsapp: bool) -> dict[str, Any]:
    if content.kind == "sticker":
        raise Unsupported("Twilio cannot send stickers.")
    if content.media_id is not None or content.url is None:
        raise Unsupported("Twilio fetches media from a public address; give a url.")
    if whatsapp and content.more_urls:
        raise Unsupported("A WhatsApp message holds one media.")
    fields: dict[str, Any] = {"media_url": [content.url, *content.more_urls]}
    if content.caption:
        fields["body"] = _body(content.caption)
    return fields


def _location(content: Location) -> dict[str, Any]:
    place = f"geo:{content.latitude:.6f},{content.longitude:.6f}"
    label = content.address or content.name
    return {
        "body": _body(content.name or content.address or place.removeprefix("geo:")),
        "persistent_action": [f"{place}|{label}" if label else place],
    }


def _body(text: str) -> str:
    if len(text) > LONGEST_BODY:
        raise ContentRejected(f"The text is longer than {LONGEST_BODY} characters.")
    return text


def _options(options: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in options.items():
        known = _OPTIONS.get(name.replace("_", "").lower())
        if known is None or value is None:
            # Options may be meant for another provider of the same message.
            continue
        parameter, wanted = known
        if not isinstance(value, wanted):
            raise Unsupported(f"The option {parameter} has the wrong type.")
        fields[parameter] = value
    if "send_at" in fields:
        fields["send_at"] = _moment(fields["send_at"])
        fields["schedule_type"] = "fixed"
    return fields


def _moment(value: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Unsupported("The option send_at is not a time in ISO 8601.") from None


def _check_schedule(ctx: Context, account: TwilioSettings, options: Mapping[str, Any]) -> None:
    """Twilio takes 35 days; but a message must have left before its receipts are no longer waited for."""
    hours = account.schedule_hours
    if "send_at" in options and options["send_at"] - ctx.now > timedelta(hours=hours):
        raise ContentRejected(f"Messages may be scheduled at most {hours} hours ahead.")
