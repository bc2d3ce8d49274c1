"""The simulated Twilio's messages: how they are made, listed and shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode
from uuid import uuid4

from aiohttp import web
from waypost.plugin.segments import count_segments

API = "/2010-04-01"


class Form:
    """A request's parameters; some names repeat."""

    __slots__ = ("_values",)

    def __init__(self, values: dict[str, list[str]]) -> None:
        self._values = values

    @classmethod
    def of(cls, text: str) -> Form:
        """Read a URL-encoded form."""
        values: dict[str, list[str]] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            values.setdefault(name, []).append(value)
        return cls(values)

    def first(self, name: str) -> str:
        """The first value, or an empty text."""
        return self._values[name][0] if name in self._values else ""

    def all(self, name: str) -> list[str]:
        """Every value."""
        return self._values.get(name, [])

    def has(self, name: str) -> bool:
        """Whether the name was given at all."""
        return name in self._values

    def as_dict(self) -> dict[str, Any]:
        """The parameters as JSON-able values: a list where a name repeats."""
        return {name: value[0] if len(value) == 1 else value for name, value in self._values.items()}


@dataclass(slots=True)
class Message:
    """A message the simulated Twilio accepted."""

    sid: str
    account_sid: str
    to: str
    sender: str
    service: str
    body: str
    num_media: int
    callback: str
    status: str
    created: datetime
    sent: datetime | None = None
    error_code: int | None = None
    late: bool = False

    @classmethod
    def of(cls, form: Form, account_sid: str) -> Message:
        """Make the message that a valid request asks for."""
        media, service, content = form.all("MediaUrl"), form.first("MessagingServiceSid"), form.has("ContentSid")
        status = "scheduled" if form.has("SendAt") else "accepted" if service else "queued"
        return cls(
            sid=f"{'MM' if media or content else 'SM'}{uuid4().hex}",
            account_sid=account_sid,
            to=form.first("To"),
            sender=form.first("From"),
            service=service,
            body=form.first("Body"),
            num_media=len(media),
            callback=form.first("StatusCallback"),
            status=status,
            created=datetime.now(UTC).replace(microsecond=0),
        )

    def finish(self, status: str, error_code: int | None) -> None:
        """Move to a status for good."""
        self.status, self.error_code = status, error_code
        if status != "canceled":
            self.sent = datetime.now(UTC).replace(microsecond=0)

    def json(self) -> dict[str, Any]:
        """The message as Twilio shows it."""
        path = f"{API}/Accounts/{self.account_sid}/Messages/{self.sid}"
        waits = self.service and self.sent is None
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": format_datetime(self.created),
            "date_sent": None if self.sent is None else format_datetime(self.sent),
            "date_updated": format_datetime(self.created),
            "direction": "outbound-api",
            "error_code": self.error_code,
            "error_message": None,
            "from": self.sender or None,
            "messaging_service_sid": self.service or None,
            "num_media": str(self.num_media),
            "num_segments": "0" if waits else str(count_segments(self.body).count),
            "price": None,
            "price_unit": None,
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{path}/Media.json"},
            "to": self.to,
            "uri": f"{path}.json",
        }


def selects(message: Message, query: Mapping[str, str]) -> bool:
    """Whether a list's filters let a message through; `DateSent` never selects what was not sent yet."""
    if query.get("To", message.to) != message.to or query.get("From", message.sender) != message.sender:
        return False
    if "DateSent" in query:
        return message.sent is not None and message.sent.date().isoformat() == query["DateSent"][:10]
    for name, wanted in (("DateSent>", 1), ("DateSent<", -1)):
        if name in query:
            limit = datetime.fromisoformat(query[name])
            limit = limit if limit.tzinfo else limit.replace(tzinfo=UTC)
            if message.sent is None or (message.sent - limit).total_seconds() * wanted < 0:
                return False
    return True


def page(messages: list[Message], request: web.Request) -> dict[str, Any]:
    """One page of a list of messages."""
    size = min(max(int(request.query.get("PageSize", "50")), 1), 1000)
    number = max(int(request.query.get("Page", "0")), 0)
    shown = messages[number * size : (number + 1) * size]

    def address(of: int) -> str:
        return f"{request.path}?{urlencode({**request.query, 'PageSize': size, 'Page': of})}"

    return {
        "first_page_uri": address(0),
        "end": number * size + len(shown) - 1,
        "next_page_uri": address(number + 1) if len(messages) > (number + 1) * size else None,
        "page": number,
        "page_size": size,
        "previous_page_uri": address(number - 1) if number else None,
        "start": number * size,
        "uri": address(number),
        "messages": [message.json() for message in shown],
    }
