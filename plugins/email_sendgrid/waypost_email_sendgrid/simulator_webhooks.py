"""What SendGrid posts to a gateway, as the simulator writes it: events of recipients, parsed mails, signatures."""

from __future__ import annotations

import base64
import itertools
import secrets
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from waypost.plugin import WebhookRequest

from waypost_email_sendgrid.simulator_rules import addresses

DOMAIN = "simulator.example"
PARSE_AGENT = "Sendlib/1.0 sendgrid.com"

#: Receipt → SendGrid's event, where no recipient of its own asks for more.
_EVENTS = {"sent": "processed", "delivered": "delivered", "read": "open", "undelivered": "bounce", "failed": "dropped"}

_BOUNCES: Mapping[str, Mapping[str, Any]] = {
    "bounce": {"type": "bounce", "bounce_classification": "Invalid Address", "status": "5.1.1",
               "reason": "550 5.1.1 The email account that you tried to reach does not exist."},
    "blocked": {"type": "blocked", "bounce_classification": "Reputation", "status": "5.7.1",
                "reason": "550 5.7.1 Message rejected due to sender reputation"},
    "expired": {"type": "expired", "reason": "unable to get mx info: failed to get IPs from PTR record"},
}  # fmt: skip
_DROPS = {
    "dropped": "Bounced Address",
    "unsubscribed": "Unsubscribed Address",
    "spam-reporter": "Spam Reporting Address",
}


class Signer:
    """A key pair of the simulator's own, and signatures by it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def public_key(self) -> str:
        """The verification key, as SendGrid shows it: base64 of DER."""
        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return base64.b64encode(der).decode()

    def signed(self, url: str, body: bytes, content_type: str, agent: str) -> WebhookRequest:
        """A delivery with SendGrid's two headers: ECDSA P-256/SHA-256 over timestamp and raw body."""
        timestamp = str(int(time.time()))
        signature = self._key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        return WebhookRequest(
            method="POST",
            url=url,
            headers=(
                ("content-type", content_type),
                ("user-agent", agent),
                ("x-twilio-email-event-webhook-signature", base64.b64encode(signature).decode()),
                ("x-twilio-email-event-webhook-timestamp", timestamp),
            ),
            body=body,
        )


def batch_body(events: Sequence[Mapping[str, Any]]) -> bytes:
    """A batch as SendGrid lays it out: a line for each event, and CRLF at the end."""
    return b"[" + b",\r\n".join(orjson.dumps(event) for event in events) + b"]\r\n"


def receipt_events(mail: Mapping[str, Any], provider_id: str, receipt: str) -> list[dict[str, Any]]:
    """An event for each recipient of a mail, and where a magic recipient asks for it more than one."""
    suffix = f"recvd-{secrets.token_hex(5)}-1-{secrets.token_hex(4).upper()}"
    index = itertools.count()
    events: list[dict[str, Any]] = []
    for personalization in mail["personalizations"]:
        for place, address in enumerate(addresses(personalization)):
            common = {
                **arguments_of(mail, personalization),
                "email": address,
                "timestamp": int(time.time()),
                "smtp-id": f"<{provider_id}@geopod-ismtpd-1>",
                "sg_message_id": f"{provider_id}.{suffix}.{next(index)}",
                **({"category": mail["categories"]} if mail.get("categories") else {}),
            }
            events.extend(
                {**common, "sg_event_id": secrets.token_urlsafe(36), **details}
                for details in _details(receipt, address, is_main=place == 0)
            )
    return events


def arguments_of(mail: Mapping[str, Any], personalization: Mapping[str, Any]) -> dict[str, str]:
    """Custom arguments as events carry them: flattened, the envelope's own first."""
    return {**mail.get("custom_args", {}), **personalization.get("custom_args", {})}


def _details(receipt: str, address: str, *, is_main: bool) -> Iterator[dict[str, Any]]:
    """The events of one recipient for one receipt; a copy fares well whatever the main recipient does."""
    word, _, domain = address.partition("@")
    word = word if domain == DOMAIN else ""
    event = _EVENTS[receipt]
    if not is_main and event in ("bounce", "dropped"):
        event = "delivered" if event == "bounce" else "processed"
    if event == "bounce":
        yield {"event": "bounce", "ip": "192.0.2.25", "tls": 1, **_BOUNCES.get(word, _BOUNCES["bounce"])}
    elif event == "dropped":
        yield {"event": "dropped", "reason": _DROPS.get(word, _DROPS["dropped"]), "status": "5.0.0"}
    elif event == "open":
        yield from _engagement(word)
    elif event == "delivered":
        if word == "deferred":
            yield {"event": "deferred", "response": "421 4.7.0 Try again later.", "attempt": "1"}
        yield {"event": "delivered", "response": "250 2.0.0 OK", "ip": "192.0.2.25", "tls": 1}
    else:
        yield {"event": event}


def _engagement(word: str) -> Iterator[dict[str, Any]]:
    seen = {"useragent": "Mozilla/5.0", "ip": "198.51.100.7"}
    yield {"event": "open", "sg_machine_open": False, "sg_content_type": "html", **seen}
    if word == "click":
        link = {"url": "https://shop.example/orders", "url_offset": {"index": 0, "type": "html"}}
        yield {"event": "click", **link, **seen}
    elif word in ("spamreport", "unsubscribe"):
        yield {"event": word}
    elif word == "group-unsubscribe":
        yield {"event": "group_unsubscribe", "asm_group_id": 14, "url": "https://shop.example/u", **seen}


def parsed_mail(text: str, sender: str, recipient: str) -> tuple[bytes, str]:
    """The body and content type of Inbound Parse's form for a plain mail."""
    message_id = f"<{uuid.uuid4().hex}@mail.{DOMAIN}>"
    now = time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime())
    headers = (
        f"Received: from mail.{DOMAIN} by mx0031p1mdw1.sendgrid.net with ESMTP id AbC; {now} (UTC)\n"
        f"From: {sender}\nDate: {now}\nMessage-ID: {message_id}\nSubject: Hello\nTo: {recipient}\n"
    )
    fields = {
        "headers": headers,
        "dkim": f"{{@{DOMAIN} : pass}}",
        "to": recipient,
        "from": sender,
        "subject": "Hello",
        "text": text,
        "sender_ip": "192.0.2.7",
        "envelope": orjson.dumps({"to": [recipient], "from": sender}).decode(),
        "attachments": "0",
        "charsets": '{"to":"UTF-8","from":"UTF-8","subject":"UTF-8","text":"UTF-8"}',
        "SPF": "pass",
    }
    boundary = f"xYz{uuid.uuid4().hex}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    body = "".join(parts) + f"--{boundary}--\r\n"
    return body.encode("utf-8", "replace"), f"multipart/form-data; boundary={boundary}"
