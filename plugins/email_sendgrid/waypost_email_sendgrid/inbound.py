"""Inbound Parse: a mail that somebody wrote to us, as an inbound message.

Source: SendGrid, "Setting up the Inbound Parse Webhook", default and raw mode. There is no event id, so that a mail is
known by its own `Message-ID` together with its envelope. Nothing here raises for what a delivery holds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson
from pydantic import ValidationError
from waypost.plugin import (
    Address,
    Attachment,
    ChannelEvent,
    Email,
    InboundMessage,
    InvalidRecipient,
    UnknownEvent,
    WebhookRequest,
)
from waypost.plugin.signatures import sha256_hex

from waypost_email_sendgrid.address import CONTROL, KIND, parse_address, received_mailboxes, written
from waypost_email_sendgrid.form import FormFile, ParseForm, UnreadableFormError, read_form
from waypost_email_sendgrid.mime import UnreadableMailError, decoded_words, header_block, read_mail

MAX_ATTACHMENTS = 50
#: What a message's `reply_to` and each `cc` hold, and how much of an encoded subject is read.
MAX_MAILBOX, MAX_SUBJECT = 320, 8000
#: Headers that tell an application what it needs: threads, automatic replies, lists.
_KEPT_HEADERS = (
    "message-id", "in-reply-to", "references", "date", "reply-to", "auto-submitted", "precedence", "list-id",
)  # fmt: skip
#: The header under which mail servers note whom a mail reached, where those are several.
_REACHED = "envelope-to"
#: Fields that the content already holds, or that are the whole mail.
_BULKY_FIELDS = frozenset({"text", "html", "email"})
_MESSAGE_ID = re.compile(r"<[^<>\s]{1,500}>")
#: SendGrid names its own mails `<X-Message-Id@host>`: geopod-ismtpd-12, ismtpd0039p1iad1.sendgrid.net and the like.
_OWN_MESSAGE_ID = re.compile(r"<([A-Za-z0-9_-]{10,100})@(?:geopod-)?ismtpd[a-z0-9.-]*>", re.IGNORECASE)


def parse_mail(request: WebhookRequest) -> Sequence[ChannelEvent]:
    """One delivery of Inbound Parse is one mail."""
    try:
        form = read_form(request.header("content-type") or "", request.body)
        return [_inbound(form, request.body)]
    except (UnreadableFormError, UnreadableMailError) as error:
        return [_unknown(request.body, str(error), {})]


def _unknown(body: bytes, reason: str, raw: Mapping[str, Any]) -> UnknownEvent:
    return UnknownEvent(event_id=f"mail:{sha256_hex(body)[:40]}", raw=raw or {"bytes": len(body)}, reason=reason)


def _inbound(form: ParseForm, body: bytes) -> ChannelEvent:
    whole = form.fields.get("email")
    headers = header_block(whole if whole is not None else form.fields.get("headers", b""))
    envelope, raw = form.object("envelope"), _raw(form)
    sender, recipient = _sender(form, headers, envelope), _recipient(form, headers, envelope)
    if sender is None or recipient is None:
        return _unknown(body, "a mail without a usable sender and recipient", raw)
    content = _content(form, headers, whole)
    if content is None:
        return _unknown(body, "a mail whose content does not fit", raw)
    own_id = _MESSAGE_ID.search(headers.get("message-id", ""))
    identity = orjson.dumps([own_id[0] if own_id else sha256_hex(body), raw["envelope"]])
    return InboundMessage(
        event_id=f"mail:{sha256_hex(identity)[:40]}",
        occurred_at=_time(headers),
        raw=raw,
        provider_id=own_id[0] if own_id else sha256_hex(body)[:40],
        sender=(sender,),
        recipient=recipient,
        content=content,
        sender_name=content.from_name,
        reply_to=_answered(headers),
    )


def _raw(form: ParseForm) -> dict[str, Any]:
    fields = {name: form.text(name) for name in form.fields if name not in _BULKY_FIELDS}
    files = [{"name": file.name, "filename": file.filename, "bytes": len(file.data)} for file in form.files]
    return {"fields": fields, "files": files, "envelope": fields.get("envelope", "")}


# ---- who


def _address(value: object) -> Address | None:
    if not isinstance(value, str):
        return None
    bare = next((address for _, address in received_mailboxes(value[:2000])), "")
    try:
        return parse_address(bare)
    except InvalidRecipient:
        # Mail arrives from and at addresses that we would not write to; whoever is there has written to us.
        usable = bare and len(bare) <= 320 and not CONTROL.search(bare)
        return Address(KIND, bare) if usable else None


def _sender(form: ParseForm, headers: Mapping[str, str], envelope: Mapping[str, Any]) -> Address | None:
    """Whom the mail says it is from; an envelope often names a machine that takes bounces."""
    return (
        _address(form.text("from", utf8_first=True)) or _address(headers.get("from")) or _address(envelope.get("from"))
    )


def _recipient(form: ParseForm, headers: Mapping[str, str], envelope: Mapping[str, Any]) -> Address | None:
    """Which of our addresses it reached: the envelope's, because `To` may name others, or nobody (bcc)."""
    reached = _reached(envelope)
    return reached[0] if reached else _address(form.text("to", utf8_first=True)) or _address(headers.get("to"))


def _reached(envelope: Mapping[str, Any]) -> list[Address]:
    """All of the envelope's recipients: one delivery may be for several addresses of ours."""
    named = envelope.get("to")
    found = [_address(value) for value in (named[:1000] if isinstance(named, list) else [named])]
    return list(dict.fromkeys(address for address in found if address is not None))


