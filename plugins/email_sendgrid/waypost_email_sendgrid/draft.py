"""A mail before it is a request: what was asked, checked against facts. All refusals before credit is held are here."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from waypost.plugin import (
    Attachment,
    ContentRejected,
    Context,
    Email,
    InvalidRecipient,
    Misconfigured,
    OutboundMessage,
    Template,
    Text,
    Unsupported,
)

from waypost_email_sendgrid.address import KIND, Mailbox, clean_line, comparable, fingerprint, parse_mailbox
from waypost_email_sendgrid.header import checked_headers
from waypost_email_sendgrid.options import MailOptions, custom_args, read_options
from waypost_email_sendgrid.settings import SendGridAccount

#: SendGrid, Mail Send, "Limitations": total size with attachments, at most.
MAX_BYTES = 30 * 1024 * 1024
#: More than a request holds beside the content: sender, recipient, custom arguments, options.
ENVELOPE_BYTES = 64 * 1024
MAX_CATEGORY_LENGTH = 255
_NO_MESSAGE_ID = (
    "What a mail replies to is named by its Message-ID, such as <…@…>; where answers go is the email's own reply_to."
)
#: Dynamic templates; the older generation has a bare UUID and another way of filling in.
TEMPLATE_PREFIX = "d-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One mail, ready to be written as a request. Its text shows in no `repr`."""

    sender: Mailbox
    to: Mailbox
    cc: tuple[Mailbox, ...] = ()
    bcc: tuple[Mailbox, ...] = ()
    reply_to: Mailbox | None = None
    subject: str | None = field(default=None, repr=False)
    text: str | None = field(default=None, repr=False)
    html: str | None = field(default=None, repr=False)
    template_id: str | None = None
    variables: Mapping[str, Any] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    categories: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = field(default=(), repr=False)
    send_at: int | None = None
    unsubscribe_group: int | None = None
    custom_args: Mapping[str, str] = field(default_factory=dict, repr=False)
    options: MailOptions = field(default_factory=MailOptions, repr=False)
    sandbox: bool = False

    @property
    def recipients(self) -> int:
        """How many mails SendGrid makes of it, and counts against the plan."""
        return 1 + len(self.cc) + len(self.bcc)


def compose(ctx: Context, message: OutboundMessage) -> Draft:
    """Check a message and draft its mail.

    Raises `InvalidRecipient`, `ContentRejected`, `Unsupported` or `Misconfigured`; pure, so that the answer before
    the credit is held and the answer before the request are the same.
    """
    account = _account(ctx)
    options = read_options(message.options)
    content = _as_email(account, message, options)
    to = _recipient(message, options)
    cc = _copies(content.cc, "cc", [to])
    bcc = _copies(content.bcc, "bcc", [to, *cc])
    _check_body(content)
    if options.groups_to_display and content.unsubscribe_group is None:
        raise ContentRejected("The option groups_to_display needs an unsubscribe_group.")
    _check_schedule(ctx, account, content)
    headers = _headers(message, content)
    _check_size(content, headers)
    return Draft(
        sender=_sender(account, message, content),
        to=to,
        cc=cc,
        bcc=bcc,
        reply_to=_mailbox(content.reply_to, "reply-to address") if content.reply_to else None,
        subject=clean_line(content.subject, "subject") if content.subject else None,
        text=content.text,
        html=content.html,
        template_id=content.template_id,
        variables=content.variables,
        headers=headers,
        categories=_categories(content.categories),
        attachments=tuple(_attachment(attachment) for attachment in content.attachments),
        send_at=content.send_at,
        unsubscribe_group=content.unsubscribe_group,
        custom_args=custom_args(options, ctx.correlation, fingerprint(ctx.correlation, to.address)),
        options=options,
        sandbox=account.sandbox,
    )


def _account(ctx: Context) -> SendGridAccount:
    if not isinstance(ctx.account, SendGridAccount):
        raise Misconfigured("The gateway has no SendGrid settings.")
    return ctx.account


def _as_email(account: SendGridAccount, message: OutboundMessage, options: MailOptions) -> Email:
    content = message.content
    if isinstance(content, Email):
        default = None if content.template_id else account.default_subject
        return content.model_copy(update={"subject": content.subject or options.subject or default})
    if isinstance(content, Text):
        return Email(subject=options.subject or account.default_subject, text=content.body)
    if isinstance(content, Template):
        if content.components:
            raise Unsupported("SendGrid's templates have variables, no components.")
        return Email(subject=options.subject, template_id=content.template_id, variables=dict(content.variables))
    raise Unsupported("Email carries the kinds email, text and template.")


def _recipient(message: OutboundMessage, options: MailOptions) -> Mailbox:
    address = message.address(KIND)
    if address is None:
        raise InvalidRecipient("The recipient has no email address.")
    name = clean_line(options.to_name, "recipient's name") if options.to_name else None
    return Mailbox(parse_mailbox(address).address, name)


