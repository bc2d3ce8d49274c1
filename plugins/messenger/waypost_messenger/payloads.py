"""A message → the body that Messenger's Send API takes.

Source: Meta, Messenger Platform, "Send API reference", "Send a utility message", "Sender actions".
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field
from waypost.plugin import Content, ContentRejected, Context, Media, OutboundMessage, Template, Unsupported
from waypost_meta_graph.messaging_payloads import Surface, is_action, message_part, sender_action, template_attachment
from waypost_meta_graph.messaging_rules import message_tag, messaging_type, person_id
from waypost_meta_graph.template_variables import filled_components

from waypost_messenger.settings import MessengerAccount

MESSENGER = Surface(
    title="Messenger",
    webhook_object="page",
    user_kind="psid",
    account_kind="page_id",
    text_limit=2000,
)
NOTIFICATION_TYPES = ("REGULAR", "SILENT_PUSH", "NO_PUSH")


class StructuredTemplate(Content):
    """Any of Meta's structured templates as it is: media, receipt, coupon, customer_feedback, image_grid and so on.

    `payload` is the template's own object; `template_type` is added to it.
    """

    kind: Literal["messenger.template"] = "messenger.template"
    template_type: str = Field(min_length=1, max_length=64, pattern=r"^[a-z_]+$")
    payload: dict[str, Any] = Field(default_factory=dict, max_length=50)


def body(ctx: Context, account: MessengerAccount, message: OutboundMessage) -> dict[str, Any]:
    """The whole request body. Raises `Permanent` for what Messenger cannot express."""
    person = person_id(MESSENGER, message)
    content = message.content
    if is_action(content):
        return sender_action(MESSENGER, person, content)
    part = _message(content)
    if message.options.get("is_reusable") is True and isinstance(content, Media) and content.url:
        part["attachment"]["payload"]["is_reusable"] = True
    if ctx.correlation:
        part["metadata"] = ctx.correlation
    request: dict[str, Any] = {"recipient": {"id": person}, **_type(account, message), "message": part}
    if message.reply_to:
        request["reply_to"] = {"mid": message.reply_to}
    return {**request, **_notification(message), **_persona(message)}


def _message(content: Content) -> dict[str, Any]:
    if isinstance(content, StructuredTemplate):
        return template_attachment({**content.payload, "template_type": content.template_type})
    if isinstance(content, Template):
        return {"template": _utility(content)}
    return message_part(MESSENGER, content)


def _utility(template: Template) -> dict[str, Any]:
    if not template.language:
        raise ContentRejected("A utility template needs a language, such as en_US.")
    components = filled_components(template.components or (), template.variables)
    return {"name": template.template_id, "language": {"code": template.language}, "components": components}


def _type(account: MessengerAccount, message: OutboundMessage) -> dict[str, str]:
    if not isinstance(message.content, Template):
        return messaging_type(MESSENGER, message, account.message_tags)
    if message_tag(message) or message.options.get("messaging_type") not in (None, "UTILITY"):
        raise Unsupported("A utility template goes without tag, with the messaging type UTILITY.")
    return {"messaging_type": "UTILITY"}


def _notification(message: OutboundMessage) -> dict[str, str]:
    asked = message.options.get("notification_type")
    if asked is None:
        return {}
    if asked not in NOTIFICATION_TYPES:
        raise Unsupported(f"The option `notification_type` is one of {', '.join(NOTIFICATION_TYPES)}.")
    return {"notification_type": asked}


def _persona(message: OutboundMessage) -> dict[str, str]:
    asked = message.options.get("persona_id")
    return {"persona_id": asked} if isinstance(asked, str) and asked else {}
