"""The simulated Twilio's deliveries, signed as Twilio signs."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

from waypost.plugin import WebhookRequest

from waypost_sms_twilio.addresses import WHATSAPP_PREFIX
from waypost_sms_twilio.signature import FORM, sign
from waypost_sms_twilio.simulator.messages import Message


def signed(token: str, url: str, form: Mapping[str, str]) -> WebhookRequest:
    """A delivery of this form to this URL."""
    headers = (
        ("content-type", f"{FORM}; charset=UTF-8"),
        ("user-agent", "TwilioProxy/1.1"),
        ("i-twilio-idempotency-token", str(uuid4())),
        ("x-twilio-signature", sign(token, url, form.items())),
    )
    query = tuple(parse_qsl(urlsplit(url).query, keep_blank_values=True))
    return WebhookRequest(method="POST", url=url, headers=headers, query=query, body=urlencode(form).encode())


def status_form(message: Message, status: str, code: int | None, *, default_sender: str) -> dict[str, str]:
    """The form of a status callback; `code` goes with a failure."""
    form = {
        "SmsSid": message.sid,
        "SmsStatus": status,
        "MessageStatus": status,
        "To": message.to,
        "MessageSid": message.sid,
        "AccountSid": message.account_sid,
        "From": message.sender or default_sender,
        "ApiVersion": "2010-04-01",
    }
    if message.service:
        form["MessagingServiceSid"] = message.service
    if message.to.startswith(WHATSAPP_PREFIX):
        form |= {
            "ChannelPrefix": "whatsapp",
            "ChannelToAddress": f"{message.to.removeprefix(WHATSAPP_PREFIX)[:-4]}XXXX",
        }
    if code is not None and status in ("failed", "undelivered"):
        form["ErrorCode"] = str(code)
    return form


def inbound_form(account_sid: str, text: str, sender: str, recipient: str) -> dict[str, str]:
    """The form of an inbound text."""
    sid = f"SM{uuid4().hex}"
    form = {
        "SmsMessageSid": sid,
        "NumMedia": "0",
        "SmsSid": sid,
        "SmsStatus": "received",
        "Body": text,
        "To": recipient,
        "NumSegments": "1",
        "MessageSid": sid,
        "AccountSid": account_sid,
        "From": sender,
        "ApiVersion": "2010-04-01",
    }
    if sender.startswith(WHATSAPP_PREFIX):
        number = sender.removeprefix(WHATSAPP_PREFIX).removeprefix("+")
        form |= {"ProfileName": "Ada Okafor", "WaId": number, "MessageType": "text"}
    return form
