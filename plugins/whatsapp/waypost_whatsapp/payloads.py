"""Content → the body of `POST /{phone number id}/messages`. Source: Meta, WhatsApp Cloud API, "Messages"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import Field
from waypost.plugin import (
    Buttons,
    Choice,
    ChoiceList,
    Contacts,
    Content,
    ContentRejected,
    InvalidRecipient,
    Location,
    Media,
    OutboundMessage,
    Reaction,
    Template,
    Text,
    Unsupported,
)
from waypost.plugin.content import Action
from waypost_meta_graph.limits import within
from waypost_meta_graph.pieces import child, text

from waypost_whatsapp.addresses import E164, USER_ID
from waypost_whatsapp.settings import WhatsAppSettings
from waypost_whatsapp.templates import carries_a_code, template_object

#: Meta, WhatsApp Cloud API, "Messages", "Interactive reply buttons", "Interactive list", "Interactive CTA URL buttons".
#: Only what every version documents alike: the rest is Meta's to check.
TEXT_CHARACTERS = 4096
_CAPTION_CHARACTERS = 1024
_FOOTER_CHARACTERS = 60
_BUTTONS = 3
_TITLE_CHARACTERS = 20
_BUTTON_ID_CHARACTERS = 256
_ROWS = 10
_ROW_TITLE_CHARACTERS = 24
_ROW_DESCRIPTION_CHARACTERS = 72
_ROW_ID_CHARACTERS = 200

_CAPTIONED = frozenset({"image", "video", "document"})


class Interactive(Content):
    """An `interactive` object of Meta's own form: a flow, products, a catalogue, a location request."""

    kind: Literal["whatsapp.interactive"] = "whatsapp.interactive"
    interactive: dict[str, Any] = Field(min_length=1)


def message_body(account: WhatsAppSettings, message: OutboundMessage, correlation: str = "") -> dict[str, Any]:
    """The body that sends a message. Raises `Permanent` for what WhatsApp cannot express."""
    content = message.content
    if isinstance(content, Action):
        return _action(content)
    fragment = _fragment(account, content)
    if isinstance(content, Template) and carries_a_code(account, content) and message.address(E164) is None:
        # Meta answers 131062: whoever is authenticated must be known by a phone number.
        raise Unsupported("Authentication templates go to phone numbers only.")
    body: dict[str, Any] = {"messaging_product": "whatsapp", "recipient_type": "individual", **_recipient(message)}
    if message.reply_to and not isinstance(content, Reaction):
        body["context"] = {"message_id": message.reply_to}
    if correlation:
        body["biz_opaque_callback_data"] = correlation
    return body | fragment


def _recipient(message: OutboundMessage) -> dict[str, str]:
    number = message.address(E164)
    if number is not None:
        return {"to": number.removeprefix("+")}
    user_id = message.address(USER_ID)
    if user_id is not None:
        return {"recipient": user_id}
    raise InvalidRecipient("WhatsApp needs a phone number or a business-scoped user id.")


def _action(content: Action) -> dict[str, Any]:
    if content.message_id is None:
        raise ContentRejected("WhatsApp marks and types at a message: give its message_id.")
    body: dict[str, Any] = {"messaging_product": "whatsapp", "status": "read", "message_id": content.message_id}
    if content.kind == "typing_on":
        body["typing_indicator"] = {"type": "text"}
    elif content.kind != "mark_read":
        raise Unsupported
    return body


def _fragment(account: WhatsAppSettings, content: Content) -> dict[str, Any]:
    if isinstance(content, Template):
        return {"type": "template", "template": template_object(account, content)}
    build = _BUILDERS.get(type(content))
    if build is None:
        raise Unsupported("WhatsApp has no such kind of content.")
    return build(content)


def _text(content: Text) -> dict[str, Any]:
    return {
        "type": "text",
        "text": {"preview_url": content.preview_url, "body": within("A text", content.body, TEXT_CHARACTERS)},
    }


def _media(content: Media) -> dict[str, Any]:
    if (content.url is None) == (content.media_id is None):
        raise ContentRejected("Media need a url or a media_id, and not both.")
    if content.more_urls:
        raise Unsupported("A WhatsApp message holds one piece of media.")
    media: dict[str, Any] = {"link": content.url} if content.url is not None else {"id": content.media_id}
    if content.caption:
        if content.kind not in _CAPTIONED:
            raise Unsupported(f"WhatsApp shows no caption with a {content.kind}.")
        media["caption"] = within("A caption", content.caption, _CAPTION_CHARACTERS)
    if content.filename and content.kind == "document":
        media["filename"] = content.filename
    if content.voice and content.kind == "audio":
        media["voice"] = True
    return {"type": content.kind, content.kind: media}


