"""What a message will be billed as.

Twilio bills SMS per segment and MMS per message (Twilio docs, "Messaging pricing"); WhatsApp per message, with Meta's
fee for templates passed on. A template's text is at Twilio, so that it counts as one segment.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from waypost.plugin import OutboundMessage, Quote, QuoteLine, Template
from waypost.plugin.segments import count_segments

from waypost_sms_twilio.addresses import WHATSAPP_PREFIX, rate_digits


def quote_sms(fields: Mapping[str, Any]) -> Quote:
    """Meter an SMS or MMS from its request. The recipient's own digits select the rate."""
    if "media_url" in fields or fields.get("send_as_mms"):
        return Quote((QuoteLine("mms"),))
    if "content_sid" in fields:
        return Quote((QuoteLine("sms"),), note="a template counts as one segment")
    segments = count_segments(fields["body"])
    return _quote_text(segments.count, segments.units, segments.encoding)


@lru_cache(maxsize=4096)
def _quote_text(count: int, units: int, encoding: str) -> Quote:
    return Quote((QuoteLine("sms", count),), note=f"{units} units of {encoding}")


def quote_whatsapp(fields: Mapping[str, Any], message: OutboundMessage) -> Quote:
    """Meter a WhatsApp message from its request."""
    sku = "template" if isinstance(message.content, Template) else "session"
    return Quote((QuoteLine(sku),), destination=rate_digits(fields["to"].removeprefix(WHATSAPP_PREFIX)))
