"""What SendGrid's Mail Send checks, and the words it refuses with; the simulator's own reading of the specification.

Nothing here is shared with the plugin's checks: a simulator that agreed by construction would prove nothing.
Source: Twilio's OpenAPI description of Mail Send and SendGrid's "Errors" page.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Iterator
from typing import Any

_HELP = "http://sendgrid.com/docs/API_Reference/Web_API_v3/Mail/errors.html#"
_FORBIDDEN_HEADERS = frozenset(
    {
        "x-sg-id", "x-sg-eid", "received", "dkim-signature", "content-type", "content-transfer-encoding", "to", "from",
        "subject", "reply-to", "cc", "bcc",
    }
)  # fmt: skip
_MOST_RECIPIENTS = 1000

Problem = dict[str, Any]


def problem(message: str, field: str | None, help_anchor: str | None = None) -> Problem:
    """One entry of an error answer."""
    return {"message": message, "field": field, "help": _HELP + help_anchor if help_anchor else None}


def problems_of(mail: Any) -> list[Problem]:
    """Everything that SendGrid has against a request; empty when it accepts it."""
    if not isinstance(mail, dict):
        return [problem("Bad Request", None)]
    return [
        *_personalizations(mail.get("personalizations")),
        *_sender(mail.get("from")),
        *_subject_and_content(mail),
        *_attachments(mail.get("attachments", [])),
        *_headers(mail.get("headers", {})),
        *_arguments(mail),
        *_others(mail),
    ]


def addresses(personalization: Any) -> list[str]:
    """Every recipient of an envelope, the main one first."""
    found: list[str] = []
    for place in ("to", "cc", "bcc"):
        found.extend(str(entry.get("email", "")) for entry in personalization.get(place, []) if isinstance(entry, dict))
    return found


def _is_address(value: Any) -> bool:
    if not isinstance(value, str) or value.count("@") != 1 or any(char.isspace() for char in value):
        return False
    local, _, domain = value.partition("@")
    return bool(local) and "." in domain and domain.isascii() and not domain.startswith(".")


def _personalizations(value: Any) -> Iterator[Problem]:
    if not isinstance(value, list) or not value:
        yield problem(
            "The personalizations field is required and must have at least one personalization.",
            "personalizations",
            "message.personalizations",
        )
        return
    for number, personalization in enumerate(value):
        path = f"personalizations.{number}"
        if not isinstance(personalization, dict) or not personalization.get("to"):
            yield problem(
                "The to array is required for all personalization objects, and must have at least one email object "
                "with a valid email address.",
                f"{path}.to",
                "message.personalizations.to",
            )
            continue
        yield from _recipients(personalization, path)
    if sum(len(addresses(each)) for each in value if isinstance(each, dict)) > _MOST_RECIPIENTS:
        yield problem(
            f"There is a limit of {_MOST_RECIPIENTS} total recipients (to + cc + bcc) per request.",
            "personalizations",
            "message.personalizations",
        )


def _recipients(personalization: dict[str, Any], path: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for place in ("to", "cc", "bcc"):
        for number, entry in enumerate(personalization.get(place, [])):
            address = entry.get("email") if isinstance(entry, dict) else None
            if not _is_address(address):
                yield problem(
                    "Does not contain a valid address.",
                    f"{path}.{place}.{number}.email",
                    "message.personalizations.to",
                )
            elif str(address).lower() in seen:
                yield problem(
                    "Each email address in the personalization block should be unique between to, cc, and bcc. We "
                    f"found the first duplicate instance of [{address}] in the {path}.{place} field.",
                    path,
                    "message.recipient-errors",
                )
            seen.add(str(address).lower())


def _sender(value: Any) -> Iterator[Problem]:
    if not isinstance(value, dict):
        yield problem(
            "The from object must be provided for every email send. It is an object that requires the email parameter.",
            "from.email",
            "message.from",
        )
    elif not _is_address(value.get("email")):
        yield problem("The from email does not contain a valid address.", "from.email", "message.from")


def _subject_and_content(mail: dict[str, Any]) -> Iterator[Problem]:
    if mail.get("template_id"):
        if not str(mail["template_id"]).startswith("d-"):
            yield problem("The template_id must be a valid template id.", "template_id", "message.template_id")
        return
    if not mail.get("subject"):
        yield problem(
            "The subject is required. You can get around this requirement if you use a template with a subject defined "
            "or if every personalization has a subject defined.",
            "subject",
            "message.subject",
        )
    content = mail.get("content")
    if not isinstance(content, list) or not content:
        yield problem("Unless a valid template_id is provided, the content parameter is required.", "content")
        return
    order = [entry.get("type") for entry in content if isinstance(entry, dict)]
    if "text/plain" in order and order.index("text/plain") > 0:
        yield problem("If present, text/plain must be first, followed by text/html.", "content", "message.content.type")
    for number, entry in enumerate(content):
        if not isinstance(entry, dict) or not entry.get("value"):
            yield problem(
                "The content value must be a string at least one character in length.",
                f"content.{number}.value",
                "message.content.value",
            )


def _attachments(value: Any) -> Iterator[Problem]:
    for number, entry in enumerate(value if isinstance(value, list) else []):
        path = f"attachments.{number}"
        try:
            base64.b64decode(entry["content"], validate=True)
        except (KeyError, TypeError, ValueError, binascii.Error):
            yield problem("The attachment content must be base64 encoded.", f"{path}.content", "message.attachments")
        if ";" in str(entry.get("type", "")):
            yield problem("The attachment type cannot contain ';', or CRLF characters.", f"{path}.type")
        if not entry.get("filename"):
            yield problem("The attachment filename is required.", f"{path}.filename")


def _headers(value: Any) -> Iterator[Problem]:
    for name in value if isinstance(value, dict) else {}:
        if name.lower() in _FORBIDDEN_HEADERS:
            yield problem(f"The header {name} is reserved and may not be set.", f"headers.{name}", "message.headers")


def _arguments(mail: dict[str, Any]) -> Iterator[Problem]:
    for number, personalization in enumerate(mail.get("personalizations") or []):
        arguments = personalization.get("custom_args", {}) if isinstance(personalization, dict) else {}
        if any(not isinstance(argument, str) for argument in arguments.values()):
            yield problem("Custom args must be strings.", f"personalizations.{number}.custom_args")
        if sum(len(name) + len(str(argument)) for name, argument in arguments.items()) > 10_000:
            yield problem(
                "The custom_args cannot be greater than 10000 bytes.", f"personalizations.{number}.custom_args"
            )


def _others(mail: dict[str, Any]) -> Iterator[Problem]:
    categories = mail.get("categories", [])
    if len(categories) > 10 or any(not isinstance(name, str) or len(name) > 255 for name in categories):
        yield problem("The categories are more than 10 or longer than 255 characters.", "categories")
    if mail.get("reply_to") and mail.get("reply_to_list"):
        yield problem("Only one of reply_to and reply_to_list may be given.", "reply_to", "message.reply_to")
    send_at = mail.get("send_at")
    if send_at is not None and (not isinstance(send_at, int) or send_at > time.time() + 72 * 3600):
        yield problem("Scheduling more than 72 hours in advance is forbidden.", "send_at", "message.send_at")
    asm = mail.get("asm")
    if asm is not None and not isinstance(asm.get("group_id"), int):
        yield problem("The group_id is required and must be a number.", "asm.group_id", "message.asm")