def _location(content: Location) -> dict[str, Any]:
    location = {"latitude": content.latitude, "longitude": content.longitude}
    return {"type": "location", "location": location | _given(name=content.name, address=content.address)}


def _contacts(content: Contacts) -> dict[str, Any]:
    if not all(text(child(contact, "name"), "formatted_name") for contact in content.contacts):
        raise ContentRejected("Each WhatsApp contact needs a name.formatted_name.")
    return {"type": "contacts", "contacts": content.contacts}


def _reaction(content: Reaction) -> dict[str, Any]:
    return {"type": "reaction", "reaction": {"message_id": content.message_id, "emoji": content.emoji or ""}}


def _interactive(content: Interactive) -> dict[str, Any]:
    return {"type": "interactive", "interactive": content.interactive}


def _buttons(content: Buttons) -> dict[str, Any]:
    linked = [choice for choice in content.choices if choice.url is not None]
    for choice in content.choices:
        _plain(choice, url_allowed=True)
        if choice.description is not None:
            raise Unsupported("A WhatsApp button has no description; use a list.")
    if linked and len(content.choices) > 1:
        raise Unsupported("WhatsApp takes reply buttons or one link, not both.")
    if len(content.choices) > _BUTTONS:
        raise ContentRejected(f"WhatsApp shows {_BUTTONS} buttons; use a list for more.")
    action: dict[str, Any]
    if linked:
        parameters = {"display_text": _title(linked[0]), "url": linked[0].url}
        kind, action = "cta_url", {"name": "cta_url", "parameters": parameters}
    else:
        replies = [{"id": _id(choice, _BUTTON_ID_CHARACTERS), "title": _title(choice)} for choice in content.choices]
        if len({reply["id"] for reply in replies}) < len(replies):
            raise ContentRejected("Each WhatsApp button needs an id of its own; without one, its title is its id.")
        kind, action = "button", {"buttons": [{"type": "reply", "reply": reply} for reply in replies]}
    return {"type": "interactive", "interactive": _framed(kind, content, action)}


def _list(content: ChoiceList) -> dict[str, Any]:
    if sum(len(section.choices) for section in content.sections) > _ROWS:
        raise ContentRejected(f"A WhatsApp list has {_ROWS} rows at most, in all its sections.")
    if len(content.sections) > 1 and not all(section.title for section in content.sections):
        raise ContentRejected("The sections of a WhatsApp list need titles where they are several.")
    sections = [
        _given(title=section.title) | {"rows": [_row(choice) for choice in section.choices]}
        for section in content.sections
    ]
    action = {"button": within("A list's button", content.button, _TITLE_CHARACTERS), "sections": sections}
    return {"type": "interactive", "interactive": _framed("list", content, action)}


def _row(choice: Choice) -> dict[str, Any]:
    _plain(choice, url_allowed=False)
    title = within("A row's title", choice.title, _ROW_TITLE_CHARACTERS)
    description = within("A row's description", choice.description or "", _ROW_DESCRIPTION_CHARACTERS)
    return {"id": _id(choice, _ROW_ID_CHARACTERS), "title": title} | _given(description=description)


def _framed(kind: str, content: Buttons | ChoiceList, action: dict[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"type": kind}
    if content.header:
        made["header"] = {"type": "text", "text": content.header}
    made["body"] = {"text": content.body}
    if content.footer:
        made["footer"] = {"text": within("A footer", content.footer, _FOOTER_CHARACTERS)}
    return made | {"action": action}


def _plain(choice: Choice, *, url_allowed: bool) -> None:
    if choice.phone is not None or choice.image_url is not None or (choice.url is not None and not url_allowed):
        raise Unsupported("WhatsApp cannot show this kind of choice.")


def _title(choice: Choice) -> str:
    return within("A button's title", choice.title, _TITLE_CHARACTERS)


def _id(choice: Choice, limit: int) -> str:
    return within("A choice's id", choice.id if choice.id is not None else choice.title, limit)


def _given(**fields: str | None) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value}


_BUILDERS: Mapping[type[Content], Callable[[Any], dict[str, Any]]] = {
    Text: _text,
    Media: _media,
    Location: _location,
    Contacts: _contacts,
    Reaction: _reaction,
    Buttons: _buttons,
    ChoiceList: _list,
    Interactive: _interactive,
}