def _name(value: str) -> str | None:
    named = next((name for name, _ in _mailboxes(value[:2000])), "")
    return named.strip()[:255] or None


def _mailboxes(value: str) -> list[tuple[str, str]]:
    """The mailboxes of a header. Names are decoded after they were told apart: they may hold commas and brackets."""
    found = received_mailboxes(CONTROL.sub(" ", value))
    return [(CONTROL.sub(" ", decoded_words(name)), address) for name, address in found]


def _fitting(name: str, address: str) -> str:
    """A mailbox as a message holds it; one that is too long is its address alone."""
    whole = written(name, address)
    return whole if len(whole) <= MAX_MAILBOX else address[:MAX_MAILBOX]


# ---- what


def _content(form: ParseForm, headers: Mapping[str, str], whole: bytes | None) -> Email | None:
    if whole is None:
        text, html, files = form.text("text"), form.text("html"), _named_files(form)
        ids = _content_ids(form)
    else:
        mail = read_mail(whole)
        text, html, files = mail.text, mail.html, mail.files
        ids = {file.name: file.name for file in files if file.name}
    # SendGrid decodes it, but not every charset, and what it does in raw mode is not documented.
    subject = decoded_words((form.text("subject", utf8_first=True) or headers.get("subject", ""))[:MAX_SUBJECT])
    try:
        return Email(
            subject=CONTROL.sub(" ", subject)[:998] or None,
            text=text or None,
            html=html or None,
            from_name=_name(form.text("from", utf8_first=True) or headers.get("from", "")),
            reply_to=_reply_to(headers.get("reply-to", "")),
            cc=_copies(form),
            headers={name: headers[name][:2000] for name in _KEPT_HEADERS if name in headers} | _all_reached(form),
            attachments=tuple(_attachments(files, ids)),
        )
    except ValidationError:
        return None


def _copies(form: ParseForm) -> tuple[str, ...]:
    listed = _mailboxes(form.text("cc", utf8_first=True)[:16_000])
    return tuple(_fitting(name, address) for name, address in listed)[:100]


def _reply_to(value: str) -> str | None:
    """Where an answer goes: all that the header names, or the first of too many; as it is where it names nobody."""
    listed = [_fitting(name, address) for name, address in _mailboxes(value[:16_000])]
    together = ", ".join(listed)
    if listed:
        return together if len(together) <= MAX_MAILBOX else listed[0]
    return value[:MAX_MAILBOX] or None


def _all_reached(form: ParseForm) -> dict[str, str]:
    """Every address that the mail reached, where those are several: a message has one recipient, and one id."""
    reached = _reached(form.object("envelope"))
    return {_REACHED: ", ".join(address.value for address in reached)[:10_000]} if len(reached) > 1 else {}


def _content_ids(form: ParseForm) -> dict[str, str]:
    """Form name of a file → its content id; `content-ids` says it, or else `attachment-info`."""
    ids = {part: cid for cid, part in form.object("content-ids").items() if isinstance(part, str)}
    for part, info in form.object("attachment-info").items():
        if isinstance(info, dict) and isinstance(info.get("content-id"), str):
            ids.setdefault(part, info["content-id"])
    return ids


def _named_files(form: ParseForm) -> tuple[FormFile, ...]:
    """The form's files, by the names of `attachment-info` where it has them.

    The form's own are said to be wrong beyond ASCII, by SendGrid's support (thoughtbot/griddler-sendgrid#6).
    """
    described = form.object("attachment-info")
    return tuple(replace(file, filename=_told_name(described.get(file.name)) or file.filename) for file in form.files)


def _told_name(info: object) -> str:
    told = (info.get("filename") or info.get("name")) if isinstance(info, dict) else None
    return told if isinstance(told, str) else ""


def _attachments(files: Sequence[FormFile], ids: Mapping[str, str]) -> list[Attachment]:
    """The files, base64; an empty one cannot be one, and `raw` still names it."""
    kept = [file for file in files if file.data][:MAX_ATTACHMENTS]
    return [
        Attachment(
            filename=_filename(file.filename) or f"attachment{number}",
            data=base64.b64encode(file.data).decode(),
            mime_type=CONTROL.sub("", file.content_type.partition(";")[0]).strip()[:255] or "application/octet-stream",
            content_id=CONTROL.sub("", ids.get(file.name, ""))[:255] or None,
        )
        for number, file in enumerate(kept, start=1)
    ]


def _filename(value: str) -> str:
    """The last part of a path: the sender chose this name, and it must lead nowhere when saved."""
    last = re.split(r"[/\\]", CONTROL.sub("", decoded_words(value[:4000])))[-1].strip()
    return "" if last in (".", "..") else last[:255]


# ---- when, and in answer to what


def _answered(headers: Mapping[str, str]) -> str | None:
    """The id of the message answered: SendGrid's own id where it was ours, so that it is found by it."""
    referred = _MESSAGE_ID.findall(headers.get("in-reply-to", ""))[:1]
    referred += reversed(_MESSAGE_ID.findall(headers.get("references", "")))
    for reference in referred:
        own = _OWN_MESSAGE_ID.fullmatch(reference)
        if own:
            return own[1]
    return referred[0] if referred else None


def _time(headers: Mapping[str, str]) -> datetime | None:
    """When SendGrid's server received it (the topmost `Received`); the sender's own `Date` where that is missing."""
    received = headers.get("received", "").rpartition(";")[2].partition("(")[0].strip()
    for value in (received, headers.get("date", "")):
        try:
            moment = parsedate_to_datetime(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None
