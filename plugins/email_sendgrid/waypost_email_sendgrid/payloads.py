"""A draft as the JSON of `POST /v3/mail/send`, built with the SDK's `Mail`.

Importing the SDK takes a good part of a second, so that this module is imported by the first send, not by the plugin.
"""

from __future__ import annotations

from typing import Any

from sendgrid.helpers.mail import (
    Asm,
    Attachment,
    BatchId,
    Bcc,
    Category,
    Cc,
    ClickTracking,
    Content,
    ContentId,
    CustomArg,
    Disposition,
    Email,
    FileContent,
    FileName,
    FileType,
    From,
    GroupId,
    GroupsToDisplay,
    Header,
    IpPoolName,
    Mail,
    MailSettings,
    MimeType,
    OpenTracking,
    Personalization,
    ReplyTo,
    SandBoxMode,
    SendAt,
    Subject,
    TemplateId,
    To,
    TrackingSettings,
)
from waypost.plugin import Attachment as File

from waypost_email_sendgrid.address import Mailbox
from waypost_email_sendgrid.draft import Draft


def mail_send_body(draft: Draft) -> dict[str, Any]:
    """The request body for a draft."""
    mail = Mail()
    mail.from_email = _address(From(), draft.sender)
    mail.add_personalization(_personalization(draft))
    if draft.reply_to:
        mail.reply_to = _address(ReplyTo(), draft.reply_to)
    if draft.subject:
        mail.subject = Subject(draft.subject)
    if draft.text:
        mail.add_content(_content(MimeType.text, draft.text))
    if draft.html:
        mail.add_content(_content(MimeType.html, draft.html))
    if draft.template_id:
        mail.template_id = TemplateId(draft.template_id)
    # The SDK puts each new one in front.
    for attachment in reversed(draft.attachments):
        mail.add_attachment(_attachment(attachment))
    for category in reversed(draft.categories):
        mail.add_category(Category(category))
    for name, value in draft.headers.items():
        mail.add_header(Header(name, value))
    if draft.send_at:
        mail.send_at = SendAt(draft.send_at)
    _add_options(mail, draft)
    body: dict[str, Any] = mail.get()
    return body


def _address(email: Email, mailbox: Mailbox) -> Email:
    """Fill an SDK address by its properties: its constructor would parse the address once more."""
    email.email = mailbox.address
    if mailbox.name:
        email.name = mailbox.name
    return email


def _personalization(draft: Draft) -> Personalization:
    personalization = Personalization()
    personalization.add_to(_address(To(), draft.to))
    for mailbox in draft.cc:
        personalization.add_cc(_address(Cc(), mailbox))
    for mailbox in draft.bcc:
        personalization.add_bcc(_address(Bcc(), mailbox))
    for name, value in draft.custom_args.items():
        personalization.add_custom_arg(CustomArg(name, value))
    if draft.variables:
        personalization.dynamic_template_data = dict(draft.variables)
    return personalization


def _content(mime_type: str, text: str) -> Content:
    content = Content(mime_type, None)
    # Its setter refuses a text that begins like an API key ("SG.example.com …"), which SendGrid itself accepts.
    vars(content)["_content"] = text
    return content


def _attachment(file: File) -> Attachment:
    return Attachment(
        FileContent(file.data),
        FileName(file.filename),
        FileType(file.mime_type),
        Disposition("inline" if file.content_id else "attachment"),
        ContentId(file.content_id) if file.content_id else None,
    )


def _add_options(mail: Mail, draft: Draft) -> None:
    options = draft.options
    if draft.unsubscribe_group is not None:
        shown = GroupsToDisplay(list(options.groups_to_display)) if options.groups_to_display else None
        mail.asm = Asm(GroupId(draft.unsubscribe_group), shown)
    if options.ip_pool_name:
        mail.ip_pool_name = IpPoolName(options.ip_pool_name)
    if options.batch_id:
        mail.batch_id = BatchId(options.batch_id)
    if draft.sandbox:
        mail.mail_settings = MailSettings(sandbox_mode=SandBoxMode(enable=True))
    if options.click_tracking is not None or options.open_tracking is not None:
        tracking = TrackingSettings()
        if options.click_tracking is not None:
            tracking.click_tracking = ClickTracking(options.click_tracking, options.click_tracking)
        if options.open_tracking is not None:
            tracking.open_tracking = OpenTracking(options.open_tracking)
        mail.tracking_settings = tracking