def _mailbox(value: str, what: str) -> Mailbox:
    clean_line(value, what)
    try:
        mailbox = parse_mailbox(value)
    except InvalidRecipient as error:
        raise ContentRejected(f"The {what} is not an email address.") from error
    if mailbox.name:
        clean_line(mailbox.name, f"name in the {what}")
    return mailbox


def _copies(values: Iterable[str], what: str, taken: Iterable[Mailbox]) -> tuple[Mailbox, ...]:
    """SendGrid refuses an address that comes twice among to, cc and bcc; the first place wins."""
    seen = {comparable(mailbox.address) for mailbox in taken}
    copies: list[Mailbox] = []
    for value in values:
        mailbox = _mailbox(value, f"{what} address")
        if comparable(mailbox.address) not in seen:
            seen.add(comparable(mailbox.address))
            copies.append(mailbox)
    return tuple(copies)


def _sender(account: SendGridAccount, message: OutboundMessage, content: Email) -> Mailbox:
    wanted = message.sender or account.from_address
    if not wanted:
        raise Misconfigured("No sender address is configured.")
    try:
        mailbox = parse_mailbox(wanted)
    except InvalidRecipient as error:
        raise Misconfigured("The sender is not an email address.") from error
    name = content.from_name or mailbox.name
    if not name and account.from_address and comparable(mailbox.address) == comparable(account.from_address):
        name = account.from_name
    return Mailbox(mailbox.address, clean_line(name, "sender's name") if name else None)


def _check_body(content: Email) -> None:
    if content.template_id is not None:
        clean_line(content.template_id, "template id")
        if not content.template_id.startswith(TEMPLATE_PREFIX):
            raise ContentRejected("SendGrid's dynamic templates have ids that start with d-.")
        if content.text or content.html:
            raise ContentRejected("A template has a body of its own; send either the template or text and HTML.")
    elif content.variables:
        raise ContentRejected("Variables are a template's: without one SendGrid fills in nothing.")
    elif not content.subject:
        raise ContentRejected("An email needs a subject.")
    elif not content.text and not content.html:
        raise ContentRejected("An email needs text, HTML or a template.")
    if content.unsubscribe_group is not None and not 0 < content.unsubscribe_group < 1 << 31:
        raise ContentRejected("The unsubscribe group is not a group's number.")


def _check_size(content: Email, headers: Mapping[str, str]) -> None:
    """The headers are larger as they go than as they were given, where they are not ASCII."""
    apart: dict[str, Any] = {"headers": True, "attachments": {"__all__": {"data"}}}
    try:
        size = ENVELOPE_BYTES + len(orjson.dumps([content.model_dump(exclude=apart), headers]))
    except (TypeError, ValueError) as error:
        raise ContentRejected("The text or the variables cannot be written as JSON.") from error
    # Base64, as they go.
    size += sum(len(attachment.data) for attachment in content.attachments)
    if size > MAX_BYTES:
        raise ContentRejected("The email is larger than 30 MB, attachments included.")


def _check_schedule(ctx: Context, account: SendGridAccount, content: Email) -> None:
    """SendGrid takes 72 hours; but a mail must have left before its receipts are no longer waited for."""
    if content.send_at is None:
        return
    if content.send_at < 0:
        raise ContentRejected("send_at is not a time.")
    if content.send_at - ctx.now.timestamp() > account.schedule_hours * 3600:
        raise ContentRejected(f"Mails may be scheduled at most {account.schedule_hours} hours ahead.")


def _headers(message: OutboundMessage, content: Email) -> dict[str, str]:
    headers = dict(content.headers)
    answered = message.reply_to
    # Where the mail answered had no Message-ID, the id is ours and means nothing to a mail program.
    if answered and "@" in answered:
        if not answered.startswith("<"):
            raise ContentRejected(_NO_MESSAGE_ID)
        if not any(name.lower() == "in-reply-to" for name in headers):
            headers["In-Reply-To"] = answered
            if not any(name.lower() == "references" for name in headers):
                headers["References"] = answered
    return checked_headers(headers)


def _categories(categories: Iterable[str]) -> tuple[str, ...]:
    unique = tuple(dict.fromkeys(categories))
    for category in unique:
        clean_line(category, "category")
        if not 0 < len(category) <= MAX_CATEGORY_LENGTH:
            raise ContentRejected("A category is between 1 and 255 characters long.")
    return unique


def _attachment(attachment: Attachment) -> Attachment:
    for value, what in (
        (attachment.filename, "file name"),
        (attachment.mime_type, "type of an attachment"),
        (attachment.content_id or "", "content id"),
    ):
        clean_line(value, what)
    if ";" in attachment.mime_type or "/" not in attachment.mime_type:
        raise ContentRejected("The type of an attachment is not valid.")
    try:
        base64.b64decode(attachment.data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ContentRejected("The data of an attachment is not base64.") from error
    return attachment
