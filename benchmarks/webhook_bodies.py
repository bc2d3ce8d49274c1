"""WhatsApp's statuses, signed beforehand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

SECRET = "bench-app-secret"
NUMBER = "330011223344556"
ACCOUNT = "220099887766551"


def provider_id(number: int) -> str:
    """WhatsApp's id of the so-manieth message, in its form and length."""
    return "wamid." + base64.b64encode(hashlib.sha256(str(number).encode()).digest() + b"whatsapp..").decode()


def requests(host: str, path: str, first: int, count: int, batch: int, statuses: Sequence[str]) -> list[bytes]:
    """So many POSTs with `batch` statuses each, for messages from number `first` on; each message gets all of these."""
    prepared = []
    for number in range(count):
        start = first + number // len(statuses) * batch
        body = _body(range(start, start + batch), statuses[number % len(statuses)])
        signature = hmac.digest(SECRET.encode(), body, "sha256").hex()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: facebookexternalua\r\nAccept: */*\r\n"
            f"X-Hub-Signature-256: sha256={signature}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        prepared.append(head.encode() + body)
    return prepared


def _body(numbers: range, status: str) -> bytes:
    metadata = {"display_phone_number": "15550199000", "phone_number_id": NUMBER}
    statuses = [
        {
            "id": provider_id(number),
            "status": status,
            "timestamp": "1794300000",
            "recipient_id": "15550100000",
            "pricing": {"billable": True, "pricing_model": "PMP", "type": "regular", "category": "utility"},
        }
        for number in numbers
    ]
    value = {"messaging_product": "whatsapp", "metadata": metadata, "statuses": statuses}
    entry = {"id": ACCOUNT, "changes": [{"value": value, "field": "messages"}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}, separators=(",", ":")).encode()
